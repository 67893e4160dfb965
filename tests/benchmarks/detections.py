"""Time to load a million detections, in each format.

    python tests/benchmarks/detections.py [--rows 1000000]

Prints seconds (median of 3) and, in the same run, the ratio to numpy reading the same MOTChallenge
file with `loadtxt`, which does no checks.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from masa_cli.formats.detections import read_detections

PER_FRAME = 50


def write_files(folder, num_rows):
    """The same boxes in every format; path by name of the format."""
    rng = np.random.default_rng(0)
    frames = np.arange(num_rows) // PER_FRAME
    corners = rng.uniform(0, 1800, (num_rows, 2)).round(2)
    sizes = rng.uniform(5, 120, (num_rows, 2)).round(2)
    scores = rng.random(num_rows).round(4)
    rows = list(zip(frames.tolist(), *corners.T.tolist(), *sizes.T.tolist(), scores, strict=True))
    paths = {name: folder / f"dets.{name}" for name in ("mot", "csv", "jsonl", "coco")}
    with paths["mot"].open("w") as file:
        file.writelines(f"{f + 1},-1,{x},{y},{w},{h},{s}\n" for f, x, y, w, h, s in rows)
    with paths["csv"].open("w") as file:
        file.write("frame,x1,y1,x2,y2,score,label\n")
        file.writelines(
            f"{f},{x},{y},{x + w:.2f},{y + h:.2f},{s},car\n" for f, x, y, w, h, s in rows
        )
    with paths["jsonl"].open("w") as file:
        for start in range(0, num_rows, PER_FRAME):
            part = rows[start : start + PER_FRAME]
            boxes = [[x, y, x + w, y + h] for _, x, y, w, h, _ in part]
            line = {"frame": part[0][0], "boxes": boxes, "scores": [row[-1] for row in part]}
            file.write(json.dumps(line) + "\n")
    images = [{"id": int(f), "frame_id": int(f)} for f in np.unique(frames)]
    annotations = [
        {"image_id": f, "bbox": [x, y, w, h], "score": s, "category_id": 1}
        for f, x, y, w, h, s in rows
    ]
    categories = [{"id": 1, "name": "car"}]
    with paths["coco"].open("w") as file:
        json.dump({"images": images, "annotations": annotations, "categories": categories}, file)
    return paths


def seconds(read, path):
    """Median of three."""
    runs = []
    for _ in range(3):
        start = time.perf_counter()
        read(path)
        runs.append(time.perf_counter() - start)
    return statistics.median(runs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), arguments.rows)
        plain = seconds(lambda path: np.loadtxt(path, delimiter=","), paths["mot"])
        print(f"{arguments.rows} rows; numpy.loadtxt of the mot file: {plain:.2f} s")
        for name, path in paths.items():
            spent = seconds(read_detections, path)
            size = path.stat().st_size / 1e6
            print(f"{name:6} {size:6.1f} MB {spent:6.2f} s {spent / plain:6.2f} x loadtxt")


if __name__ == "__main__":
    main()
