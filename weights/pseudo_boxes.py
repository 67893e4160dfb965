"""Boxes for training `lite`: what small detectors agree on, beside the true boxes of a set.

    pip install onnxruntime ensemble-boxes
    python weights/pseudo_boxes.py DETECTORS OUT.json SET [SET ...]

DETECTORS is a folder of ONNX models with a `decode.py` whose `load(name)` gives a function from a
BGR image to (boxes xyxy, scores, COCO classes). Each SET is a folder of images, or one with
`images/` and perhaps `annotations.json` (COCO), or a video, of which every --every-th frame is
written beside OUT as an image. The models' boxes are joined by weighted box fusion: confident ones
become labels, doubtful ones regions to ignore (COCO's `iscrowd`). Where a set has true boxes, they
are the labels; with --partial SET they are so for their own classes alone, and with --rough SET
for none: everything they cover is ignored, unless the models are sure of it. With --closer SET the
models are run on four overlapping crops of each image, too, for what is small in it. --times N SET
lists the images of a set N times, to be used more often. The result is what `masa train run` reads,
which takes images without a label for backgrounds of --cutouts, or else leaves them out; it can be
interrupted and goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from ensemble_boxes import nms, weighted_boxes_fusion

from masa_cli.boxes import intersection

# How much each detector is trusted; in the order of how well they find persons.
DETECTORS = {"yolox_nano": 3, "picodet_s": 3, "nanodet_m": 2, "fastestdet": 1}
AGREE_IOU = 0.55  # boxes of one class that overlap by more are one
# Scores after the fusion: above the first a label; from the second on ignored. (From 0.12 on, half
# of a street is ignored, and what is found there by mistake is never unlearned.)
SURE, DOUBTFUL = 0.4, 0.2
PART, BORDER = 0.6, 3  # side of a part, share of the image's; of boxes cut off there, pixels
COVERED = 0.5  # share of a box inside a true one from which it is another box of the same object
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
NUM_CLASSES = 80

# Names of COCO's classes where those of the detectors are older.
RENAMED = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}

Row = dict[str, Any]
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Found(NamedTuple):
    """Boxes (N, 4) xyxy in pixels, scores (N,), classes (N,)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class LabelledImage(NamedTuple):
    file: Path
    true: list[Row]  # its annotations
    kind: str  # "whole", "partial", "rough" or "none": what they are


class Set(NamedTuple):
    folder: Path
    kind: str  # of its annotations
    times: int  # how often its images are listed
    closer: bool  # whether their crops are searched, too


def load_detectors(folder: Path) -> tuple[dict[str, Detect], list[str]]:
    spec = importlib.util.spec_from_file_location("decode", folder / "decode.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{folder} has no decode.py")
    decode = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(decode)
    names = (folder / "coco.names").read_text().split("\n")[:NUM_CLASSES]
    classes = [RENAMED.get(name, name) for name in names]
    return {name: decode.load(name) for name in DETECTORS}, classes


def closer(detect: Detect) -> Detect:
    """A detector that is run on the image, and then on four overlapping crops of it."""

    def search(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = np.array(image.shape[1::-1])
        part = np.ceil(size * PART).astype(int)
        found = [detect(image)]
        for corner in np.ndindex(2, 2):
            left, top = start = (size - part) * corner
            boxes, scores, labels = detect(image[top : top + part[1], left : left + part[0]])
            begun = (boxes[:, :2] > BORDER) | (start == 0)
            ended = (boxes[:, 2:] < part - BORDER) | (start > 0)
            whole = (begun & ended).all(axis=1)
            found.append((boxes[whole] + np.tile(start, 2), scores[whole], labels[whole]))
        shares = [(boxes / np.tile(size, 2)).clip(0, 1) for boxes, _, _ in found]
        scores, labels = ([each[column] for each in found] for column in (1, 2))
        kept, scores, labels = nms(shares, scores, labels, iou_thr=AGREE_IOU)
        return kept * np.tile(size, 2), scores, labels

    return search


def agreed(detectors: Mapping[str, Detect], image: np.ndarray) -> Found:
    """What the detectors find in an image, joined."""
    height, width = image.shape[:2]
    boxes, scores, classes = [], [], []
    for detect in detectors.values():
        found, sure, labels = detect(image)
        shares = (found / (width, height, width, height)).clip(0, 1)
        has_area = (shares[:, 2:] > shares[:, :2]).all(axis=1)
        boxes.append(shares[has_area])
        scores.append(sure[has_area])
        classes.append(labels[has_area])
    weights = [DETECTORS[name] for name in detectors]
    fused, sure, labels = weighted_boxes_fusion(
        boxes, scores, classes, weights=weights, iou_thr=AGREE_IOU, skip_box_thr=0.05
    )
    return Found(fused * (width, height, width, height), sure, labels.astype(int))


def labelled_images(folder: Path, kind: str) -> Iterator[LabelledImage]:
    images = folder / "images" if (folder / "images").is_dir() else folder
    file = folder / "annotations.json"
    if not file.exists():
        for path in sorted(images.rglob("*")):
            if path.suffix.lower() in ENDINGS:
                yield LabelledImage(path, [], "none")
        return
    content = json.loads(file.read_text())
    rows: dict[int, list[Row]] = {image["id"]: [] for image in content["images"]}
    names = {row["id"]: row["name"] for row in content["categories"]}
    for row in content["annotations"]:
        rows[row["image_id"]].append({**row, "name": names[row["category_id"]]})
    for image in content["images"]:
        yield LabelledImage(folder / image["file_name"], rows[image["id"]], kind)


def frames_of(video: Path, folder: Path, every: int) -> Path:
    """Every so-manieth frame of a video, as images."""
    target = folder / f"{video.stem}-frames"
    target.mkdir(parents=True, exist_ok=True)
    capture, index = cv2.VideoCapture(str(video)), 0
    while True:
        is_there, image = capture.read()
        if not is_there:
            return target
        file = target / f"{index:06}.jpg"
        if index % every == 0 and not file.exists():
            cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        index += 1


def annotations(labelled: LabelledImage, found: Found, names: list[str]) -> Iterator[Row]:
    """COCO annotations of an image: true boxes and what was found, as far as each is believed."""
    true = [row for row in labelled.true if row["name"] in names]
    corners = np.array([row["bbox"] for row in labelled.true], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    for row, box in zip(labelled.true, corners.tolist(), strict=True):
        doubtful = labelled.kind == "rough" or row.get("iscrowd") or row["name"] not in names
        label = names.index(row["name"]) if row in true else 0
        yield annotation(box, label, 1.0, ignored=bool(doubtful))
    own = {row["name"] for row in true}
    areas = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    shared = intersection(found.boxes, corners) / np.maximum(areas, 1e-6)[:, None]
    for box, score, label, covers in zip(*found, shared, strict=True):
        if score <= DOUBTFUL or labelled.kind == "whole":
            continue
        if labelled.kind == "partial" and names[label] in own:
            continue
        same = np.array([row["name"] == names[label] for row in labelled.true], bool)
        if labelled.kind == "partial" and (covers[same] > COVERED).any():
            continue
        yield annotation(box.tolist(), int(label), float(score), ignored=score <= SURE)


def annotation(box: list[float], label: int, score: float, *, ignored: bool) -> Row:
    left, top, right, bottom = box
    bbox = [round(number, 1) for number in (left, top, right - left, bottom - top)]
    row: Row = {"category_id": label + 1, "bbox": bbox, "area": round(bbox[2] * bbox[3], 1)}
    return row | {"score": round(score, 3), "iscrowd": int(ignored)}


def done_before(journal: Path) -> dict[str, Row]:
    lines = journal.read_text().splitlines() if journal.exists() else []
    return {row["image"]["file_name"]: row for row in map(json.loads, lines)}


def write(out: Path, folder: Path, rows: Iterable[Row], names: list[str]) -> None:
    images, boxes = [], []
    for number, row in enumerate(rows, start=1):
        images.append({"id": number, **row["image"]})
        for each in row["boxes"]:
            boxes.append({"id": len(boxes) + 1, "image_id": number, **each})
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content = {"folder": str(folder), "images": images, "annotations": boxes}
    out.write_text(json.dumps(content | {"categories": categories}, separators=(",", ":")))
    print(f"{out}: {len(images)} images, {len(boxes)} boxes")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--partial", type=Path, nargs="+", default=[])
    parser.add_argument("--rough", type=Path, nargs="+", default=[])
    parser.add_argument("--closer", type=Path, nargs="+", default=[])
    parser.add_argument("--every", type=int, default=10, help="frames of videos")
    parser.add_argument("--times", nargs="+", action="append", default=[], metavar="N SET")
    options = parser.parse_args()
    detectors, names = load_detectors(options.detectors)
    near = {name: closer(detect) for name, detect in detectors.items()}
    sets = sets_of(options)
    root = Path(*common_parts([each.folder.resolve() for each in sets]))
    journal = options.out.with_suffix(".jsonl.part")
    rows, listed = done_before(journal), []
    with journal.open("a") as file:
        for folder, kind, times, is_closer in sets:
            search = near if is_closer else detectors
            for labelled in labelled_images(folder, kind):
                name = str(labelled.file.resolve().relative_to(root))
                listed += [name] * times
                if name in rows:
                    continue
                image = cv2.imread(str(labelled.file))
                nothing = Found(np.empty((0, 4)), np.empty(0), np.empty(0, int))
                found = nothing if labelled.kind == "whole" else agreed(search, image)
                facts = {"file_name": name, "height": image.shape[0], "width": image.shape[1]}
                rows[name] = {"image": facts, "boxes": list(annotations(labelled, found, names))}
                print(json.dumps(rows[name]), file=file, flush=True)
    write(options.out, root, (rows[name] for name in listed), names)


def sets_of(options: argparse.Namespace) -> list[Set]:
    """The sets in the order given, videos as frames; none may lie inside another."""
    kinds = {path: "whole" for path in options.sets}
    kinds |= dict.fromkeys(options.partial, "partial") | dict.fromkeys(options.rough, "rough")
    times = {Path(path): int(number) for number, *paths in options.times for path in paths}
    if strange := (times.keys() | options.closer) - kinds.keys():
        raise SystemExit(f"--times or --closer names {min(strange)}, which is none of the sets")
    for path in kinds:
        if around := set(path.resolve().parents) & {each.resolve() for each in kinds}:
            raise SystemExit(f"{path} lies inside {min(around)}: its images would be twice there")
    return [
        Set(
            frames_of(path, options.out.parent, options.every) if path.is_file() else path,
            kind,
            times.get(path, 1),
            path in options.closer,
        )
        for path, kind in kinds.items()
    ]


def common_parts(paths: list[Path]) -> tuple[str, ...]:
    parts = []
    for level in zip(*(path.parts for path in paths), strict=False):
        if len(set(level)) > 1:
            break
        parts.append(level[0])
    return tuple(parts)


if __name__ == "__main__":
    main()
