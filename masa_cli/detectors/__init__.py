"""Where boxes come from: the detectors, one row each, and what is asked of them.

Nothing heavy is imported here: choices, help texts and `masa doctor` are made from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from masa_cli.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from masa_cli.detectors.prompt import Prompt
    from masa_cli.models import SharedNetworks
    from masa_cli.structures import Detections, Frame

# Any words; those of a fixed vocabulary; those of its own classes, all of which it finds where
# nothing is said; none, for it is class-agnostic; boxes that are there.
Takes = Literal["words", "vocabulary", "classes", "nothing", "boxes"]
WORDS: tuple[Takes, ...] = ("words", "vocabulary", "classes")
# Where the boxes of a class-agnostic detector come from: its network, or masks at a grid of points.
Proposals = Literal["adapter", "grid"]
DEFAULT_PROPOSALS: Proposals = "adapter"

OWN_WEIGHTS = ""  # as the default adapter: the one in the file of the detector's own weights


class Detector(Protocol):
    """Finds boxes in frames."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One Detections per frame, boxes xyxy in source pixels."""
        ...


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """The post-processing of a detector's boxes: which of them it returns."""

    min_score: float = 0.1  # boxes below it are left out, where the prompt says nothing else
    max_overlap: float = 0.7  # IoU above which the weaker of two boxes is left out
    max_boxes: int = 300  # of one frame, the best
    min_area: float = 0.0  # smaller boxes are left out, square pixels of the source

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.max_overlap <= 1):
            raise SettingsError(
                "the minimum score and the maximum overlap are within 0 and 1, got "
                f"{self.min_score:g} and {self.max_overlap:g}",
                fix="give --min-score and --max-overlap a number from 0 to 1",
            )
        if self.max_boxes < 1 or self.min_area < 0:
            raise SettingsError(
                f"expected at least 1 box of at least 0 square pixels, got {self.max_boxes} "
                f"and {self.min_area:g}",
                fix="give --max-objects a number from 1, --min-area one from 0",
            )


@dataclass(frozen=True, slots=True)
class DetectorRow:
    """All that the house needs to know of a detector.

    Attributes:
        name: as users write it.
        summary: one line for users.
        takes: what it is told to look for.
        build: "module:function" that makes it of a `DetectorRequest` and `SharedNetworks`.
        prepare: "module:function" that completes a request, or raises if the detector cannot do
            it; loads no network. Empty: requests are complete.
        weights: what it is loaded from: a row of the manifest, or with `packaged` the variant
            whose file comes with masa. Empty: it has none.
        packaged: whether its weights come with masa.
        suffix: of the user's files that may be its weights; empty: files are told by what is
            inside.
        prefix: of what names one of its models, as in "hf:MODEL"; empty: there is only one.
        form: how users write it, where that is not its name.
        files: further rows of the manifest that it reads.
        adapter: the default one; `OWN_WEIGHTS`: that in the file of its weights.
        settings: the default post-processing.
        unfiltered: the same for MASA's own presets, where the official code filters otherwise.
        changes: to the default settings of associations that its scores need; a file of weights
            may have its own instead.
        has_masks: whether it finds masks, too.
        proposals: of one that is class-agnostic, where its objects come from.
        needs_accelerator: whether it is slow on a processor.
        automatic: whether "auto" may choose it.
        runtime: what computes it.
        frames_at_once: that threads may look at, and are quicker to, on a CPU.
        packages: that it needs beside those of every network, for `masa doctor`.
    """

    name: str
    summary: str
    takes: tuple[Takes, ...]
    build: str
    prepare: str = ""
    weights: str = ""
    packaged: bool = False
    suffix: str = ""
    prefix: str = ""
    form: str = ""
    files: tuple[str, ...] = ()
    adapter: str = "raw"
    settings: BoxSettings = BoxSettings()
    unfiltered: BoxSettings | None = None
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_masks: bool = False
    proposals: Proposals = DEFAULT_PROPOSALS
    needs_accelerator: bool = False
    automatic: bool = True
    runtime: str = "torch or OpenVINO"
    frames_at_once: int = 1
    packages: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """How users ask for it."""
        return self.form or self.name


def _text_detector(name: str, summary: str, *, automatic: bool = False) -> DetectorRow:
    """A kind of Grounding-DINO."""
    return DetectorRow(
        name,
        summary,
        takes=("words",),
        build="masa_cli.detectors.grounding_dino:build_text_detector",
        prepare="masa_cli.detectors.prompt:with_captions",
        weights=name,
        files=("bert-vocab",),
        adapter="gdino",
        unfiltered=BoxSettings(min_score=0.0, max_overlap=1.0),
        # Its scores are lower than other detectors': its authors take 0.35 for a find.
        changes=MappingProxyType(
            {
                "hybrid": ("birth_score=0.35", "confident_score=0.3"),
                "motion": ("birth_score=0.4", "confident_score=0.3"),
            }
        ),
        needs_accelerator=True,
        automatic=automatic,
        runtime="torch, its backbone OpenVINO",
        packages=("groundingdino-py", "segment-anything", "transformers"),
    )


def _object_detector(name: str, model: str, summary: str, proposals: Proposals) -> DetectorRow:
    """A class-agnostic detector inside one of MASA's files; the settings are those of spec 7."""
    return DetectorRow(
        name,
        summary,
        takes=("nothing",),
        build=f"masa_cli.detectors.class_agnostic:build_{proposals}_detector",
        weights=model,
        adapter=OWN_WEIGHTS,
        # The most overlap: as in MASA's configuration, or in Segment Anything's generator.
        settings=BoxSettings(0.02, 0.5 if proposals == DEFAULT_PROPOSALS else 0.7, max_boxes=50),
        # The scores of objects of any class are lower than those of a detector's: MASA's demo takes
        # 0.1 for the beginning of a track.
        changes=MappingProxyType(
            {"hybrid": ("birth_score=0.1", "confident_score=0.1", "continue_score=0.02")}
        ),
        has_masks=True,
        proposals=proposals,
        needs_accelerator=True,
        packages=("groundingdino-py", "segment-anything", "pycocotools"),
    )


GIVEN = DetectorRow(
    "file",
    "boxes of a file, or of a detector of one's own",
    takes=("boxes",),
    build="masa_cli.detectors.filter:build_given",
    frames_at_once=2,
)
# In the order in which "auto" prefers them.
_ROWS = (
    _text_detector(
        "gdino", "Grounding-DINO, Swin-B, as it is inside MASA-GroundingDINO", automatic=True
    ),
    _text_detector("gdino-swinb", "Grounding-DINO, Swin-B, as its authors published it"),
    _text_detector("gdino-swint", "Grounding-DINO, Swin-T: smaller and quicker"),
    _object_detector("sam-b", "sam-b", "MASA-SAM-B: the branch that finds any object", "adapter"),
    _object_detector("sam-h", "sam-h", "MASA-SAM-H: the branch that finds any object", "adapter"),
    _object_detector("sam-b-grid", "sam-b", "masks at a grid of points, of MASA-SAM-B", "grid"),
    _object_detector("sam-h-grid", "sam-h", "masks at a grid of points, of MASA-SAM-H", "grid"),
    DetectorRow(
        "detic",
        "Detic, Swin-B, inside MASA-Detic: LVIS's 1203 classes, any words with CLIP",
        takes=("words",),
        build="masa_cli.detectors.detic:build_detic",
        prepare="masa_cli.detectors.lvis:with_lvis_words",
        weights="detic",
        adapter="detic",
        # As MASA's configuration for open-vocabulary tracking.
        settings=BoxSettings(min_score=0.02, max_overlap=0.5, max_boxes=50),
        # Its authors show what scores above 0.5, of words of one's own above 0.3.
        changes=MappingProxyType(
            {
                "hybrid": ("birth_score=0.35", "confident_score=0.3", "continue_score=0.1"),
                "motion": ("birth_score=0.4", "confident_score=0.3"),
            }
        ),
        needs_accelerator=True,
        automatic=False,
        packages=("groundingdino-py", "segment-anything", "transformers"),
    ),
    DetectorRow(
        "lite",
        "80 classes or any object, small and quick; comes with masa",
        takes=("vocabulary", "nothing"),
        build="masa_cli.detectors.lite:build_class_detector",
        prepare="masa_cli.detectors.request:with_meanings",
        weights="lite",
        packaged=True,
        suffix=".safetensors",
        adapter=OWN_WEIGHTS,
        settings=BoxSettings(max_overlap=0.5),
        has_masks=True,
        frames_at_once=2,
        packages=("safetensors",),
    ),
    DetectorRow(
        "onnx",
        "a detector exported to ONNX (YOLO, YOLOX, RT-DETR, SSD, ...), computed by OpenVINO",
        takes=("classes",),
        build="masa_cli.detectors.onnx:build_onnx_detector",
        prepare="masa_cli.detectors.onnx_graph:with_graph",
        suffix=".onnx",
        form="FILE.onnx",
        automatic=False,
        runtime="OpenVINO",
        frames_at_once=2,
        packages=("openvino",),
    ),
    DetectorRow(
        "hf",
        "a model of the Hugging Face hub or a folder of one: for words (OWLv2, Grounding-DINO, "
        "OmDet-Turbo, ...) or with classes of its own (D-FINE, RT-DETR, DETR, YOLOS, ...)",
        takes=("classes",),
        build="masa_cli.detectors.hugging_face:build_hub_detector",
        prepare="masa_cli.detectors.hugging_face:with_model",
        prefix="hf:",
        form="hf:MODEL",
        # Those with classes are trained to find each object once.
        settings=BoxSettings(max_overlap=1.0),
        automatic=False,
        runtime="torch",
        packages=("transformers", "safetensors", "timm"),
    ),
    DetectorRow(
        "torchvision",
        "a detector of torchvision, such as torchvision:fasterrcnn_resnet50_fpn_v2; its weights, "
        "or those after an @",
        takes=("classes",),
        build="masa_cli.detectors.torchvision_models:build_torchvision_detector",
        prepare="masa_cli.detectors.torchvision_models:with_weights",
        prefix="torchvision:",
        form="torchvision:NAME",
        settings=BoxSettings(max_overlap=1.0),  # NMS is inside
        automatic=False,
        runtime="torch",
    ),
    DetectorRow(
        "plug-in",
        "a class of yours with classes and detect(frames)",
        takes=("classes",),
        build="masa_cli.detectors.plug_in:build_plug_in",
        prepare="masa_cli.detectors.plug_in:with_plug_in",
        form="package.module:Class",
        # Its boxes are as its author wants them, unless the user says otherwise.
        settings=BoxSettings(min_score=0.0, max_overlap=1.0),
        automatic=False,
        runtime="its own",
    ),
    GIVEN,
)
DETECTORS: Mapping[str, DetectorRow] = MappingProxyType({row.name: row for row in _ROWS})


def detectors_taking(*takes: Takes) -> tuple[DetectorRow, ...]:
    """The rows of those that can be told one of these, in the order of the table."""
    return tuple(row for row in DETECTORS.values() if set(takes) & set(row.takes))


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What the user says of a model that does not tell it itself.

    Attributes:
        names: file with the names of its classes.
        layout: of an ONNX file's outputs, a name in `onnx_layouts.LAYOUTS`; None: as recognised.
    """

    names: Path | None = None
    layout: str | None = None


@dataclass(frozen=True, slots=True)
class DetectorRequest:
    """A detector and what it shall find: all its files are there, and nothing is loaded.

    Attributes:
        row: of the detector.
        classes: names that labels index: the phrases of the prompt, or one for any object.
        settings: the post-processing of the boxes.
        prompt: what to look for; None where it takes no words.
        weights: the file of its weights, if it has any.
        files: all files that are read.
        adapter: the default one, a name or a file.
        changes: to the default settings of associations, before the user's own.
        has_masks: whether its boxes come with masks, or masks are to be found for them.
        queries: the phrases as this detector reads them; or the boxes that are there.
        model: what follows the prefix of the row, where it has one.
        options: what the user says of the model.
        asked: of the settings those that the user gave, by name.
        folder: of weights, where the user named one.
    """

    row: DetectorRow
    classes: tuple[str, ...]
    settings: BoxSettings = BoxSettings()
    prompt: Prompt | None = None
    weights: Path | None = None
    files: tuple[Path, ...] = ()
    adapter: str = "raw"
    changes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_masks: bool = False
    queries: tuple[Any, ...] = ()
    model: str = ""
    options: ModelOptions = ModelOptions()
    asked: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def min_scores(self) -> tuple[float, ...]:
        """For each class the score below which its boxes are left out."""
        least = self.settings.min_score
        if self.prompt:
            return tuple(self.prompt.min_scores(least))
        return (least,) * len(self.classes)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What the boxes depend on beside the files, by name."""
        facts: tuple[tuple[str, str], ...] = (
            ("--detector", f"{self.row.name} {self.model}".strip()),
            ("boxes", str(self.settings)),
        )
        if self.options != ModelOptions():
            facts = (*facts, ("model", str(self.options)))
        return (("--prompt", str(self.prompt)), *facts) if self.prompt else facts

    def build(self, networks: SharedNetworks) -> Detector:
        """The detector, ready to detect.

        Args:
            networks: the backbones and maps that it shares with adapter and segmenter.

        Raises:
            SettingsError: it cannot work on this machine.
            WeightsError: the file is not that of the detector.
        """
        detector: Detector = resolve_name(self.row.build)(self, networks)
        return detector


def given(detector: Detector, *, has_masks: bool = False) -> DetectorRequest:
    """The request for a detector that is there already."""
    return DetectorRequest(GIVEN, detector.classes, has_masks=has_masks, queries=(detector,))
