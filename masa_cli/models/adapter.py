"""The adapter: frames and boxes in, embeddings that tell objects apart out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from masa_cli.errors import WeightsError
from masa_cli.models.backbones import MobileNet, build_backbone, load_packaged
from masa_cli.models.device import choose_placement, ready
from masa_cli.models.features import FrameFeatures, Pyramid, boxes_in_input
from masa_cli.models.heads import (
    EmbeddingHead,
    PartPooling,
    WhitenedPartPooling,
    box_features,
    box_levels,
)
from masa_cli.models.neck import FPN, CoarseFusion, DeformFusion, DyHead, NoFusion, SimpleFPN
from masa_cli.models.published_weights import load_parts, recognise_file
from masa_cli.models.runtime import one_thread_beside
from masa_cli.models.trained_weights import SUFFIX, variant_in
from masa_cli.models.variants import VARIANTS, Variant, find_variant
from masa_cli.structures import FloatArray, Frame, State
from masa_cli.weights.manifest import find_weights, look_for_packaged


class Head(Protocol):
    """Makes embeddings of what boxes show."""

    dim: int  # numbers per embedding

    def embed(
        self, cells: Tensor, maps: Mapping[int, Tensor], counts: Sequence[int]
    ) -> list[FloatArray]:
        """(N, dim) float32 for each frame.

        Args:
            cells: (sum of N, C, 7, 7) float32, what the boxes of all frames show.
            maps: by level (B, C, H, W), which they were read from.
            counts: N for each frame.
        """
        ...

    def state(self) -> State:
        """What `restore` needs."""
        ...

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        ...


def _group_norm(width: int) -> nn.Module:
    """As good as normalising over images, but each alone: no matter how many share a batch."""
    return nn.GroupNorm(16, width)


_MANY_WEIGHTS = 100_000  # of a head, which then needs all threads

_Part = Callable[[Variant], nn.Module]
NECKS: Mapping[str, _Part] = MappingProxyType(
    {
        "none": lambda row: nn.Identity(),
        "fpn": lambda row: FPN(row.channels, width=row.width),
        "fpn-group": lambda row: FPN(row.channels, _group_norm, row.width),
        "simple-fpn": lambda row: SimpleFPN(row.channels, row.width),
    }
)
FUSIONS: Mapping[str, _Part] = MappingProxyType(
    {
        "none": lambda row: NoFusion(),
        "deform": lambda row: DeformFusion(row.width, row.blocks),
        "deform-coarse": lambda row: CoarseFusion(row.width, row.blocks),
        "dyhead": lambda row: DyHead(row.width, row.blocks),
    }
)
HEADS: Mapping[str, _Part] = MappingProxyType(
    {
        "part-pooling": lambda row: PartPooling(row.channels[0]),
        "whitened-part-pooling": lambda row: WhitenedPartPooling(row.channels[0]),
        "embedding": lambda row: EmbeddingHead(
            row.width, row.head_convs, row.hidden, unit_length=row.unit_length
        ),
    }
)


def build_parts(
    variant: Variant, *wanted: Literal["neck", "fusion", "head"]
) -> dict[str, nn.Module]:
    """The wanted parts, or all three; weights they have are still to be loaded."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "neck": lambda: NECKS[variant.neck](variant),
        "fusion": lambda: FUSIONS[variant.fusion](variant),
        "head": lambda: HEADS[variant.head](variant),
    }
    with torch.device("meta"):
        return {part: kinds[part]() for part in wanted or kinds}


def resolve(adapter: str, folder: Path | None = None) -> tuple[str, Path | None]:
    """The variant an adapter's name or file stands for, and the file of its weights.

    Args:
        adapter: one of `variants.VARIANTS`, or the path of a file of weights, published or trained.
        folder: of weights, where the user named one.

    Raises:
        SettingsError: there is no such adapter.
        WeightsError: its weights are not on this machine, or the file is none of MASA's.
    """
    file = Path(adapter)
    if adapter not in VARIANTS and (file.suffix or len(file.parts) > 1):
        return recognise_file(file), file
    variant = find_variant(adapter)
    if variant.weights or not variant.trained:
        return adapter, find_weights(adapter, folder) if variant.weights else None
    packaged = look_for_packaged(adapter + SUFFIX)
    if packaged is None:
        raise WeightsError(
            f"the weights of {adapter} do not come with this installation",
            fix="masa train run DATA --adapter lite -o RUN; then use --adapter "
            "RUN/best.safetensors",
        )
    return adapter, packaged


def build_features(
    name: str,
    *,
    weights: Path | None = None,
    device: str = "auto",
    precision: str = "float32",
    preprocessing: str = "demo",
    side: int | None = None,
    whole: bool = True,
) -> FrameFeatures:
    """The backbone of the variant of that name, to be shared.

    Arguments are as for `build_adapter`; `side` as for `Variant.preprocess_as`. Unless it is wanted
    whole, a MobileNet ends with its finest map.
    """
    variant = find_variant(name)
    backbone = build_backbone(variant.backbone)
    if weights is not None or not load_packaged(variant.backbone, backbone):
        _load(name, weights, {"backbone": backbone})
    if not whole and isinstance(backbone, MobileNet):
        backbone.cut()
    return FrameFeatures.prepared(
        backbone,
        variant.preprocess_as(preprocessing, side),
        variant.mean,
        variant.std,
        *choose_placement(device, precision),
    )


def build_pyramid(
    name: str,
    features: FrameFeatures,
    *,
    weights: Path | None = None,
    device: str = "auto",
    precision: str = "float32",
) -> Pyramid:
    """Neck and fusion of the variant of that name behind its backbone, to be shared."""
    variant = find_variant(name)
    parts = build_parts(variant, "neck", "fusion")
    _load_learned(name, variant, weights, parts)
    placement = choose_placement(device, precision)
    return Pyramid(features, *(ready(module, *placement) for module in parts.values()))


def build_adapter(
    name: str,
    *,
    weights: Path | None = None,
    device: str = "auto",
    precision: str = "float32",
    preprocessing: str = "demo",
    features: FrameFeatures | None = None,
    pyramid: Pyramid | None = None,
) -> Adapter:
    """The adapter of that name, ready to embed.

    Args:
        name: one of `variants.VARIANTS`.
        weights: the file, published or trained; None for a variant without.
        device: auto, cpu, cuda or mps.
        precision: of the network; float32, bfloat16 or float16. Embeddings are always float32.
        preprocessing: how frames become network inputs, a name in `variants.PREPROCESSINGS`.
        features: the backbone, where a detector shares it; made with the same arguments.
        pyramid: all up to the fused maps, where a detector shares that.

    Raises:
        SettingsError: for an unknown name, or one that cannot work on this machine.
        WeightsError: the file is not that of the variant.
    """
    variant = variant_in(name, weights)
    device_, dtype = choose_placement(device, precision)
    if pyramid is None:
        if features is None:
            features = build_features(
                name,
                weights=weights,
                device=device,
                precision=precision,
                preprocessing=preprocessing,
            )
        pyramid = (
            Pyramid.unfused(features)
            if variant.reads == "backbone"
            else build_pyramid(name, features, weights=weights, device=device, precision=precision)
        )
    parts = build_parts(variant, "head")
    _load_learned(name, variant, weights, parts)
    return Adapter(variant, pyramid, ready(parts["head"], device_, dtype), device_)


def _load_learned(
    name: str, variant: Variant, weights: Path | None, parts: dict[str, nn.Module]
) -> None:
    if variant.trained:
        _load(name, weights, parts)


def _load(name: str, weights: Path | None, parts: dict[str, nn.Module]) -> None:
    if weights is None:
        raise ValueError(f"adapter {name} cannot be built without its weights")
    load_parts(weights, name, parts)


class Adapter:
    """Describes boxes by what the network sees in them.

    Frames must come in order; how they are split into calls changes nothing beyond float noise.

    Args:
        variant: how embeddings are made.
        pyramid: the maps they are made of.
        head: what boxes show on those to embeddings, a `Head`.
        device: where these are.
    """

    def __init__(
        self, variant: Variant, pyramid: Pyramid, head: nn.Module, device: torch.device
    ) -> None:
        self._variant, self._pyramid = variant, pyramid
        self._head, self._device = cast(Head, head), device
        num_weights = sum(weights.numel() for weights in head.parameters())
        self._is_small = num_weights < _MANY_WEIGHTS

    @property
    def temperature(self) -> float:
        """Dot products of embeddings are divided by it before a softmax."""
        return self._variant.temperature

    @property
    def dim(self) -> int:
        """Numbers per embedding."""
        return self._head.dim

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """Embeddings of the boxes of each frame, in order.

        Neighbours of one size share a forward pass; a frame without boxes is skipped.

        Args:
            frames: the next frames of the video, with images wherever there are boxes.
            boxes: (N, 4) xyxy in source pixels for each frame.

        Returns:
            (N, dim) float32 for each frame.
        """
        embeddings = [np.empty((0, self.dim), np.float32)] * len(frames)
        for indices in _of_one_size_with_boxes(frames, boxes):
            network = self._pyramid.features.network
            with one_thread_beside(network) if self._is_small else nullcontext():
                embedded = self._embed([frames[k] for k in indices], [boxes[k] for k in indices])
            for index, rows in zip(indices, embedded, strict=True):
                embeddings[index] = rows
        return embeddings

    def look(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> None:
        """Have the maps ready that `embed` reads; frames may come in any order, to any thread."""
        with one_thread_beside(self._pyramid.features.network), torch.inference_mode():
            for indices in _of_one_size_with_boxes(frames, boxes):
                self._maps([frames[k] for k in indices], [boxes[k] for k in indices])

    def state(self) -> State:
        """What `restore` needs."""
        return self._head.state()

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._head.restore(state)

    @torch.inference_mode()
    def _embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """For frames of one size, each with boxes."""
        maps, strides, rois = self._maps(frames, boxes)
        cells = box_features(maps, strides, rois, self._variant.points)
        return self._head.embed(cells, maps, [len(rows) for rows in boxes])

    def _maps(
        self, frames: Sequence[Frame], boxes: Sequence[FloatArray]
    ) -> tuple[dict[int, Tensor], Sequence[int], list[Tensor]]:
        """Maps by level, strides of all levels, and the boxes in pixels of the network's input."""
        if not frames[0].image.size:
            raise ValueError(f"frame {frames[0].index} has boxes to embed, but no image")
        variant = self._variant
        unpadded = self._pyramid.features.of(frames).unpadded
        rois = [
            torch.from_numpy(boxes_in_input(rows, frame.image, unpadded, clips=variant.clips)).to(
                self._device
            )
            for frame, rows in zip(frames, boxes, strict=True)
        ]
        strides = variant.strides if variant.reads == "fused" else variant.strides[:1]
        levels = set(box_levels(torch.cat(rois), len(strides)).tolist())
        return self._pyramid.of(frames, levels), strides, rois


def _of_one_size_with_boxes(
    frames: Sequence[Frame], boxes: Sequence[FloatArray]
) -> Iterator[list[int]]:
    """Indices of frames that have boxes, neighbours of one size together."""
    with_boxes = [index for index, rows in enumerate(boxes) if len(rows)]
    for _, run in groupby(with_boxes, lambda index: frames[index].image.shape):
        yield list(run)
