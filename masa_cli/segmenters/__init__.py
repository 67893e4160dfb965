"""Where masks come from: the segmenters, one row each, how one is chosen, and what is asked of it.

Nothing heavy is imported here: choices, help texts and `masa doctor` are made from the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models.variants import SAM_VARIANTS
from masa_cli.weights.manifest import find_row, find_weights, look_for, look_for_packaged

if TYPE_CHECKING:
    from masa_cli.models import SharedNetworks
    from masa_cli.structures import FloatArray, Frame, Mask, Tracks

AUTO = "auto"
_PACKAGED_SUFFIX = ".safetensors"

logger = logging.getLogger(__name__)


class Segmenter(Protocol):
    """Finds the pixels of the objects that boxes are drawn around."""

    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """For each of (N, 4) boxes xyxy in source pixels its mask; None where it finds none."""
        ...


@dataclass(frozen=True, slots=True)
class SegmenterRow:
    """All that the house needs to know of a segmenter.

    Attributes:
        name: as users write it; of one with weights, also that of the variant in its file.
        summary: one line for users.
        build: "module:function" that makes it of a `SegmenterRequest` and `SharedNetworks`.
        has_weights: whether it is loaded from a file: of the manifest, by its name, unless that
            comes with masa.
        packaged: whether its weights come with masa.
        form: how users write it, where that is not its name; its request is made of that.
        request: "module:function" that makes the request of what they wrote and the folder of
            weights that they named.
        part: of a file of weights that it is in; files without that part are not its own.
        packages: that it needs beside those of every network, for `masa doctor`.
    """

    name: str
    summary: str
    build: str
    has_weights: bool = False
    packaged: bool = False
    form: str = ""
    request: str = ""
    part: str = ""
    packages: tuple[str, ...] = ("pycocotools",)

    @property
    def written(self) -> str:
        """How users ask for it."""
        return self.form or self.name


_NETWORKS = "masa_cli.segmenters.networks"
# In the order in which "auto" prefers them: those of Segment Anything, the lightest first; then
# what comes with masa; then what needs no weights at all.
_ROWS = (
    *(
        SegmenterRow(
            name,
            row.summary,
            build=f"{_NETWORKS}:build_sam_segmenter",
            has_weights=True,
            packages=("groundingdino-py", "segment-anything", "pycocotools"),
        )
        for name, row in SAM_VARIANTS.items()
    ),
    SegmenterRow(
        "lite",
        "a small network on the maps of lite; comes with masa",
        build="masa_cli.segmenters.lite:build_learned_segmenter",
        has_weights=True,
        packaged=True,
        part="masks",
        packages=("safetensors", "pycocotools"),
    ),
    # After `lite`: without its detector or adapter, its backbone would run for the masks alone.
    SegmenterRow(
        "detic",
        "Detic's own mask head, inside MASA-Detic",
        build=f"{_NETWORKS}:build_detic_segmenter",
        has_weights=True,
        packages=("groundingdino-py", "segment-anything", "pycocotools"),
    ),
    SegmenterRow(
        "hf",
        "Segment Anything 1, HQ, 2 or 2.1, or EdgeTAM: a model of the Hugging Face hub or a folder",
        build="masa_cli.segmenters.hub:build_hub_segmenter",
        form="hf:MODEL",
        request="masa_cli.segmenters.hub:request_hub_model",
        packages=("transformers", "timm", "pycocotools"),
    ),
    SegmenterRow(
        "onnx",
        "Segment Anything (its small kinds, too) or SAM 2, exported to ONNX, computed by OpenVINO",
        build="masa_cli.segmenters.exported:build_exported_segmenter",
        form="ENCODER.onnx,DECODER.onnx",
        request="masa_cli.segmenters.exported:request_exported",
        packages=("openvino", "pycocotools"),
    ),
    SegmenterRow(
        "grabcut",
        "OpenCV's GrabCut, by colours alone; no weights",
        build="masa_cli.segmenters.grabcut:build_grabcut",
    ),
)
SEGMENTERS: Mapping[str, SegmenterRow] = MappingProxyType({row.name: row for row in _ROWS})


@dataclass(frozen=True, slots=True)
class SegmenterRequest:
    """A segmenter whose file is there.

    Attributes:
        name: of its row.
        weights: its file, if it has one.
        further: files that it reads, too.
        written: how the user asked for it, where that says more than its name.
    """

    name: str
    weights: Path | None = None
    further: tuple[Path, ...] = ()
    written: str = ""

    @property
    def file(self) -> Path:
        """Its weights, of which there must be some."""
        if self.weights is None:
            raise ValueError(f"segmenter {self.name} was requested without its weights")
        return self.weights

    def __str__(self) -> str:
        if self.written:
            return self.written
        row = SEGMENTERS[self.name]
        return f"{row.summary} ({self.weights})" if self.weights and not row.packaged else row.name

    def build(self, networks: SharedNetworks) -> Segmenter:
        """The segmenter, on the backbones and maps that others may share.

        Raises:
            SettingsError: it cannot work on this machine.
            WeightsError: the file is not that of the segmenter.
        """
        segmenter: Segmenter = resolve_name(SEGMENTERS[self.name].build)(self, networks)
        return segmenter


def request_segmenter(
    wanted: str = AUTO,
    *,
    folder: Path | None = None,
    adapter: str = "",
    weights: Path | None = None,
) -> SegmenterRequest:
    """The request for the segmenter of that name.

    Args:
        wanted: "auto", the name of a row, or the path of a file with a segmenter inside.
        folder: of weights, where the user named one.
        adapter: the variant that makes the embeddings, or finds the boxes; what its file has for
            masks is preferred, for then one network looks at the frame for both.
        weights: of that variant.

    Raises:
        SettingsError: there is no such segmenter.
        WeightsError: its weights are not on this machine, or the file is another one.
    """
    own = segmenter_in(adapter, weights)
    if wanted == AUTO:
        request = _best(own, folder)
        logger.info("masks by %s", request)
        return request
    if formed := [row for row in SEGMENTERS.values() if _is_of_form(wanted, row)]:
        made: SegmenterRequest = resolve_name(formed[0].request)(wanted, folder)
        return made
    row = SEGMENTERS.get(wanted)
    if row is None or row.form:
        return _of_file(wanted)
    if not row.packaged:
        return SegmenterRequest(wanted, find_weights(wanted, folder) if row.has_weights else None)
    found = own if own and own.name == wanted else _packaged(row)
    if found is None:
        raise WeightsError(
            f"the masks of {wanted} are not in this installation",
            fix=f"install masa again, or use --segmenter {without_weights().name}",
        )
    return found


def segmenter_in(variant: str, file: Path | None) -> SegmenterRequest | None:
    """What finds masks in a file of weights of that variant; None if nothing does."""
    row = SEGMENTERS.get(variant)
    if row is None or file is None or not row.has_weights:
        return None
    return SegmenterRequest(variant, file) if _has_part(row, file) else None


def without_weights() -> SegmenterRequest:
    """The one that is always there."""
    return next(
        SegmenterRequest(row.name)
        for row in SEGMENTERS.values()
        if not (row.has_weights or row.form)
    )


def _is_of_form(wanted: str, row: SegmenterRow) -> bool:
    """Whether that is written as the row is: the same prefix, or the same endings."""
    if ":" in row.form:
        return wanted.startswith(row.form.partition(":")[0] + ":")
    return bool(row.form) and all(
        Path(file.strip()).suffix == Path(row.form).suffix for file in wanted.split(",")
    )


def _has_part(row: SegmenterRow, file: Path) -> bool:
    if not row.part:
        return True
    from masa_cli.models.trained_weights import describe_trained, has_part

    return describe_trained(file).variant == row.name and has_part(file, row.part)


def _packaged(row: SegmenterRow) -> SegmenterRequest | None:
    return segmenter_in(row.name, look_for_packaged(row.name + _PACKAGED_SUFFIX))


def _best(own: SegmenterRequest | None, folder: Path | None) -> SegmenterRequest:
    """The first of the table that is here; the adapter's own comes before all that need a file."""
    if own and not SEGMENTERS[own.name].packaged:
        return own
    for row in SEGMENTERS.values():
        if own and row.name == own.name:
            return own
        if row.form:
            continue
        if row.packaged:
            if found := _packaged(row):
                return found
        elif not row.has_weights:
            return SegmenterRequest(row.name)
        elif file := look_for(find_row(row.name), folder):
            return SegmenterRequest(row.name, file)
    return without_weights()


def _of_file(wanted: str) -> SegmenterRequest:
    file = Path(wanted)
    if not file.suffix and len(file.parts) == 1:
        names = ", ".join((AUTO, *(row.written for row in SEGMENTERS.values())))
        raise SettingsError(
            f'unknown segmenter "{wanted}"',
            fix=f"use one of: {names}; or a file with one of these inside",
        )
    from masa_cli.models.published_weights import recognise_file

    name = recognise_file(file)
    if found := segmenter_in(name, file):
        return found
    if name in SEGMENTERS:
        raise SettingsError(
            f"{file} was not trained to segment objects", fix="add masks with weights/masks.py"
        )
    raise SettingsError(
        f"{file} holds the weights of {name}, in which there is no segmenter",
        fix=f"give a file of one of: {', '.join(SEGMENTERS)}",
    )


class TrackSegmenter:
    """Gives masks to the tracks of a frame, where they have none yet.

    Args:
        segmenter: finds masks; None where detections bring their own.
        fits_boxes: whether boxes are fitted to the masks.
    """

    def __init__(self, segmenter: Segmenter | None, *, fits_boxes: bool = False) -> None:
        self._segmenter, self._fits_boxes = segmenter, fits_boxes

    def segment(self, frame: Frame, tracks: Tracks) -> Tracks:
        """The same tracks with masks."""
        (rows,) = (~tracks.has_mask).nonzero()
        if self._segmenter and len(rows):
            masks = tracks.masks.copy()
            masks[rows] = self._segmenter.segment(frame, tracks.boxes[rows])
            tracks = replace(tracks, masks=masks)
        if not self._fits_boxes:
            return tracks
        from masa_cli.masks import fit_boxes  # loads numpy, which the rows do not need

        return fit_boxes(tracks)
