"""The list of photographs that `lite` learns from: several sets with labels, as one COCO json.

    python weights/photographs.py OUT.json SET [SET ...] [--hold-out SET 10]

Each SET is a COCO json, or a folder with an `annotations.json`. `info.complete_for`, or an image's
own `complete_for`, names the classes that are boxed completely; without either, it is all 80. Of
every other class nothing is known there: the list says so with a region to ignore, as large as the
image, for each of them (`iscrowd`), and one for objects of no class. Crowds are regions to ignore,
too. What is of none of the 80 classes is an "object", the 81st category. --hold-out SET N leaves
out the images of a set whose id is a multiple of N, to measure with (tests/benchmarks/detection.py
--coco SET --fold N).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from masa_cli.detectors.prompt import load_vocabulary
from masa_cli.training.prepare import OBJECT

CLASSES = load_vocabulary().classes
IDS = {name: number for number, name in enumerate((*CLASSES, OBJECT), start=1)}
Row = dict[str, Any]


def images_of(labels: Path, every: int | None) -> Iterator[tuple[Row, list[Row], set[str]]]:
    """Of each image its row, its annotations, and the classes that are complete."""
    content = json.loads(labels.read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    of_image: dict[int, list[Row]] = {image["id"]: [] for image in content["images"]}
    for row in content["annotations"]:
        of_image[row["image_id"]].append({**row, "name": names[row["category_id"]]})
    everywhere = content.get("info", {}).get("complete_for", "all")
    for image in content["images"]:
        if every and image["id"] % every == 0:
            continue
        complete = image.get("complete_for", everywhere)
        known = set(CLASSES) if complete == "all" else set(complete)
        yield image, of_image[image["id"]], known


def annotations(image: Row, rows: list[Row], complete: set[str]) -> Iterator[Row]:
    """The boxes of an image, and what is to be ignored in it."""
    for row in rows:
        yield annotation(row["name"], row["bbox"], ignored=bool(row.get("iscrowd")))
    everywhere = [0, 0, image["width"], image["height"]]
    missing = [name for name in CLASSES if name not in complete]
    for name in missing + [OBJECT] * bool(missing):
        yield annotation(name, everywhere, ignored=True)


def annotation(name: str, bbox: list[float], *, ignored: bool) -> Row:
    number = IDS.get(name, IDS[OBJECT])
    return {
        "category_id": number,
        "bbox": bbox,
        "area": round(bbox[2] * bbox[3], 1),
        "iscrowd": int(ignored),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--hold-out", nargs=2, action="append", default=[], metavar=("SET", "N"))
    options = parser.parse_args()
    held = {Path(name).resolve(): int(every) for name, every in options.hold_out}
    images: list[Row] = []
    boxes: list[Row] = []
    for given in options.sets:
        labels = given if given.is_file() else given / "annotations.json"
        before = len(images), len(boxes)
        for image, rows, complete in images_of(labels, held.get(given.resolve())):
            file = os.path.relpath(labels.parent / image["file_name"], options.out.parent)
            own: Row = {"id": len(images) + 1, "file_name": file}
            images.append(own | {side: image[side] for side in ("width", "height")})
            for row in annotations(image, rows, complete):
                boxes.append({**row, "id": len(boxes) + 1, "image_id": own["id"]})
        true = sum(not row["iscrowd"] for row in boxes[before[1] :])
        print(f"{given}: {len(images) - before[0]} images, {true} boxes")
    categories = [{"id": number, "name": name} for name, number in IDS.items()]
    content = {"images": images, "annotations": boxes, "categories": categories}
    options.out.write_text(json.dumps(content, separators=(",", ":")))
    print(f"{options.out}: {len(images)} images, {sum(not b['iscrowd'] for b in boxes)} boxes")


if __name__ == "__main__":
    main()
