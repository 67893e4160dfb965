"""Time and findings of camera motion estimation on real clips.

    python tests/benchmarks/camera.py CLIP [CLIP ...] [--size 1280x720] [--frames 300] [--cuts]

CLIP is a video or a folder of pictures; no boxes are masked. `--size` resizes the frames first,
for times that compare. Prints per clip the milliseconds per frame (median and 95th percentile), of
still and moving frames apart, and how many frames are found still, moving and cut. `--cuts` joins
all clips, 20 frames each in turn, and tells how many of the cuts are found.
"""

import argparse
import platform
import time
from itertools import count, islice, takewhile
from pathlib import Path

import cv2
import numpy as np

from masa_cli.tracking.camera import CameraMotionEstimator

NO_BOXES = np.empty((0, 4), np.float32)
SHOT = 20  # frames


def read_frames(path, size):
    """RGB frames of a video or of a folder of pictures."""
    if path.is_dir():
        frames = (cv2.imread(str(file)) for file in sorted(path.glob("*.jpg")))
    else:
        video = cv2.VideoCapture(str(path))
        frames = takewhile(lambda frame: frame is not None, (video.read()[1] for _ in count()))
    for frame in frames:
        picture = cv2.resize(frame, size) if size else frame
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def measure(frames):
    """(N,) seconds of each update, and the motions, after the first frame."""
    watch, seconds, motions = CameraMotionEstimator(), [], []
    for frame in frames:
        start = time.perf_counter()
        motions.append(watch.update(frame, NO_BOXES))
        seconds.append(time.perf_counter() - start)
    return np.array(seconds[1:]), motions[1:]


def describe(seconds):
    """Median and 95th percentile in milliseconds; a dash where there is nothing."""
    if not len(seconds):
        return "      -      "
    return "{:5.2f} ({:5.2f})".format(*np.quantile(seconds, (0.5, 0.95)) * 1e3)


def report(name, seconds, motions):
    """One line per clip."""
    cut = np.array([motion.is_cut for motion in motions])
    moving = np.array([motion.moves() for motion in motions])
    shifts = [np.hypot(*motion.shift) for motion in motions if motion.moves()] or [0]
    print(
        f"{name:28.28} {len(motions):5d}  {describe(seconds)}  {describe(seconds[~moving])}"
        f"  {describe(seconds[moving])}  {np.mean(~moving & ~cut):6.1%} {np.mean(moving):6.1%}"
        f" {np.sum(cut):4d}   {np.median(shifts):6.2f} {np.max(shifts):7.2f}"
    )


def report_cuts(paths, size, num_frames):
    """Cuts found and made up in a film of short shots from all clips."""
    clips = [read_frames(path, size) for path in paths]
    film, starts = [], set()
    while len(film) < num_frames * len(paths):
        shots = [shot for clip in clips if len(shot := list(islice(clip, SHOT))) == SHOT]
        if len(shots) < 2:
            break
        for shot in shots:
            starts.add(len(film) - 1)
            film += shot
    _, motions = measure(film)
    found = {index for index, motion in enumerate(motions) if motion.is_cut}
    starts.discard(-1)
    print(f"cuts: {len(found & starts)} of {len(starts)} found, {len(found - starts)} made up")


def main():
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--size", help="WxH to resize all frames to, before the clock starts")
    parser.add_argument("--frames", type=int, default=300, help="at most, per clip")
    parser.add_argument("--cuts", action="store_true")
    arguments = parser.parse_args()
    size = tuple(map(int, arguments.size.split("x"))) if arguments.size else None
    print(f"{platform.machine()}, OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    print(f"{'clip':28} frames  all ms (95%)   still ms       moving ms       still moving  cut"
          "   shift px: median, max")  # fmt: skip
    for path in arguments.clips:
        frames = islice(read_frames(path, size), arguments.frames)
        report(path.name, *measure(frames))
    if arguments.cuts:
        report_cuts(arguments.clips, size or (640, 360), arguments.frames)


if __name__ == "__main__":
    main()
