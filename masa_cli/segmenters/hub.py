"""Masks by models of the Hugging Face hub, through transformers: Segment Anything and its heirs.

Segment Anything, SAM-HQ, SAM 2 and 2.1, EdgeTAM: the image models, without their memory of videos.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from masa_cli.errors import WeightsError, shortened
from masa_cli.models import SharedNetworks
from masa_cli.models.device import choose_placement
from masa_cli.models.features import boxes_in_input
from masa_cli.segmenters import SegmenterRequest
from masa_cli.segmenters.upsampling import MaskWindows, WindowSettings
from masa_cli.structures import FloatArray, Frame, Mask
from masa_cli.weights.manifest import look_for_model

# Whether frames are made square; otherwise they keep their proportions and are padded. By the type
# in the configuration: files of SAM 2 and EdgeTAM are those of their video models.
SQUASHES = {
    "sam": False,
    "sam_hq": False,
    "sam2": True,
    "sam2_video": True,
    "edgetam": True,
    "edgetam_video": True,
}
_CONFIGURATION, _WEIGHTS, _PROCESSING = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
)
_AT_ONCE = {"cpu": 4, "cuda": 64, "mps": 16}  # boxes that are decoded at a time


def request_hub_model(wanted: str, folder: Path | None) -> SegmenterRequest:
    """The request for "hf:MODEL", a name on the hub or a folder.

    Args:
        wanted: as the user wrote it.
        folder: of weights, where the user named one.

    Raises:
        WeightsError: it is not on this machine, or is no model that finds masks for boxes.
    """
    model = wanted.partition(":")[2]
    place = look_for_model(model, folder)
    if place is None:
        raise WeightsError(
            f"the model {model} is not on this machine",
            fix=f"masa weights pull hf:{model}, or give the folder it is in: hf:FOLDER",
        )
    files = [place / name for name in (_CONFIGURATION, _WEIGHTS, _PROCESSING)]
    if missing := [file.name for file in files[:2] if not file.is_file()]:
        raise WeightsError(
            f"{place} lacks {missing[0]}: it is not all of a model of transformers",
            fix="get the whole model again; weights must be in one file of safetensors",
        )
    kind = _configuration(place).get("model_type")
    if kind not in SQUASHES:
        raise WeightsError(
            f'{place} is a model of type "{shortened(str(kind))}", which finds no masks for boxes',
            fix=f"use a model of type {', '.join(SQUASHES)}, such as hf:facebook/sam2.1-hiera-tiny",
        )
    further = tuple(file for file in files if file.is_file() and file.name != _WEIGHTS)
    return SegmenterRequest("hf", files[1], further, written=wanted)


def _configuration(folder: Path) -> dict[str, Any]:
    file = folder / _CONFIGURATION
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}", fix="get the model again") from None
    return found if isinstance(found, dict) else {}


def build_hub_segmenter(request: SegmenterRequest, networks: SharedNetworks) -> HubSegmenter:
    """The segmenter; it shares nothing.

    Raises:
        SettingsError: it cannot work on this machine.
        WeightsError: its weights are not those of its configuration.
    """
    if request.weights is None:
        raise ValueError(f"segmenter {request.name} was requested without its weights")
    folder, placement = (
        request.weights.parent,
        choose_placement(networks.device, networks.precision),
    )
    kind = _configuration(folder)["model_type"]
    model, process = _load(folder)
    encoder = _Encoder(model, *placement)
    own = networks.converted(encoder, f"the encoder of {request}", _nothing, sizes="constants")
    return HubSegmenter(model.to(placement[0]), own, process, squashes=SQUASHES[kind])


def _nothing() -> list[Tensor]:
    """No example is asked for of what is converted for one size."""
    return []


def _load(folder: Path) -> tuple[nn.Module, Any]:
    """The model, which evaluates only, in float32, and what makes its inputs."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING
    from transformers.utils.logging import get_verbosity, set_verbosity

    settings, before = _configuration(folder), get_verbosity()
    # The configuration of a video model is that of its image model and more, of which it warns.
    set_verbosity(logging.ERROR)
    try:
        kind: Any = MODEL_FOR_MASK_GENERATION_MAPPING[CONFIG_MAPPING[settings["model_type"]]]
        own = kind.config_class
        # Transformers 4.57 prints every configuration's difference to the default, and asks the hub
        # for EdgeTAM's, even if nobody sees it.
        quiet: Any = type(own.__name__, (own,), {"to_diff_dict": own.to_dict})
        model, report = kind.from_pretrained(
            folder,
            config=quiet.from_dict(settings),
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        process = _processor(folder, squashes=SQUASHES[settings["model_type"]])
    except Exception as error:  # noqa: BLE001 - whatever a foreign file makes foreign code raise
        reason = shortened(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise _unusable(folder, reason) from None
    finally:
        set_verbosity(before)
    if missing := [name for name in report["missing_keys"] if "shared_embedding" not in name]:
        raise _unusable(folder, f"its weights lack {missing[0]}")
    return model.eval().requires_grad_(False), process


def _processor(folder: Path, *, squashes: bool) -> Any:  # noqa: ANN401 - transformers has no types
    """What makes inputs: as the model's files say, or as its family does it."""
    from transformers import AutoImageProcessor, Sam2ImageProcessorFast, SamImageProcessor

    if not (folder / _PROCESSING).is_file():
        usual: Any = Sam2ImageProcessorFast if squashes else SamImageProcessor
        return usual()
    processors: Any = AutoImageProcessor
    # Of those for Segment Anything, the quick one of transformers 4.57 is wrong in places.
    return processors.from_pretrained(folder, local_files_only=True, use_fast=squashes)


def _unusable(folder: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{folder} cannot be used: {reason}", fix="get the model again, or another one"
    )


class _Encoder(nn.Module):
    """Images in, all the maps that masks are decoded from out, as one list."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self._device, self._dtype = model, device, dtype

    def forward(self, x: Tensor) -> list[Tensor]:
        with torch.autocast(self._device.type, self._dtype, self._dtype != torch.float32):
            found = self.model.get_image_embeddings(x)  # type: ignore[operator]
        flat = [found] if isinstance(found, Tensor) else list(found)
        # SAM-HQ gives a pair, of which the second is a list.
        return [y for each in flat for y in ([each] if isinstance(each, Tensor) else each)]


class HubSegmenter:
    """Finds what boxes are drawn around; the encoder looks at a frame once.

    Args:
        model: of transformers, in float32.
        encoder: the part of it that looks at images, as a runtime computes it.
        process: makes its inputs.
        squashes: whether frames are made square.
        settings: of what becomes of its logits.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers has no types
        encoder: nn.Module,
        process: Any,  # noqa: ANN401
        *,
        squashes: bool,
        settings: WindowSettings | None = None,
    ) -> None:
        self._model, self._encoder, self._process = model, encoder, process
        self._squashes, self._settings = squashes, settings or WindowSettings()
        self._windows: MaskWindows | None = None  # for frames of the size seen last
        self._seen: tuple[int, list[Tensor]] | None = None  # of the frame seen last

    @torch.inference_mode()
    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """See `Segmenter`; boxes are cut off at the edges of the frame."""
        masks: list[Mask | None] = [None] * len(boxes)
        size = frame.image.shape[0], frame.image.shape[1]
        inside = np.clip(boxes, 0, np.array([size[1], size[0]] * 2, np.float32))
        rows = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
        if not len(rows):
            return masks
        maps, unpadded, side = self._look(frame)
        prompts = torch.from_numpy(boxes_in_input(inside[rows], frame.image, unpadded, clips=True))
        at_once = _AT_ONCE.get(maps[0].device.type, 4)
        for start in range(0, len(rows), at_once):
            some = prompts[start : start + at_once].to(maps[0].device)
            logits = self._decode(maps, some).cpu().numpy()
            windows = self._windows_for(logits.shape[-1], side, unpadded, size)
            for row, values in zip(rows[start : start + at_once].tolist(), logits, strict=True):
                masks[row] = windows.mask(values, inside[row])
        return masks

    def _look(self, frame: Frame) -> tuple[list[Tensor], tuple[int, int], int]:
        """The maps, height and width of the part of the input that shows the frame, its side."""
        x = self._process(frame.image, return_tensors="pt")["pixel_values"]
        side = x.shape[-1]
        scale = side / max(frame.image.shape[:2])
        height, width = (
            side if self._squashes else int(length * scale + 0.5)
            for length in frame.image.shape[:2]
        )
        if self._seen is None or self._seen[0] != frame.index:
            device = next(self._model.parameters()).device
            self._seen = frame.index, [y.float() for y in self._encoder(x.to(device))]
        return self._seen[1], (height, width), side

    def _decode(self, maps: list[Tensor], boxes: Tensor) -> Tensor:
        """(N, h, w) logits over the whole input, above 0 where the objects of the boxes are."""
        further: dict[str, Any] = {}
        embeddings: Any = maps
        if self._model.config.model_type == "sam_hq":
            embeddings, further = maps[0], {"intermediate_embeddings": maps[1:]}
        elif len(maps) == 1:
            embeddings = maps[0]
        found = self._model(
            image_embeddings=embeddings, input_boxes=boxes[None], multimask_output=False, **further
        )
        logits: Tensor = found.pred_masks[0, :, 0].float()
        return logits

    def _windows_for(
        self, cells: int, side: int, unpadded: tuple[int, int], size: tuple[int, int]
    ) -> MaskWindows:
        # Where nothing is padded, maps are enlarged to the frame in one step.
        padded, filled = (cells, (cells, cells)) if self._squashes else (side, unpadded)
        if self._windows is None or self._windows.key != (filled, size):
            self._windows = MaskWindows(cells, padded, filled, size, self._settings)
        return self._windows
