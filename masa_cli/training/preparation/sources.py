"""What regions can come from, as data: a name for users, and how it is recognised and opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from masa_cli.checkpoints import find_weights
from masa_cli.errors import SourceError
from masa_cli.training.preparation.coco_regions import CocoRegions, Sa1bRegions
from masa_cli.training.preparation.found import RegionSource
from masa_cli.training.preparation.label_maps import LabelMaps

FORMATS: Mapping[str, Callable[[Path], RegionSource]] = MappingProxyType(
    {
        "coco": CocoRegions,
        "sa1b": Sa1bRegions,
        "label-maps": lambda folder: LabelMaps(folder, ".png"),
        "bsds": lambda folder: LabelMaps(folder, ".mat"),
    }
)
# What the files in a folder end with.
_ENDINGS = MappingProxyType({".mat": "bsds", ".json": "sa1b", ".png": "label-maps"})


def open_regions(path: Path, format: str = "auto") -> RegionSource:
    """What is known of regions at a path.

    Args:
        path: a COCO json file, or a folder with a file for each image.
        format: a name in FORMATS, or auto.

    Raises:
        SourceError: it is missing, or not recognised.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist", fix="check the path for a typo")
    if format == "auto":
        format = "coco" if path.is_file() else _recognised(path)
    if (format == "coco") != path.is_file():
        raise SourceError(
            f"{path} is a {'file' if path.is_file() else 'folder'}, which regions as {format} are "
            "not",
            fix="give a COCO json file, or a folder with a file for each image",
        )
    return FORMATS[format](path)


def plan_source(
    path: Path | None,
    format: str,
    *,
    sam: str,
    points: int,
    weights_dir: Path | None,
    device: str,
) -> tuple[Callable[[], RegionSource], dict[str, str]]:
    """What opens the source of regions, and what these depend on; wrong input is found now.

    Args:
        path: of regions; None: Segment Anything is to find them.
        format: of the path.
        sam: a row of `sam_variants.SAM_VARIANTS`.
        points: per side of the grid it is asked about.
        weights_dir: folder of weights, where the user named one.
        device: where it runs.

    Raises:
        MasaError: as `open_regions`, or weights are missing, or the device is.
    """
    if path is not None:
        source = open_regions(path, format)
        return lambda: source, {"regions": str(path.resolve()), "format": format}
    from masa_cli.models.device import choose_device  # noqa: PLC0415 - imports torch

    choose_device(device)
    weights = find_weights(sam, weights_dir)

    def load() -> RegionSource:
        from masa_cli.training.preparation.everything import EverySegment  # noqa: PLC0415

        return EverySegment(sam, weights, device, points)

    return load, {"sam": sam, "points": str(points)}


def _recognised(folder: Path) -> str:
    for ending, format in _ENDINGS.items():
        if next(folder.rglob(f"*{ending}"), None):
            return format
    raise SourceError(
        f"{folder} holds no files of regions ({', '.join(_ENDINGS)})",
        fix="give a COCO json file, or a folder with a file for each image",
    )
