"""From a folder of images to a file of regions, image by image; can be interrupted and resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import orjson
from pycocotools import mask as coco

from masa_cli.errors import Interrupted, OutputError, SourceError
from masa_cli.formats.files import PartFile, make_folder, part_of
from masa_cli.progress import RunProgress
from masa_cli.sources.image_folder import SUFFIXES, read_image
from masa_cli.structures import BoolArray, FloatArray, Image, IntArray
from masa_cli.threads import limited
from masa_cli.training.regions import OBJECT, REGIONS_FILE

logger = logging.getLogger(__name__)
_SPOOL = "images.jsonl"  # one line for each image, until all are done


@dataclass(frozen=True, slots=True, eq=False)
class FoundRegion:
    """One region of an image.

    Attributes:
        box: left, top, width, height, pixels.
        area: pixels.
        mask: COCO's compressed run lengths, where there is more than a box.
        outline: (K, 2) x, y, corners of its convex hull; None: those of the box.
        name: of its class.
    """

    box: tuple[float, float, float, float]
    area: float
    mask: Mapping[str, Any] | None = None
    outline: FloatArray | None = None
    name: str = OBJECT

    @staticmethod
    def of_pixels(pixels: BoolArray, name: str = OBJECT) -> FoundRegion | None:
        """The region of the true pixels, (H, W); None if there are none."""
        packed = coco.encode(np.asfortranarray(pixels, np.uint8))
        area = float(coco.area(packed))
        if not area:
            return None
        left, top, width, height = coco.toBbox(packed).tolist()
        mask = {"size": packed["size"], "counts": packed["counts"].decode()}
        return FoundRegion((left, top, width, height), area, mask, hull_of(pixels), name)

    @staticmethod
    def of_box(
        left: float, top: float, width: float, height: float, name: str = OBJECT
    ) -> FoundRegion:
        """The region that is all of a box."""
        return FoundRegion((left, top, width, height), width * height, name=name)


class RegionSource(Protocol):
    """Knows or finds the regions of images."""

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """Those of an image; None: nothing is known of this one.

        Args:
            name: of the image's file, relative to the folder of images.
            image: (H, W, 3) uint8 RGB.

        Raises:
            SourceError: what is known of it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class RegionFilter:
    """Which regions are kept."""

    min_area: float = 0.0005  # share of the image
    max_area: float = 0.8
    min_side: float = 4.0  # pixels
    max_regions: int = 200  # of an image, the largest

    def kept(self, regions: list[FoundRegion], image: Image) -> list[FoundRegion]:
        """Those of an image that are neither too small nor too large."""
        pixels = image.shape[0] * image.shape[1]
        fitting = [
            region
            for region in regions
            if self.min_area <= region.area / pixels <= self.max_area
            and min(region.box[2:]) >= self.min_side
        ]
        return sorted(fitting, key=lambda region: -region.area)[: self.max_regions]


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


def find_images(folder: Path) -> list[str]:
    """The images in a folder and the folders in it, relative to it, in order.

    Raises:
        SourceError: there are none.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder", fix="give a folder of images")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not names:
        raise SourceError(
            f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})",
            fix="give a folder of images",
        )
    return names


def prepare(
    images: Path,
    output: Path,
    open_source: Callable[[], RegionSource],
    conditions: Mapping[str, Any],
    wanted: RegionFilter,
    progress: RunProgress,
    *,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Prepared:
    """Find or read the regions of all images, and write them into one file.

    Args:
        images: folder of the images, which stay as they are.
        output: folder for the file.
        open_source: gives what knows the regions; called when all is checked.
        conditions: what that depends on, for `resume`.
        wanted: which regions are kept.
        progress: is told of each image, and may ask to stop.
        threads: that a network works with; None: as torch takes by itself.
        resume: go on where an earlier run stopped.
        overwrite: replace an earlier file.

    Raises:
        MasaError: something cannot be read or written at all.
        Interrupted: a stop was asked for.
    """
    names = find_images(images)
    make_folder(output)
    file, spool = output / REGIONS_FILE, output / _SPOOL
    if file.exists() and not overwrite:
        raise OutputError(f"{file} exists", fix="replace it with --overwrite")
    head = {"images": str(images.resolve()), **conditions, "filter": asdict(wanted)}
    done, offset = _done(spool, head) if resume else (0, None)
    source = open_source()
    progress.on_pass("regions", done)
    with limited(threads), closing(PartFile(spool, resume_at=offset)) as writer:
        if offset is None:
            writer.write(orjson.dumps(head) + b"\n")
        for num_done, name in enumerate(names[done:], start=done + 1):
            line = _line(images, name, source, wanted, progress)
            writer.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
            progress.on_frame(num_done, len(line["regions"]))
            if progress.stop_requested and num_done < len(names):
                raise Interrupted(f"{num_done} images are kept in {output}; add --resume to go on")
    prepared = write_regions(part_of(spool), file, images)
    part_of(spool).unlink()
    return prepared


def write_regions(spool: Path, file: Path, images: Path) -> Prepared:
    """Write the file of regions, of which there is never all in memory.

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
        for index, line in enumerate(_with_regions(spool)):
            row = {"id": index + 1, **{k: line[k] for k in ("file_name", "height", "width")}}
            part.write((b",\n" if index else b"\n") + orjson.dumps(row))
        part.write(b'\n],"annotations":[')
        number = 0
        for index, line in enumerate(_with_regions(spool)):
            for region in line["regions"]:
                number += 1
                row = _annotation(region, number, index + 1, names)
                part.write((b",\n" if number > 1 else b"\n") + orjson.dumps(row))
        part.write(b"\n]}\n")
    return Prepared(file, num_images, num_regions, num_empty, num_broken)


def of_labels(labels: IntArray) -> Iterator[FoundRegion]:
    """The regions of a map of labels (H, W): one for each number above 0."""
    for number in np.unique(labels[labels > 0]).tolist():
        region = FoundRegion.of_pixels(labels == number)
        if region is not None:
            yield region


def hull_of(pixels: BoolArray) -> FloatArray:
    """(K, 2) x, y: the convex hull of the true pixels, each a square of side 1."""
    rows, columns = np.nonzero(pixels)
    # Of each row the first and the last pixel are enough.
    tops, first = np.unique(rows, return_index=True)
    last = np.append(first[1:], len(rows)) - 1
    left = np.stack([columns[first], tops], axis=1)
    right = np.stack([columns[last] + 1, tops], axis=1)
    corners = np.concatenate(
        [left, left + np.array([0, 1]), right, right + np.array([0, 1])]
    ).astype(np.float32)
    hull: FloatArray = cv2.convexHull(corners).reshape(-1, 2)  # type: ignore[assignment]
    return hull


def _line(
    images: Path, name: str, source: RegionSource, wanted: RegionFilter, progress: RunProgress
) -> dict[str, Any]:
    """What is to be known of one image."""
    line: dict[str, Any] = {"file_name": name, "height": 0, "width": 0, "regions": []}
    try:
        with progress.stage("read"):
            image = read_image(images / name)
        with progress.stage("find regions"):
            found = source.regions(name, image)
    except SourceError as error:
        logger.warning("passed over: %s", error.problem)
        return line | {"error": error.problem}
    kept = wanted.kept(found or [], image)
    height, width = image.shape[:2]
    return line | {"height": height, "width": width, "regions": [asdict(each) for each in kept]}


def _done(spool: Path, head: Mapping[str, Any]) -> tuple[int, int | None]:
    """How many images an earlier run has done, and how many bytes it wrote of them."""
    part = part_of(spool)
    if not part.exists():
        logger.warning("nothing to resume in %s: starting from the first image", spool.parent)
        return 0, None
    data = part.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]  # a run that was killed leaves half a line
    lines = whole.splitlines()
    if not lines:
        return 0, None
    if orjson.loads(lines[0]) != dict(head):
        raise OutputError(
            f"{part} was begun with other options or images",
            fix="resume with the options it was begun with, or leave out --resume",
        )
    logger.info("resuming after %d images", len(lines) - 1)
    return len(lines) - 1, len(whole)


def _with_regions(spool: Path) -> Iterator[dict[str, Any]]:
    return (line for line in _lines(spool) if line["regions"])


def _lines(spool: Path) -> Iterator[dict[str, Any]]:
    with spool.open("rb") as file:
        next(file)
        for line in file:
            yield orjson.loads(line)


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
