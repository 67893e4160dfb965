"""The variants of the adapter: one row each, readable without loading torch.

What runs is what the row says; a weights file fills in weights, and what the row allows it to say.
`raw` and the two of `lite` are ours; the others are published with MASA (spec sections 1 and 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from masa_cli.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a frame becomes a network input."""

    long_side: int  # pixels that the longer side is fitted to
    short_side: int  # pixels that the shorter side is fitted to, if that is the tighter limit
    divisor: int  # height and width are padded to a multiple of it, at the right and below
    enlarges: bool = True  # whether frames smaller than that are enlarged
    filter: Literal["linear", "area"] = "linear"
    rounds: bool = False  # whether resized values are whole numbers from 0 to 255 again


@dataclass(frozen=True, slots=True)
class Variant:
    """How one kind of embedding is made."""

    summary: str  # one line for users
    backbone: str  # name in models.backbones.BACKBONES
    channels: tuple[int, ...]  # of the backbone's maps, from fine to coarse
    neck: str  # name in models.adapter.NECKS
    fusion: str  # name in models.adapter.FUSIONS
    head: str  # name in models.adapter.HEADS
    strides: tuple[int, ...]  # pixels per cell of the maps that boxes are described on
    points: (
        int  # RoIAlign reads points x points per cell of its 7x7 grid; 0: one per cell of the map
    )
    clips: bool  # whether the part of a box outside the frame is left out
    preprocessing: Mapping[str, Preprocessing]  # by a name in PREPROCESSINGS
    weights: str | None  # the published file; None: none is published
    packaged: bool = False  # whether its weights come with masa
    measured: frozenset[str] = frozenset()  # what the header of a weights file may fill in beside
    # the weights: names in models.trained_weights.MEASURED
    reads: Literal["fused", "backbone"] = "fused"  # which maps boxes are described on: all levels
    # behind the fusion, or the finest of the backbone
    object_convs: int = 0  # layers of the branch that finds objects of any class (models.objects)
    object_layers: int = 2
    width: int = 256  # channels of the maps behind the neck
    blocks: int = 3  # of the fusion, one after the other
    head_convs: int = 4  # convolutions of the head
    hidden: int = 1024  # numbers between the layers of heads
    unit_length: bool = False  # whether the head "embedding" gives embeddings length 1
    unfrozen: bool = False  # whether training changes the backbone, too
    frozen_blocks: int = 0  # of its first blocks that it does not change even so
    trained: bool = True  # whether it has weights to learn; the backbone's own are not meant
    quick_precision: str = "float32"  # the quickest in which its results are as good
    frames_at_once: int = 1  # that are quicker looked at side by side, on cores of a CPU
    temperature: float = (
        1.0  # dot products of embeddings are divided by it before a softmax; no unit
    )
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # RGB, of values in 0..1, subtracted
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)  # RGB, by which images are divided

    @property
    def is_complete(self) -> bool:
        """Whether it can be used by its name alone: no file of one's own is needed."""
        return self.weights is not None or self.packaged or not self.trained

    @property
    def fixed_side(self) -> int | None:
        """Height and width of every input, where the backbone knows one size only, as ViTs do."""
        demo = self.preprocessing["demo"]
        return demo.long_side if demo.divisor == demo.long_side else None

    def preprocess_as(self, preprocessing: str, side: int | None = None) -> Preprocessing:
        """How frames become network inputs.

        Args:
            preprocessing: one of `PREPROCESSINGS`.
            side: pixels that the longer side is fitted to instead of the default size.

        Raises:
            SettingsError: the backbone knows one size only, and not that.
        """
        default = self.preprocessing[preprocessing]
        if side is None:
            return default
        if self.fixed_side:
            raise SettingsError(
                f"{self.backbone} takes images of {self.fixed_side} pixels only, not of {side}",
                fix="leave out --imgsz",
            )
        return replace(default, long_side=side, short_side=side, enlarges=True)


# What shall be reproduced: the published demo, or the published configurations for TAO and for
# BDD100K. The demo resizes numbers with a fraction, the benchmarks bytes.
PREPROCESSINGS = ("demo", "tao", "bdd")
SAM_SIDE = 1024  # pixels per side of every input: the position embedding of a ViT has one size


@dataclass(frozen=True, slots=True)
class SamVariant:
    """One file with an image encoder, a prompt encoder and a mask decoder."""

    summary: str  # one line for users
    backbone: str  # name in models.backbones.BACKBONES


def _published(
    demo: Preprocessing, tao: Preprocessing, bdd: Preprocessing
) -> Mapping[str, Preprocessing]:
    return MappingProxyType({"demo": demo, "tao": tao, "bdd": bdd})


_SQUARE = Preprocessing(1024, 1024, 32)
_SQUARE_BYTES = Preprocessing(1024, 1024, 32, rounds=True)
_WIDE = Preprocessing(1333, 800, 32)
_WIDE_BYTES = Preprocessing(1333, 800, 32, rounds=True)
# A ViT's position embedding has one size, so every input has it.
_WHOLE = Preprocessing(1024, 1024, 1024)
_WHOLE_BYTES = Preprocessing(1024, 1024, 1024, rounds=True)
# Where things are small, detail counts more than time; 1080p is reduced by a fifth.
_REDUCED = Preprocessing(1536, 1536, 8, enlarges=False, filter="area", rounds=True)
# What two CPU cores take many of per second.
_SMALL = Preprocessing(640, 640, 32, enlarges=False, filter="area", rounds=True)
_LITE = Variant(
    summary="small enough for a CPU, with a detector: MobileNetV2, whitened part-based pooling",
    backbone="mobilenet-v2-pyramid",
    channels=(32, 96, 320),
    neck="fpn-group",
    fusion="deform-coarse",
    head="whitened-part-pooling",
    reads="backbone",  # neck and fusion are for its detector and its masks
    strides=(8, 16, 32),
    points=2,
    clips=True,
    preprocessing=_published(_SMALL, _SMALL, _SMALL),
    weights=None,
    packaged=True,
    measured=frozenset({"classes", "temperature", "association"}),
    width=96,
    blocks=1,
    temperature=1 / 20,  # that of `raw`, whose head it has
    unfrozen=True,
    # Up to stride 8: half of the work of a step, and those maps are what `raw` compares
    # objects by.
    frozen_blocks=7,
    quick_precision="bfloat16",
    frames_at_once=2,
)
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "raw": Variant(
            summary="untrained baseline: what an ImageNet network sees in each box",
            backbone="mobilenet-v2",
            channels=(32,),
            neck="none",
            fusion="none",
            head="part-pooling",
            strides=(8,),
            # A box that fills the frame costs no more than others.
            points=2,
            clips=True,
            preprocessing=_published(_REDUCED, _REDUCED, _REDUCED),
            weights=None,
            trained=False,
            quick_precision="bfloat16",
            frames_at_once=2,
            # Logits of cosine times 20. Less leaves a crowd's softmax flat; from 20 to 50 nothing
            # changes beyond noise (tests/benchmarks/embedding_choice.py).
            temperature=1 / 20,
        ),
        "lite": _LITE,
        "lite-learned": replace(
            _LITE,
            summary="as lite, with a learned embedding head: what masa train run --adapter lite "
            "makes, used by its file",
            head="embedding",
            reads="fused",
            packaged=False,
            measured=frozenset(),
            head_convs=2,
            hidden=512,
            unit_length=True,
            quick_precision="float32",  # of embeddings that users learn nothing else is known
            temperature=0.07,  # as in its training
        ),
        "r50": Variant(
            summary="MASA-R50: a ResNet-50 of its own, the lightest of the published",
            backbone="resnet-50",
            channels=(256, 512, 1024, 2048),
            neck="fpn",
            fusion="deform",
            head="embedding",
            strides=(4, 8, 16, 32),
            points=0,
            clips=False,
            preprocessing=_published(_SQUARE, _SQUARE_BYTES, _SQUARE_BYTES),
            weights="masa_r50.pth",
            object_convs=4,
            object_layers=1,
            unfrozen=True,
        ),
        "gdino": Variant(
            summary="MASA-GroundingDINO: on the features of Grounding-DINO's Swin-B",
            backbone="swin-b-12",
            channels=(256, 512, 1024),
            neck="fpn",
            fusion="deform",
            head="embedding",
            strides=(8, 16, 32),
            points=0,
            clips=False,
            preprocessing=_published(
                _WIDE, _WHOLE_BYTES, Preprocessing(1333, 800, divisor=1024, rounds=True)
            ),
            weights="gdino_masa.pth",
        ),
        "detic": Variant(
            summary="MASA-Detic: on the features of Detic's Swin-B",
            backbone="swin-b-7",
            channels=(256, 512, 1024),
            neck="fpn",
            fusion="deform",
            head="embedding",
            strides=(8, 16, 32),
            points=0,
            clips=False,
            preprocessing=_published(_WIDE, _WIDE_BYTES, _WIDE_BYTES),
            weights="detic_masa.pth",
        ),
        "sam-b": Variant(
            summary="MASA-SAM-B: on the features of Segment Anything's ViT-B",
            backbone="sam-vit-b",
            channels=(768, 768, 768, 768),
            neck="simple-fpn",
            fusion="dyhead",
            head="embedding",
            strides=(4, 8, 16, 32),
            points=0,
            clips=False,
            preprocessing=_published(_WHOLE, _WHOLE_BYTES, _WHOLE_BYTES),
            weights="sam_vitb_masa.pth",
        ),
        "sam-h": Variant(
            summary="MASA-SAM-H: on the features of Segment Anything's ViT-H, the heaviest",
            backbone="sam-vit-h",
            channels=(1280, 1280, 1280, 1280),
            neck="simple-fpn",
            fusion="dyhead",
            head="embedding",
            strides=(4, 8, 16, 32),
            points=0,
            clips=False,
            preprocessing=_published(_WHOLE, _WHOLE_BYTES, _WHOLE_BYTES),
            weights="sam_vith_masa.pth",
        ),
    }
)
SAM_PREPROCESSING = Preprocessing(SAM_SIDE, SAM_SIDE, SAM_SIDE)
# The names are those of the weights in the manifest; those without "vit" are MASA's adapters.
# In the order in which they are searched for: the lightest first.
SAM_VARIANTS: Mapping[str, SamVariant] = MappingProxyType(
    {
        "sam-vit-b": SamVariant("Segment Anything, ViT-B", "sam-vit-b"),
        "sam-b": SamVariant("the ViT-B inside MASA-SAM-B", "sam-vit-b"),
        "sam-vit-l": SamVariant("Segment Anything, ViT-L", "sam-vit-l"),
        "sam-vit-h": SamVariant("Segment Anything, ViT-H", "sam-vit-h"),
        "sam-h": SamVariant("the ViT-H inside MASA-SAM-H", "sam-vit-h"),
    }
)


def find_variant(name: str) -> Variant:
    """The row of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in VARIANTS:
        raise SettingsError(
            f'unknown adapter "{name}"',
            fix=f"use one of: {', '.join(VARIANTS)}; or the file of published weights",
        )
    return VARIANTS[name]
