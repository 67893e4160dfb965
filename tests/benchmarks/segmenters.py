"""How well and how fast a segmenter outlines objects whose boxes are known.

    python tests/benchmarks/segmenters.py DAVIS [--segmenter lite] [--every 4]
        [--runtime torch] [--precision float32]

DAVIS is a folder with `JPEGImages/<sequence>` and `Annotations/<sequence>`, one foreground mask per
frame. The box around each is given to the segmenter; J is the IoU of its mask with the true one,
and that of the box itself stands beside it. (The settings of grabcut were chosen on every eighth
frame of dog, car-shadow and scooter-black.)
"""

import argparse
import statistics
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from masa_cli.masks import frames_of, pack, unpack
from masa_cli.models import SharedNetworks
from masa_cli.models.device import PRECISIONS
from masa_cli.models.runtime import RUNTIMES
from masa_cli.segmenters import request_segmenter
from masa_cli.structures import Frame


def frames_with_truth(images, truths, every):
    for index, path in enumerate(sorted(images.glob("*.jpg"))[::every]):
        truth = cv2.imread(str(truths / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if truth is not None and truth.any():
            image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            yield Frame(index, Fraction(index), image), truth > 0


def pixels_of(mask, size):
    picture = np.zeros(size, bool)
    if mask is not None:
        pixels, (x, y) = unpack(mask)
        picture[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return picture


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("davis", type=Path)
    parser.add_argument("--segmenter", default="lite")
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--every", type=int, default=1, help="frame")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch")
    options = parser.parse_args()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    networks = SharedNetworks(precision=options.precision, runtime=options.runtime)
    request = request_segmenter(options.segmenter, folder=options.weights_dir)
    segmenter = request.build(networks)
    computed = f"{options.runtime}, {options.precision}"
    print(f"{options.segmenter} ({computed}), every {options.every}. frame, commit {commit}")
    means = []
    for images in sorted((options.davis / "JPEGImages").iterdir()):
        scores, boxes, seconds = [], [], []
        truths = options.davis / "Annotations" / images.name
        for frame, truth in frames_with_truth(images, truths, options.every):
            box = frames_of([pack(truth, (0, 0), truth.shape)])
            start = time.process_time()
            [mask] = segmenter.segment(frame, box)
            seconds.append(time.process_time() - start)
            scores.append(overlap(pixels_of(mask, truth.shape), truth))
            x1, y1, x2, y2 = box[0].astype(int)
            whole = pack(np.ones((y2 - y1, x2 - x1), bool), (x1, y1), truth.shape)
            boxes.append(overlap(pixels_of(whole, truth.shape), truth))
        if scores:
            means.append(statistics.mean(scores))
            print(
                f"{images.name:16} {len(scores):3} frames  J {means[-1]:.3f}  box "
                f"{statistics.mean(boxes):.3f}  {statistics.median(seconds) * 1e3:.0f} ms of the "
                "processor per box"
            )
    print(f"mean J {statistics.mean(means):.3f}")


if __name__ == "__main__":
    main()
