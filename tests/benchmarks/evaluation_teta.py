"""How long TETA takes on as much as TAO val: python tests/benchmarks/evaluation_teta.py.

The reference figure, 0.65 s per video, is from this project's specification, measured on another
machine and on real results: the ratio says which order of magnitude to expect, no more.
"""

import argparse
import os
import platform
import time

import numpy as np

from masa_cli.boxes import iou
from masa_cli.evaluation.teta import TetaVideo, count_video, mean_scores, scores, total

REFERENCE_SECONDS = 0.65  # per video
NUM_STEPS = 37  # annotated images of a video, in the mean of TAO val
NUM_OBJECTS = 4  # annotated in an image
NUM_BOXES = 50  # predicted in an image, as in the detections the paper uses
NUM_CLASSES = 300


def moving_boxes(random, num):
    """(NUM_STEPS, num, 4) boxes that drift."""
    corners = random.uniform(0, 600, (num, 2))
    sizes = random.uniform(20, 200, (num, 2))
    drift = random.normal(0, 4, (NUM_STEPS, num, 2)).cumsum(axis=0)
    start = corners + drift
    return np.concatenate([start, start + sizes], axis=2)


def synthetic_video(random):
    """Objects that are found most of the time, half of them with the right class."""
    gt_boxes = moving_boxes(random, NUM_OBJECTS)
    # A video has few classes; objects share them.
    gt_classes = random.choice(random.integers(0, NUM_CLASSES, 3), NUM_OBJECTS)
    boxes = np.concatenate([gt_boxes, moving_boxes(random, NUM_BOXES - NUM_OBJECTS)], axis=1)
    boxes = boxes + random.normal(0, 5, boxes.shape)
    classes = random.integers(0, NUM_CLASSES, NUM_BOXES)
    right = random.random(NUM_OBJECTS) < 0.5
    classes[:NUM_OBJECTS] = np.where(right, gt_classes, classes[:NUM_OBJECTS])
    return gt_boxes, gt_classes, boxes, classes


def to_compare(gt_boxes, gt_classes, boxes, classes):
    """The video as TETA takes it; this is timed too."""
    return TetaVideo(
        gt_ids=[np.arange(NUM_OBJECTS)] * NUM_STEPS,
        gt_classes=[gt_classes] * NUM_STEPS,
        # Identities break now and then.
        ids=[np.arange(NUM_BOXES) + NUM_BOXES * (step // 12) for step in range(NUM_STEPS)],
        classes=[classes] * NUM_STEPS,
        similarity=[iou(*both) for both in zip(gt_boxes, boxes, strict=True)],
    )


def main():
    """Print seconds per video and the ratio to the reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=988, help="as many as TAO val has")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    videos = [synthetic_video(random) for _ in range(arguments.videos)]
    evaluated = sorted({number for video in videos for number in video[1].tolist()})
    count_video(to_compare(*videos[0]), evaluated)  # warm-up
    seconds = []
    for _ in range(arguments.runs):
        start = time.perf_counter()
        counts = total(count_video(to_compare(*video), evaluated) for video in videos)
        mean = mean_scores([scores(counted) for counted in counts.values() if counted.has_boxes])
        seconds.append((time.perf_counter() - start) / len(videos))
    median = float(np.median(seconds))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, Python {platform.python_version()}, numpy {np.__version__}, float64")
    print(
        f"{len(videos)} videos of {NUM_STEPS} steps, {NUM_OBJECTS} objects and {NUM_BOXES} boxes, "
        f"{len(evaluated)} classes; TETA {mean.teta:.2f}"
    )
    print(
        f"{median * 1e3:.2f} ms per video (median of {len(seconds)} runs, "
        f"{min(seconds) * 1e3:.2f} to {max(seconds) * 1e3:.2f})"
    )
    print(
        f"{REFERENCE_SECONDS / median:.0f} times the speed of the reference's {REFERENCE_SECONDS} s"
        " per video (a figure of the specification, not measured here)"
    )


if __name__ == "__main__":
    main()
