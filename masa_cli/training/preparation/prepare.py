"""From a folder of images to a file of regions, image by image; can be interrupted and resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from masa_cli.errors import Interrupted, OutputError, SourceError
from masa_cli.formats.part_file import PartFile, part_of
from masa_cli.formats.regions import REGIONS_FILE
from masa_cli.results import make_folder
from masa_cli.sources.image_folder import SUFFIXES, read_image
from masa_cli.structures import Image
from masa_cli.training.preparation.found import FoundRegion, RegionSource
from masa_cli.training.preparation.regions_writer import Prepared, write_regions
from masa_cli.watch import Watch

logger = logging.getLogger(__name__)
_SPOOL = "images.jsonl"  # one line for each image, until all are done


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
    watch: Watch,
    *,
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
        watch: is told of each image, and may ask to stop.
        resume: go on where an earlier run stopped.
        overwrite: replace an earlier file.

    Raises:
        MasaError: something cannot be read or written at all.
        Interrupted: the watch asked to stop.
    """
    names = find_images(images)
    make_folder(output)
    file, spool = output / REGIONS_FILE, output / _SPOOL
    if file.exists() and not overwrite:
        raise OutputError(f"{file} exists", fix="replace it with --overwrite")
    head = {"images": str(images.resolve()), **conditions, "filter": asdict(wanted)}
    done, offset = _done(spool, head) if resume else (0, None)
    source = open_source()
    watch.on_pass("regions", done)
    with closing(PartFile(spool, resume_at=offset)) as writer:
        if offset is None:
            writer.write(orjson.dumps(head) + b"\n")
        for place, name in enumerate(names[done:], start=done + 1):
            line = _line(images, name, source, wanted, watch)
            writer.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
            watch.on_frame(place, len(line["regions"]))
            if watch.stop_requested and place < len(names):
                raise Interrupted(f"{place} images are kept in {output}; add --resume to go on")
    prepared = write_regions(part_of(spool), file, images)
    part_of(spool).unlink()
    return prepared


def _line(
    images: Path, name: str, source: RegionSource, wanted: RegionFilter, watch: Watch
) -> dict[str, Any]:
    """What is to be known of one image."""
    line: dict[str, Any] = {"file_name": name, "height": 0, "width": 0, "regions": []}
    try:
        with watch.stage("read"):
            image = read_image(images / name)
        with watch.stage("find regions"):
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
