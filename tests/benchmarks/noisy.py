"""A copy of a video, or of a folder of images, with noise in it that nobody sees.

    python -m tests.benchmarks.noisy VIDEO FOLDER [--spread 1.5] [--seed 0] [--frames 397]

What is found in both differs by a box here and there, as it does between two videos of one scene:
whatever was chosen on the boxes of one should be judged on those of the other (`perturbed.py`).
FOLDER gets one PNG for each frame, numbered from 1 on; `masa track FOLDER` takes them. Adds to each
number of each pixel one drawn from a normal distribution of that standard deviation, of 255.
"""

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from masa_cli.sources import open_source


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spread", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, help="so many from the first on; else all")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    random = np.random.default_rng(options.seed)
    number = 0
    for frame in islice(open_source(options.video).frames(), options.frames):
        noise = random.normal(0, options.spread, frame.image.shape)
        noisy = (frame.image + noise).round().clip(0, 255).astype(np.uint8)
        number += 1
        cv2.imwrite(str(options.folder / f"{number:06}.png"), noisy[..., ::-1])
    print(f"{number} frames in {options.folder}")


if __name__ == "__main__":
    main()
