"""Time of `masa eval --format mot` at the size of MOT17: 7 sequences of 800 frames, 95,000 boxes.

    python tests/benchmarks/evaluation_mot.py

Compares, in the same run, evaluation from files (reading, checks, preprocessing, scores) with
TrackEval's metric classes alone on boxes that are in memory already, with IoU as TrackEval computes
it. In the second set every fifth object is a distractor, so that results are matched before they
are scored; TrackEval's metrics get what is left after that, and so have less to do. Medians of the
runs after a warm-up.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import trackeval
from trackeval.datasets._base_dataset import _BaseDataset

from masa_cli.evaluation import PROTOCOLS, evaluate
from masa_cli.evaluation.mot_boxes import scored_data
from masa_cli.formats.mot import read_results, read_truth

SEQUENCES, FRAMES, OBJECTS = 7, 800, 17  # 95,200 true boxes
RUNS = 3


def write_set(folder, distractor_every):
    generator = np.random.default_rng(0)
    for number in range(SEQUENCES):
        truth, results = [], []
        corners = generator.uniform((0, 0), (1820, 900), (OBJECTS, 2))
        for frame in range(1, FRAMES + 1):
            corners += generator.normal(0, 2, corners.shape)
            for who, (x, y) in enumerate(corners):
                is_distractor = distractor_every and who % distractor_every == 0
                class_ = 8 if is_distractor else 1
                truth.append(f"{frame},{who + 1},{x:.2f},{y:.2f},60.00,140.00,1,{class_},1.0\n")
                if generator.random() < 0.1:
                    continue
                u, v = generator.normal((x, y), 4)
                id_ = who + 1 + OBJECTS * (frame // 90)
                results.append(f"{frame},{id_},{u:.2f},{v:.2f},60.00,140.00,0.9,-1,-1,-1\n")
        place = folder / "gt" / f"S{number}" / "gt"
        place.mkdir(parents=True)
        (place / "gt.txt").write_text("".join(truth))
        (folder / "res").mkdir(exist_ok=True)
        (folder / "res" / f"S{number}.txt").write_text("".join(results))


def plain_inputs(folder):
    """TrackEval's data of each sequence, and the boxes its IoU starts from."""
    inputs = []
    for number in range(SEQUENCES):
        truth = read_truth(folder / "gt" / f"S{number}" / "gt" / "gt.txt")
        results = read_results(folder / "res" / f"S{number}.txt")
        distractors = PROTOCOLS["mot"].fixed["distractors"]
        data = scored_data(truth, results, distractors, FRAMES)
        frames = range(FRAMES)
        boxes = [
            (truth.boxes[truth.frames == frame], results.boxes[results.frames == frame])
            for frame in frames
        ]
        inputs.append((data, boxes))
    return inputs


def plain(inputs):
    metrics = [
        trackeval.metrics.HOTA(),
        trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
        trackeval.metrics.Identity({"PRINT_CONFIG": False}),
    ]
    scores = [{} for _ in metrics]
    for number, (data, boxes) in enumerate(inputs):
        for pair in boxes:
            _BaseDataset._calculate_box_ious(*pair, box_format="x0y0x1y1")
        for metric, parts in zip(metrics, scores, strict=True):
            parts[number] = metric.eval_sequence(data)
    return [metric.combine_sequences(parts) for metric, parts in zip(metrics, scores, strict=True)]


def seconds(function):
    function()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    print("truth               masa [s]  metrics alone [s]  ratio")
    for title, distractor_every in (("pedestrians only", 0), ("1 in 5 distractors", 5)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_set(folder, distractor_every)
            ours = seconds(lambda: evaluate(folder / "gt", folder / "res", protocol="mot"))  # noqa: B023
            inputs = plain_inputs(folder)
            bare = seconds(lambda: plain(inputs))  # noqa: B023
            print(f"{title:18}  {ours:8.2f}  {bare:17.2f}  {ours / bare:5.2f}")


if __name__ == "__main__":
    main()
