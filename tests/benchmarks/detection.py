"""How well weights of `lite` detect: AP50 on a video with known boxes, and on labelled images.

    python tests/benchmarks/detection.py WEIGHTS [--video VIDEO BOXES ...] [--images REGIONS.json]
        [--every 4] [--classes person car dog] [--teachers DETECTORS] [--threads 2]

BOXES is MOTChallenge truth of persons, or detections of another detector to compare with truth:
each --video takes VIDEO TRUTH; --against FILE scores those detections on the same frames. REGIONS
is a file that weights/pseudo_boxes.py or masa train prepare made; regions to ignore are ignored.
--teachers scores the models that made such boxes, too; of all, precision and recall by score.
Prints AP50 in percent and, with its own spread, milliseconds per frame of the network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch

from masa_cli.boxes import iou, xywh_to_xyxy
from masa_cli.detectors.lite import ClassDetector, build_class_detector
from masa_cli.detectors.prompt import load_vocabulary, parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_truth
from masa_cli.models import SharedNetworks
from masa_cli.sources import open_source
from masa_cli.structures import Detections, Frame
from masa_cli.training.validation import average_precisions, coco_rows

ALL = load_vocabulary().classes


def build(weights: Path, classes: Iterable[str]) -> ClassDetector:
    request = request_prompt(parse_prompt(", ".join(classes)), str(weights), {"min_score": 0.01})
    return build_class_detector(request, SharedNetworks(device="cpu"))


def results_of(found: Detections, image: int, categories: list[int]) -> list[dict]:
    rows = coco_rows(image, found.boxes, [categories[label] for label in found.labels])
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
        here = coco_rows(index, true.boxes[own], [1] * len(ignored))
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


Finder = Callable[[np.ndarray], tuple[np.ndarray, list[float], list[str]]]


def finders(weights: Path, classes: list[str], teachers: Path | None) -> dict[str, Finder]:
    """By name what finds boxes xyxy, scores and names of classes in a BGR picture."""
    detector, indices = build(weights, classes), count()

    def of_lite(picture: np.ndarray) -> tuple[np.ndarray, list[float], list[str]]:
        frame = Frame(next(indices), 0, np.ascontiguousarray(picture[:, :, ::-1]))
        (each,) = detector.detect([frame])
        return each.boxes, each.scores.tolist(), [classes[label] for label in each.labels]

    found: dict[str, Finder] = {str(weights): of_lite}
    if teachers:
        models, names = load_detectors(teachers)
        for name, model in models.items():
            found[name] = lambda picture, model=model: told(*model(picture), names)
    return found


def told(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, names: list[str]
) -> tuple[np.ndarray, list[float], list[str]]:
    return boxes, scores.tolist(), [names[int(label)] for label in labels]


def load_detectors(folder: Path) -> tuple[dict, list[str]]:
    """As weights/pseudo_boxes.py loads them."""
    file = Path(__file__).parents[2] / "weights/pseudo_boxes.py"
    spec = importlib.util.spec_from_file_location("pseudo_boxes", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load_detectors(folder)


def precise(truth: list[dict], found: list[dict], least: float) -> tuple[float, float]:
    """Precision and recall in percent of the boxes from a score on, at IoU 0.5."""
    hits = matched(truth, [row for row in found if row["score"] >= least])
    true = sum(not row["iscrowd"] for row in truth)
    counted = hits[hits >= 0]
    return 100 * float(counted.mean()) if len(counted) else np.nan, 100 * (hits > 0).sum() / true


def matched(truth: list[dict], found: list[dict]) -> np.ndarray:
    """For each box 1 if it is a true one, 0 if it is none, -1 where nothing is known."""
    by_place: dict[tuple[int, int], list[dict]] = {}
    for row in truth:
        by_place.setdefault((row["image_id"], row["category_id"]), []).append(row | {"free": True})
    hits = np.zeros(len(found), int)
    for place, row in sorted(enumerate(found), key=lambda pair: -pair[1]["score"]):
        rows = by_place.get((row["image_id"], row["category_id"]), [])
        boxes = np.array([[*each["bbox"]] for each in rows]).reshape(-1, 4)
        overlaps = iou(xywh_to_xyxy(np.array([row["bbox"]])), xywh_to_xyxy(boxes))[0]
        for best in np.argsort(-overlaps):
            if overlaps[best] < 0.5:
                break
            if rows[best]["iscrowd"]:
                hits[place] = -1
            elif rows[best]["free"]:
                rows[best]["free"], hits[place] = False, 1
                break
    return hits


def score_images(weights: Path, regions: str, classes: list[str], teachers: Path | None) -> None:
    content = json.loads(Path(regions).read_text())
    folder = Path(regions).parent / content.get("folder", ".")
    names = {row["id"]: row["name"] for row in content["categories"]}
    wanted = {number for number, name in names.items() if name in classes}
    truth = [row for row in content["annotations"] if row["category_id"] in wanted]
    own = {name: number for number, name in names.items()}
    pictures = [
        (image["id"], cv2.imread(str(folder / image["file_name"]))) for image in content["images"]
    ]
    for name, find in finders(weights, classes, teachers).items():
        found = []
        for number, picture in pictures:
            boxes, scores, labels = find(picture)
            rows = coco_rows(number, boxes, [own.get(label, 0) for label in labels])
            scored = (row | {"score": score} for row, score in zip(rows, scores, strict=True))
            found += [row for row in scored if row["category_id"] in wanted]
        print_score(f"{Path(regions).name}, {name}", truth, found, names, content)
        for least in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
            precision, recall = precise(truth, found, least)
            print(f"    from score {least}: precision {precision:.1f}, recall {recall:.1f}")


def print_score(
    title: str, truth: list[dict], found: list[dict], names: dict, content: dict
) -> None:
    shares = average_precisions(truth, found, [image["id"] for image in content["images"]])
    scores = {number: 100 * share for number, share in shares.items()}
    print(f"{title}: AP50 {np.mean([*scores.values()]):.1f} over {len(scores)} classes")
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
    parser.add_argument("--teachers", type=Path, help="folder of detectors to score as well")
    parser.add_argument("--classes", nargs="+", default=list(ALL))
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for video, truth in options.video:
        score_video(options.weights, video, truth, options.every, options.against)
    for regions in options.images:
        score_images(options.weights, regions, options.classes, options.teachers)


if __name__ == "__main__":
    main()
