"""Other trackers on the same boxes: writes the tracks of each in MOTChallenge's form.

    PYTHON tests/benchmarks/peers.py JOBS.json

PYTHON is one that has roboflow's `trackers` (Apache-2.0; an environment of its own is best). The
file lists jobs: {"video": file or null, "boxes": npz of frames, boxes, scores, "frame_rate",
"num_frames", "out": folder}; each out gets NAME.txt for each tracker, with its defaults, and
seconds.json, what each took for all frames, reading them left out.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np


def images(video):
    """Frames one after the other, or nothing for ever."""
    if video is None or not Path(video).is_file():
        while True:
            yield None
    capture = cv2.VideoCapture(video)
    while True:
        yield capture.read()[1]


def track(tracker, job, seconds, *, shown):
    import supervision

    table = np.load(job["boxes"])
    stream = images(job["video"] if shown else None)
    for index in range(job["num_frames"]):
        rows = table["frames"] == index
        given = supervision.Detections(
            xyxy=table["boxes"][rows].reshape(-1, 4).astype(np.float32),
            confidence=table["scores"][rows].astype(np.float32),
            class_id=np.zeros(int(rows.sum()), int),
        )
        image = next(stream)
        start = time.perf_counter()
        found = tracker.update(given, image)
        seconds.append(time.perf_counter() - start)
        for (left, top, right, bottom), id_ in zip(found.xyxy, found.tracker_id, strict=True):
            if id_ >= 0:
                width, height = right - left, bottom - top
                yield f"{index + 1},{id_ + 1},{left:.3f},{top:.3f},{width:.3f},{height:.3f},1,-1\n"


def main():
    import trackers

    for job in json.loads(Path(sys.argv[1]).read_text()):
        rate, out = job["frame_rate"], Path(job["out"])
        out.mkdir(parents=True, exist_ok=True)
        has_images = job["video"] is not None
        made = {
            "SORT": trackers.SORTTracker(frame_rate=rate),
            "ByteTrack": trackers.ByteTrackTracker(frame_rate=rate),
            "OCSORT": trackers.OCSORTTracker(frame_rate=rate),
            "BoTSORT": trackers.BoTSORTTracker(frame_rate=rate, enable_cmc=has_images),
            "CBIoU": trackers.CBIoUTracker(frame_rate=rate),
        }
        seconds = {name: [] for name in made}
        for name, tracker in made.items():
            lines = track(tracker, job, seconds[name], shown=name == "BoTSORT" and has_images)
            (out / f"{name}.txt").write_text("".join(lines))
        (out / "seconds.json").write_text(json.dumps({n: sum(s) for n, s in seconds.items()}))


if __name__ == "__main__":
    main()
