"""What tiles find of small objects: recall on a rendered crowd in 4K, before and after.

python -m tests.benchmarks.tiles --frames 4
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from masa_cli.boxes import iou
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.detectors.tiles import TiledDetector, parse_tiles
from masa_cli.models import SharedNetworks
from masa_cli.sources.scenarios import DEFAULT_DEMO, DEMOS
from masa_cli.sources.synthetic import SyntheticVideo


def scores(detector, frames, video):
    """Recall and precision at an IoU of 0.5, and seconds per frame."""
    detector.detect(frames[:1])
    start = time.perf_counter()
    found = [detector.detect([frame])[0] for frame in frames]
    seconds = (time.perf_counter() - start) / len(frames)
    hits = num_true = num_found = 0
    for frame, own in zip(frames, found, strict=True):
        truth = video.ground_truth(frame.index)
        sure = own[own.scores >= 0.3]
        near = iou(truth.boxes, sure.boxes) > 0.5
        hits += int(near.any(axis=1).sum()) if len(sure) else 0
        num_true, num_found = num_true + len(truth), num_found + len(sure)
    return hits / max(num_true, 1), hits / max(num_found, 1), seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=float, default=0.3, help="of objects, as in the scenarios")
    parser.add_argument("--tiles", nargs="*", default=["2x2", "auto", "4x3"])
    asked = parser.parse_args()
    settings = replace(
        DEMOS[DEFAULT_DEMO].settings,
        width=3840,
        height=2160,
        num_objects=40,
        size=asked.size,
        num_frames=max(8, asked.frames),
        min_visible=0.5,
    )
    video = SyntheticVideo(settings)
    frames = [frame for frame, _ in zip(video.frames(), range(asked.frames), strict=False)]
    heights = np.concatenate([np.diff(video.ground_truth(f.index).boxes[:, 1::2]) for f in frames])
    print(f"{len(frames)} frames of 3840 x 2160, objects {np.median(heights):.0f} pixels high")
    request = request_prompt(parse_prompt(", ".join(video.classes)), "lite")
    detector = request.build(SharedNetworks(runtime="auto"))
    print(f"{'tiles':>6} {'recall':>7} {'precision':>9} {'s/frame':>8}")
    for tiles in [None, *asked.tiles]:
        tiling = parse_tiles(tiles, 0.2)
        own = TiledDetector(detector, tiling, 300) if tiling else detector
        recall, precision, seconds = scores(own, frames, video)
        print(f"{tiles or 'none':>6} {recall:7.1%} {precision:9.1%} {seconds:8.2f}")


if __name__ == "__main__":
    main()
