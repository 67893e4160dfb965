"""How well weights of `lite` detect: AP50 on a video with known boxes, and on labelled images.

    python tests/benchmarks/detection.py WEIGHTS [--video VIDEO BOXES ...] [--images REGIONS.json]
        [--every 4] [--classes person car dog] [--threads 2]

BOXES is MOTChallenge truth of persons, or detections of another detector to compare with truth:
each --video takes VIDEO TRUTH; --against FILE scores those detections on the same frames. REGIONS
is a file that weights/pseudo_boxes.py or masa train prepare made; regions to ignore are ignored.
Prints AP50 in percent and, with its own spread, milliseconds per frame of the network.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from masa_cli.detectors.class_search import ClassChoice, plan_class_search
from masa_cli.detectors.one_stage import ClassDetector, build_class_detector
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.vocabulary import load_vocabulary
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_truth
from masa_cli.models.adapter import build_features, build_pyramid
from masa_cli.sources import open_source
from masa_cli.structures import Detections, Frame
from masa_cli.training.average_precision import average_precisions, rows_of

ALL = load_vocabulary().classes


def build(weights: Path, classes: Iterable[str]) -> ClassDetector:
    where = {"device": "cpu", "precision": "float32"}
    features = build_features("lite", weights=weights, **where)
    pyramid = build_pyramid("lite", features, weights=weights, **where)
    prompt = parse_prompt(", ".join(classes))
    search = plan_class_search(prompt, load_vocabulary(), weights, ClassChoice(min_score=0.01))
    return build_class_detector(search, pyramid, **where)


def results_of(found: Detections, image: int, categories: list[int]) -> list[dict]:
    rows = rows_of(image, found.boxes, [categories[label] for label in found.labels])
    return [row | {"score": score} for row, score in zip(rows, found.scores.tolist(), strict=True)]


def timed(detector: ClassDetector, frames: Iterable[Frame]) -> Iterator[tuple[Detections, float]]:
    for frame in frames:
        start = time.perf_counter()
        (found,) = detector.detect([frame])
        yield found, 1e3 * (time.perf_counter() - start)


def score_video(weights: Path, video: str, truth: str, every: int, against: list[str]) -> None:
    true = read_truth(Path(truth))
    last = int(true.frames.max())
    frames = [
        frame
        for frame in open_source(Path(video)).frames()
        if frame.index <= last and frame.index % every == 0
    ]
    indices = [frame.index for frame in frames]
    rows = []
    for index in indices:
        own = true.frames == index
        ignored = (true.scores[own] == 0).tolist()
        here = rows_of(index, true.boxes[own], [1] * len(ignored))
        rows += [row | {"iscrowd": int(skip)} for row, skip in zip(here, ignored, strict=True)]
    results = list(timed(build(weights, ["person"]), frames))
    found = [
        row
        for index, (each, _) in zip(indices, results, strict=True)
        for row in results_of(each, index, [1])
    ]
    times = np.percentile([spent for _, spent in results], (10, 50, 90))
    score = 100 * average_precisions(rows, found, indices)[1]
    print(f"{Path(video).name}: {len(frames)} frames, AP50 of persons {score:.1f}")
    print("  ms per frame: median {1:.0f}, 10-90 % {0:.0f}-{2:.0f}".format(*times))
    for file in against:
        table = read_detections(Path(file))
        others = [row for i in indices for row in results_of(table.of_frame(i), i, [1] * 100)]
        print(f"  {Path(file).name}: {100 * average_precisions(rows, others, indices)[1]:.1f}")


def score_images(weights: Path, regions: str, classes: list[str]) -> None:
    content = json.loads(Path(regions).read_text())
    folder = Path(regions).parent / content.get("folder", ".")
    names = {row["id"]: row["name"] for row in content["categories"]}
    wanted = {number for number, name in names.items() if name in classes}
    truth = [row for row in content["annotations"] if row["category_id"] in wanted]
    own = {name: number for number, name in names.items()}
    detector, found = build(weights, classes), []
    for place, image in enumerate(content["images"]):
        picture = cv2.imread(str(folder / image["file_name"]))[:, :, ::-1]
        frame = Frame(place, 0, np.ascontiguousarray(picture))
        (each,) = detector.detect([frame])
        found += results_of(each, image["id"], [own[name] for name in classes])
    shares = average_precisions(truth, found, [image["id"] for image in content["images"]])
    scores = {number: 100 * share for number, share in shares.items()}
    print(f"{regions}: AP50 {np.mean([*scores.values()]):.1f} over {len(scores)} classes")
    counts = {
        n: sum(row["category_id"] == n and not row["iscrowd"] for row in truth) for n in scores
    }
    print("  " + ", ".join(f"{names[n]} {v:.0f} ({counts[n]})" for n, v in scores.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--video", nargs=2, action="append", default=[], metavar="FILE")
    parser.add_argument("--against", nargs="+", default=[], help="detections to score as well")
    parser.add_argument("--images", nargs="+", default=[])
    parser.add_argument("--classes", nargs="+", default=list(ALL))
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for video, truth in options.video:
        score_video(options.weights, video, truth, options.every, options.against)
    for regions in options.images:
        score_images(options.weights, regions, options.classes)


if __name__ == "__main__":
    main()
