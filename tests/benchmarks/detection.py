"""How well weights of `lite` detect: COCO's AP on labelled photographs, AP50 on a video.

    python tests/benchmarks/detection.py WEIGHTS [--coco SET] [--fold 10]
        [--video VIDEO BOXES ...] [--images REGIONS.json]
        [--every 4] [--classes person car dog] [--teachers DETECTORS] [--threads 2]
        [--runtime torch] [--precision float32]

SET is a folder with COCO's `annotations.json`, or such a file; --fold N takes only the images whose
id is a multiple of N (those that weights/photographs.py --hold-out left out). Classes that the set,
or an image, does not name in `complete_for` are not scored there. Of the same images: how many
pairs of persons that overlap are told apart. --objects SET NAME scores the boxes of any object by
average recall, on the boxes of the category of that name ("object": what has no class of COCO).

BOXES is MOTChallenge truth of persons, or detections of another detector to compare with truth:
each --video takes VIDEO TRUTH; --against FILE scores those detections on the same frames. REGIONS
is a file that weights/pseudo_boxes.py or masa train prepare made; regions to ignore are ignored.
--teachers scores the models that made such boxes, too; of all, precision and recall by score.
Prints AP50 in percent, false boxes above score 0.5 per frame and, with its own spread, milliseconds
per frame of the network.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from masa_cli.boxes import area, intersection, iou, xywh_to_xyxy
from masa_cli.detectors.lite import ClassDetector, build_class_detector
from masa_cli.detectors.prompt import load_vocabulary, parse_prompt
from masa_cli.detectors.request import request_objects, request_prompt
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_truth
from masa_cli.models import SharedNetworks
from masa_cli.models.device import PRECISIONS
from masa_cli.models.runtime import RUNTIMES
from masa_cli.sources import open_source
from masa_cli.structures import Detections, Frame
from masa_cli.training.validation import average_precisions, coco_rows

ALL = load_vocabulary().classes
MIN_PAIR_SCORE, MIN_PAIR_IOU, MIN_PAIR_HEIGHT = 0.3, 0.1, 40  # of persons that overlap; pixels
MIN_SURE_SCORE = 0.5  # of boxes that are counted as false ones per frame of a video


@dataclass(frozen=True, slots=True)
class Measured:
    """Weights, and how they are computed."""

    weights: Path
    precision: str
    runtime: str

    def of_classes(self, names: Iterable[str]) -> ClassDetector:
        words = parse_prompt(", ".join(names))
        request = request_prompt(words, str(self.weights), {"min_score": 0.001})
        return build_class_detector(request, self._networks())

    def of_objects(self) -> ClassDetector:
        settings = {"min_score": 0.001, "max_boxes": 100}
        return build_class_detector(request_objects(str(self.weights), settings), self._networks())

    def _networks(self) -> SharedNetworks:
        return SharedNetworks(device="cpu", precision=self.precision, runtime=self.runtime)


def results_of(found: Detections, image: int, categories: list[int]) -> list[dict]:
    rows = coco_rows(image, found.boxes, [categories[label] for label in found.labels])
    return [row | {"score": score} for row, score in zip(rows, found.scores.tolist(), strict=True)]


def timed(detector: ClassDetector, frames: Iterable[Frame]) -> Iterator[tuple[Detections, float]]:
    for frame in frames:
        start = time.perf_counter()
        (found,) = detector.detect([frame])
        yield found, 1e3 * (time.perf_counter() - start)


def score_video(measured: Measured, video: str, truth: str, every: int, against: list[str]) -> None:
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
    results = list(timed(measured.of_classes(["person"]), frames))
    found = [
        row
        for index, (each, _) in zip(indices, results, strict=True)
        for row in results_of(each, index, [1])
    ]
    times = np.percentile([spent for _, spent in results], (10, 50, 90))
    score = 100 * average_precisions(rows, found, indices)[1]
    wrong = false_boxes(rows, found) / len(frames)
    print(
        f"{Path(video).name}: {len(frames)} frames, AP50 of persons {score:.1f}, {wrong:.2f} false"
    )
    print("  ms per frame: median {1:.0f}, 10-90 % {0:.0f}-{2:.0f}".format(*times))
    for file in against:
        table = read_detections(Path(file))
        others = [row for i in indices for row in results_of(table.of_frame(i), i, [1] * 100)]
        score, wrong = average_precisions(rows, others, indices)[1], false_boxes(rows, others)
        print(f"  {Path(file).name}: {100 * score:.1f}, {wrong / len(frames):.2f} false")


Finder = Callable[[np.ndarray], tuple[np.ndarray, list[float], list[str]]]


def finders(measured: Measured, classes: list[str], teachers: Path | None) -> dict[str, Finder]:
    """By name what finds boxes xyxy, scores and names of classes in a BGR picture."""
    detector, indices = measured.of_classes(classes), count()

    def of_lite(picture: np.ndarray) -> tuple[np.ndarray, list[float], list[str]]:
        frame = Frame(next(indices), 0, np.ascontiguousarray(picture[:, :, ::-1]))
        (each,) = detector.detect([frame])
        return each.boxes, each.scores.tolist(), [classes[label] for label in each.labels]

    found: dict[str, Finder] = {str(measured.weights): of_lite}
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


def false_boxes(truth: list[dict], found: list[dict]) -> int:
    """How many boxes above MIN_SURE_SCORE show no true object."""
    hits = matched(truth, [row for row in found if row["score"] > MIN_SURE_SCORE])
    return int((hits == 0).sum())


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


def score_images(
    measured: Measured, regions: str, classes: list[str], teachers: Path | None
) -> None:
    content = json.loads(Path(regions).read_text())
    folder = Path(regions).parent / content.get("folder", ".")
    names = {row["id"]: row["name"] for row in content["categories"]}
    wanted = {number for number, name in names.items() if name in classes}
    truth = [row for row in content["annotations"] if row["category_id"] in wanted]
    own = {name: number for number, name in names.items()}
    pictures = [
        (image["id"], cv2.imread(str(folder / image["file_name"]))) for image in content["images"]
    ]
    for name, find in finders(measured, classes, teachers).items():
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


def score_coco(measured: Measured, labels: Path, fold: int, teachers: Path | None) -> None:
    """AP, AP50, AP of small, medium and large objects, and of persons, of all models in turn."""
    labels = labels if labels.is_file() else labels / "annotations.json"
    content = json.loads(labels.read_text())
    images = [image for image in content["images"] if image["id"] % fold == 0]
    names = {row["id"]: row["name"] for row in content["categories"] if row["name"] in ALL}
    everywhere = content.get("info", {}).get("complete_for", "all")
    complete = {image["id"]: image.get("complete_for", everywhere) for image in images}

    def is_scored(row: dict) -> bool:
        known = complete.get(row["image_id"], ())
        name = names.get(row["category_id"])
        return name is not None and (known == "all" or name in known)

    truth = [row for row in content["annotations"] if is_scored(row)]
    truth = [row | {"id": n, "iscrowd": row.get("iscrowd", 0)} for n, row in enumerate(truth, 1)]
    present = sorted({row["category_id"] for row in truth if not row["iscrowd"]})
    numbers = {names[number]: number for number in present}
    print(f"{labels.parent.name}: {len(images)} images, {len(truth)} boxes, {len(present)} classes")
    titles = f"{'AP':>5} {'AP50':>5} {'small':>5} {'med.':>5} {'large':>5}  persons: AP, AP50"
    print(f"{'':24} {titles}")
    for name, find in finders(measured, list(ALL), teachers).items():
        found = []
        for image in images:
            picture = cv2.imread(str(labels.parent / image["file_name"]))
            boxes, scores, classes = find(picture)
            rows = coco_rows(image["id"], boxes, [numbers.get(each, 0) for each in classes])
            scored = (row | {"score": score} for row, score in zip(rows, scores, strict=True))
            found += [row for row in scored if row["category_id"] and is_scored(row)]
        ids = [image["id"] for image in images]
        whole = coco_scores(truth, found, ids, present)
        person = coco_scores(truth, found, ids, [numbers["person"]]) if "person" in numbers else []
        one = " ".join(f"{100 * value:5.1f}" for value in whole)
        print(f"{Path(name).name[:24]:24} {one}  {' '.join(f'{100 * v:6.1f}' for v in person[:2])}")
        if "person" in numbers:
            print(f"{'':24} {separated(truth, found, numbers['person'])}")


def separated(truth: list[dict], found: list[dict], person: int) -> str:
    """How many pairs of persons that overlap have a box each, among those above MIN_PAIR_SCORE."""
    sure = [row for row in found if row["score"] >= MIN_PAIR_SCORE]
    counts = np.zeros(2, int)
    for image in sorted({row["image_id"] for row in truth}):
        true, own = (
            xywh_to_xyxy(
                np.array(
                    [
                        row["bbox"]
                        for row in rows
                        if row["image_id"] == image
                        and row["category_id"] == person
                        and not row["iscrowd"]
                    ]
                ).reshape(-1, 4)
            )
            for rows in (truth, sure)
        )
        overlaps, hits = iou(true, true), iou(true, own) >= 0.5
        smaller = np.minimum.outer(area(true), area(true))
        hidden = intersection(true, true) / np.maximum(smaller, 1)
        tall = (true[:, 3] - true[:, 1]) >= MIN_PAIR_HEIGHT
        rows = (overlaps > MIN_PAIR_IOU) & (hidden < 0.5) & tall & tall[:, None]
        for one, other in np.argwhere(np.triu(rows, 1)):
            both = hits[[one, other]]
            counts += (1, int(both.any(1).all() and both.any(0).sum() >= 2))
    share = 100 * counts[1] / max(counts[0], 1)
    return f"{counts[1]} of {counts[0]} pairs of persons told apart ({share:.0f} %)"


def score_objects(measured: Measured, labels: Path, name: str) -> None:
    """Average recall over IoU 0.5 to 0.95 of 10 and of 100 boxes of any object."""
    labels = labels if labels.is_file() else labels / "annotations.json"
    content = json.loads(labels.read_text())
    wanted = {row["id"] for row in content["categories"] if row["name"] == name}
    truth = [
        row | {"id": n, "category_id": 1, "iscrowd": 0}
        for n, row in enumerate(content["annotations"], 1)
        if row["category_id"] in wanted and not row.get("iscrowd")
    ]
    ids = sorted({row["image_id"] for row in truth})
    files = {image["id"]: labels.parent / image["file_name"] for image in content["images"]}
    detector = measured.of_objects()
    found = []
    for number in ids:
        picture = np.ascontiguousarray(cv2.imread(str(files[number]))[:, :, ::-1])
        (each,) = detector.detect([Frame(number, 0, picture)])
        found += results_of(each, number, [1])
    at_10, at_100 = (100 * value for value in coco_scores(truth, found, ids, [1], stats=(7, 8)))
    print(
        f'{labels.parent.name}, "{name}": {len(truth)} boxes in {len(ids)} images, '
        f"average recall of 10 boxes {at_10:.1f}, of 100 {at_100:.1f}"
    )


def coco_scores(
    truth: list[dict],
    found: list[dict],
    images: list[int],
    categories: list[int],
    stats: tuple[int, ...] = (0, 1, 3, 4, 5),
) -> list[float]:
    """AP, AP50, AP of small, medium and large objects, or others of COCO's statistics, 0 to 1."""
    data = COCO()
    data.dataset = {
        "images": [{"id": number} for number in images],
        "annotations": truth,
        "categories": [{"id": number} for number in categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes([dict(row) for row in found]), "bbox")
        evaluation.params.catIds = categories
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(evaluation.stats[index]) for index in stats]


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
    parser.add_argument("--coco", nargs="+", type=Path, default=[])
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--objects", nargs=2, action="append", default=[], metavar=("SET", "NAME"))
    parser.add_argument("--teachers", type=Path, help="folder of detectors to score as well")
    parser.add_argument("--classes", nargs="+", default=list(ALL))
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch")
    options = parser.parse_args()
    measured = Measured(options.weights, options.precision, options.runtime)
    torch.set_num_threads(options.threads)
    for video, truth in options.video:
        score_video(measured, video, truth, options.every, options.against)
    for labels in options.coco:
        score_coco(measured, labels, options.fold, options.teachers)
    for folder, name in options.objects:
        score_objects(measured, Path(folder), name)
    for regions in options.images:
        score_images(measured, regions, options.classes, options.teachers)


if __name__ == "__main__":
    main()
