"""Where regions of images come from: COCO json, SA-1B, label maps, BSDS, or Segment Anything.

FORMATS has a row for each kind of files: the name for users, and what opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import imageio.v3 as imageio
import numpy as np
import orjson
import torch
from pycocotools import mask as coco
from scipy.io import loadmat
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor, nn

from masa_cli.errors import SourceError
from masa_cli.masks import first_bad
from masa_cli.models.device import choose_device
from masa_cli.models.sam import build_sam_features, build_sam_masks
from masa_cli.models.variants import SAM_SIDE
from masa_cli.structures import FloatArray, Image, IntArray
from masa_cli.training.prepare import FoundRegion, RegionSource, hull_of, of_labels
from masa_cli.training.regions import OBJECT
from masa_cli.weights.manifest import find_weights

_FIX = "give COCO json with images and annotations, or a folder of SA-1B's json files"
# What the files in a folder end with.
_ENDINGS = MappingProxyType({".mat": "bsds", ".json": "sa1b", ".png": "label-maps"})


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
        sam: a row of `variants.SAM_VARIANTS`.
        points: per side of the grid it is asked about.
        weights_dir: folder of weights, where the user named one.
        device: where it runs.

    Raises:
        MasaError: as `open_regions`, or weights are missing, or the device is.
    """
    if path is not None:
        source = open_regions(path, format)
        return lambda: source, {"regions": str(path.resolve()), "format": format}
    choose_device(device)
    weights = find_weights(sam, weights_dir)

    def load() -> RegionSource:
        return SamRegions(sam, weights, device, points)

    return load, {"sam": sam, "points": str(points)}


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


class CocoRegions:
    """Annotations of many images, with masks or boxes.

    Args:
        file: COCO json.

    Raises:
        SourceError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        content = read_json(file)
        try:
            self._names = {
                int(row["id"]): str(row["name"]) for row in content.get("categories", [])
            }
            id_of = {row["id"]: str(row["file_name"]) for row in content["images"]}
            self._rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in id_of.values()}
            for row in content["annotations"]:
                if not row.get("iscrowd") and not row.get("ignore"):
                    self._rows[id_of[row["image_id"]]].append(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise SourceError(f"{file} is not COCO json ({what})", fix=_FIX) from None
        self._by_stem = {Path(name).name: rows for name, rows in self._rows.items()}

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """See `RegionSource`."""
        rows = self._rows.get(name, self._by_stem.get(Path(name).name))
        return None if rows is None else regions_of(rows, image, self._names, self._file)


class Sa1bRegions:
    """SA-1B's json files in a folder, named like the images.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._by_stem = {file.stem: file for file in sorted(folder.rglob("*.json"))}

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """See `RegionSource`."""
        file = self._by_stem.get(Path(name).stem)
        if file is None:
            return None
        content = read_json(file)
        rows = content.get("annotations") if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise SourceError(f'{file} has no list of "annotations"', fix=_FIX)
        return regions_of(rows, image, {}, file)


class LabelMaps:
    """Maps of labels in a folder, named like the images.

    Args:
        folder: of the maps, with the folders of the images inside, or flat.
        suffix: .png or .mat.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self._read = _READERS[suffix]
        files = sorted(folder.rglob(f"*{suffix}"))
        self._by_name = {
            file.relative_to(folder).with_suffix("").as_posix(): file for file in files
        }
        self._by_stem = {file.stem: file for file in files}

    def regions(self, name: str, image: Image) -> list[FoundRegion] | None:
        """See `RegionSource`."""
        path = Path(name).with_suffix("")
        file = self._by_name.get(path.as_posix()) or self._by_stem.get(path.name)
        if file is None:
            return None
        try:
            labels = self._read(file)
        except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError) as error:
            raise SourceError(
                f"{file} cannot be read as a map of labels: {error}", fix="export it again"
            ) from error
        if labels.shape != image.shape[:2]:
            raise SourceError(
                f"{file} is {labels.shape[1]} x {labels.shape[0]} pixels, its image "
                f"{image.shape[1]} x {image.shape[0]}",
                fix="export it at the size of the image",
            )
        return list(of_labels(labels))


class SamRegions:
    """Segment Anything's automatic masks, by its own generator.

    Args:
        name: a row of `variants.SAM_VARIANTS`.
        weights: its file.
        device: auto, cpu, cuda or mps.
        points: of the grid, per side; all are asked about 64 at a time.
    """

    def __init__(self, name: str, weights: Path, device: str, points: int) -> None:
        features = build_sam_features(name, weights=weights, device=device)
        where = next(features.network.parameters()).device
        masks = build_sam_masks(name, weights, where)
        sam = Sam(_Encoder(features.network), masks.prompt_encoder, masks.mask_decoder).to(where)
        # Specks and holes of less than a few pixels are artefacts of enlarging small maps.
        self._generator = SamAutomaticMaskGenerator(
            sam.eval(), points_per_side=points, min_mask_region_area=25
        )

    @torch.inference_mode()
    def regions(self, name: str, image: Image) -> list[FoundRegion]:
        """See `RegionSource`."""
        found = (
            FoundRegion.of_pixels(np.asarray(each["segmentation"], np.bool_))
            for each in self._generator.generate(image)
        )
        return [region for region in found if region is not None]


class _Encoder(nn.Module):
    """The image encoder as segment-anything expects it."""

    img_size = SAM_SIDE

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 1024, 1024) to (B, 256, 64, 64)."""
        y: Tensor = self._network.neck(self._network(x)[-1])  # type: ignore[operator] # a module
        return y


def read_json(file: Path) -> Any:  # noqa: ANN401 - JSON
    """What a file holds.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return orjson.loads(file.read_bytes())
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}", fix=_FIX) from None
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{file} is not JSON: {error}", fix=_FIX) from None


def regions_of(
    rows: Sequence[Mapping[str, Any]], image: Image, names: Mapping[int, str], file: Path
) -> list[FoundRegion]:
    """The regions that annotations of one image stand for; `file` is named in errors."""
    found = []
    for row in rows:
        try:
            region = _region_of(row, image.shape[:2], names)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            raise SourceError(
                f"{file}: annotation {row.get('id')} is no region ({what})", fix=_FIX
            ) from None
        if region is not None:
            found.append(region)
    return found


def _region_of(
    row: Mapping[str, Any], size: tuple[int, ...], names: Mapping[int, str]
) -> FoundRegion | None:
    name = names.get(int(row.get("category_id", 0)), OBJECT)
    left, top, width, height = map(float, row["bbox"])
    if not np.isfinite([left, top, width, height]).all() or width < 1 or height < 1:
        return None
    shape = row.get("segmentation")
    if not shape:
        return FoundRegion.of_box(left, top, width, height, name)
    packed = _packed(shape, size)
    area = float(coco.area(packed))
    if not area:
        return None
    # SA-1B's boxes are kept as they are, as MASA does.
    mask = {"size": list(size[:2]), "counts": packed["counts"].decode()}
    return FoundRegion((left, top, width, height), area, mask, _outline(shape, packed), name)


def _packed(shape: Any, size: tuple[int, ...]) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Compressed run lengths of polygons, of run lengths, or of compressed ones."""
    height, width = size[:2]
    packed: dict[str, Any]
    if isinstance(shape, list):
        packed = coco.merge(coco.frPyObjects(shape, height, width))
        return packed
    if list(shape["size"]) != [height, width]:
        raise ValueError(f"a mask of {shape['size']} for an image of {[height, width]}")
    if isinstance(shape["counts"], list):
        packed = coco.frPyObjects(shape, height, width)
        return packed
    if bad := first_bad([shape["counts"]], np.array([height * width])):
        raise ValueError(f"its mask is {bad[1]}")
    return {"size": [height, width], "counts": shape["counts"].encode()}


def _outline(shape: Any, packed: dict[str, Any]) -> FloatArray:  # noqa: ANN401 - JSON
    if not isinstance(shape, list):
        return hull_of(coco.decode(packed).astype(np.bool_))
    corners = np.concatenate([np.array(ring, np.float32).reshape(-1, 2) for ring in shape])
    hull: FloatArray = cv2.convexHull(corners).reshape(-1, 2)  # type: ignore[assignment]
    return hull


def _read_png(file: Path) -> IntArray:
    """A map whose numbers, or colours, are labels."""
    values = np.asarray(imageio.imread(file, plugin="pillow")).astype(np.int64)
    if values.ndim == 3:  # labels as colours, as segment-everything tools write them
        values = values[..., :3] @ np.array([1, 256, 65536])
    return values


def _read_bsds(file: Path) -> IntArray:
    """Of several people's segmentations the one with the median number of regions.

    All together would name one object twice.
    """
    maps = [entry["Segmentation"][0, 0] for entry in loadmat(file)["groundTruth"].ravel()]
    order = np.argsort([len(np.unique(each)) for each in maps], kind="stable")
    chosen: IntArray = maps[order[len(order) // 2]].astype(np.int64)
    return chosen


def _recognised(folder: Path) -> str:
    for ending, format in _ENDINGS.items():
        if next(folder.rglob(f"*{ending}"), None):
            return format
    raise SourceError(
        f"{folder} holds no files of regions ({', '.join(_ENDINGS)})",
        fix="give a COCO json file, or a folder with a file for each image",
    )


_READERS: Mapping[str, Callable[[Path], IntArray]] = MappingProxyType(
    {".png": _read_png, ".mat": _read_bsds}
)
FORMATS: Mapping[str, Callable[[Path], RegionSource]] = MappingProxyType(
    {
        "coco": CocoRegions,
        "sa1b": Sa1bRegions,
        "label-maps": lambda folder: LabelMaps(folder, ".png"),
        "bsds": lambda folder: LabelMaps(folder, ".mat"),
    }
)
