"""From a line for each image to one file of regions, never all of it in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from masa_cli.errors import SourceError
from masa_cli.formats.part_file import PartFile
from masa_cli.training.preparation.found import OBJECT


@dataclass(frozen=True, slots=True)
class Prepared:
    """What came of it.

    Attributes:
        file: of the regions.
        num_images: with regions.
        num_regions: of all.
        num_empty: images of which nothing is known, or nothing was left.
        num_broken: images, or regions, that could not be read.
    """

    file: Path
    num_images: int
    num_regions: int
    num_empty: int
    num_broken: int


def write_regions(spool: Path, file: Path, images: Path) -> Prepared:
    """Write the file of regions.

    Args:
        spool: a line of JSON for each image, after a first one.
        file: to write; has its name only once it is complete.
        images: folder of the images.

    Raises:
        SourceError: no image has a region.
        OutputError: it cannot be written.
    """
    names: dict[str, int] = {}
    num_images = num_regions = num_empty = num_broken = 0
    for line in _lines(spool):
        num_broken += "error" in line
        num_empty += "error" not in line and not line["regions"]
        num_images += bool(line["regions"])
        num_regions += len(line["regions"])
        for region in line["regions"]:
            names.setdefault(region["name"], len(names) + 1)
    if not num_images:
        raise SourceError(
            f"none of the images in {images} has a region: {num_broken} could not be read, of "
            f"{num_empty} nothing is known, or all regions are too small or too large",
            fix="check that --regions belongs to these images, or give other images or bounds of "
            "areas",
        )
    with PartFile(file) as part:
        head = {"folder": str(images.resolve()), "categories": _categories(names)}
        part.write(orjson.dumps(head)[:-1] + b',"images":[')
        for place, line in enumerate(_with_regions(spool)):
            row = {"id": place + 1, **{k: line[k] for k in ("file_name", "height", "width")}}
            part.write((b",\n" if place else b"\n") + orjson.dumps(row))
        part.write(b'\n],"annotations":[')
        number = 0
        for place, line in enumerate(_with_regions(spool)):
            for region in line["regions"]:
                number += 1
                row = _annotation(region, number, place + 1, names)
                part.write((b",\n" if number > 1 else b"\n") + orjson.dumps(row))
        part.write(b"\n]}\n")
    return Prepared(file, num_images, num_regions, num_empty, num_broken)


def _with_regions(spool: Path) -> Iterator[dict[str, Any]]:
    return (line for line in _lines(spool) if line["regions"])


def _categories(names: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for name, number in (names or {OBJECT: 1}).items()]


def _annotation(
    region: Mapping[str, Any], number: int, image: int, names: Mapping[str, int]
) -> dict[str, Any]:
    row = {
        "id": number,
        "image_id": image,
        "category_id": names[region["name"]],
        "bbox": region["box"],
        "area": region["area"],
        "iscrowd": 0,
    }
    if region["mask"]:
        row["segmentation"] = region["mask"]
    if region["outline"]:
        row["outline"] = [round(value, 2) for corner in region["outline"] for value in corner]
    return row


def _lines(spool: Path) -> Iterator[dict[str, Any]]:
    with spool.open("rb") as file:
        next(file)
        for line in file:
            yield orjson.loads(line)
