"""What to look for and with which network: all that is settled before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from masa_cli.detectors.prompt import Caption, Prompt, Vocabulary, to_captions
from masa_cli.errors import SettingsError
from masa_cli.weights.manifest import find_weights

_VOCABULARY = "bert-vocab"


@dataclass(frozen=True, slots=True)
class TextModel:
    """One kind of Grounding-DINO."""

    summary: str  # one line for users
    backbone: str  # name in models.backbones.BACKBONES
    channels: tuple[int, ...]  # of the backbone's maps, from fine to coarse
    # The last layer takes a side of a box, or its distance to an edge, for so much if it is less;
    # a part of the picture. Where the network comes from decides.
    least_side: float


# The names are those of the weights in the manifest.
TEXT_MODELS: Mapping[str, TextModel] = MappingProxyType(
    {
        "gdino": TextModel(
            summary="Grounding-DINO, Swin-B, as it is inside MASA-GroundingDINO",
            backbone="swin-b-12",
            channels=(256, 512, 1024),
            least_side=1e-5,
        ),
        "gdino-swinb": TextModel(
            summary="Grounding-DINO, Swin-B, as its authors published it",
            backbone="swin-b-12",
            channels=(256, 512, 1024),
            least_side=1e-3,
        ),
        "gdino-swint": TextModel(
            summary="Grounding-DINO, Swin-T: smaller and quicker",
            backbone="swin-t",
            channels=(192, 384, 768),
            least_side=1e-3,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which boxes are given on; `EVERYTHING` is the official code's."""

    min_score: float = 0.1  # boxes below it are left out, where the prompt says nothing else
    max_overlap: float = 0.7  # IoU above which the weaker of two boxes, of any class, is left out

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.max_overlap <= 1):
            raise SettingsError(
                "the least score and the most overlap are within 0 and 1, got "
                f"{self.min_score:g} and {self.max_overlap:g}",
                fix="give --min-score and --max-overlap a number from 0 to 1",
            )


EVERYTHING = Choice(min_score=0.0, max_overlap=1.0)


@dataclass(frozen=True, slots=True)
class TextSearch:
    """A prompt and how it is looked for.

    Attributes:
        prompt: its phrases are the classes.
        captions: its tokens.
        model: name in `TEXT_MODELS`.
        weights: the file of the model's weights.
        vocabulary: the file of the words it knows.
        choice: which boxes are given on.
    """

    prompt: Prompt
    captions: tuple[Caption, ...]
    model: str
    weights: Path
    vocabulary: Path
    choice: Choice

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self.prompt.classes


def plan_search(prompt: Prompt, model: str, choice: Choice, folder: Path | None) -> TextSearch:
    """A search whose files are all there.

    Args:
        prompt: what to look for.
        model: name in `TEXT_MODELS`.
        choice: which boxes are given on.
        folder: of weights, where the user named one.

    Raises:
        SettingsError: there is no such model.
        UsageError: the prompt cannot be read, see `to_captions`.
        WeightsError: a file is missing.
    """
    if model not in TEXT_MODELS:
        raise SettingsError(
            f'unknown detector "{model}"', fix=f"use one of: {', '.join(TEXT_MODELS)}"
        )
    weights = find_weights(model, folder)
    vocabulary = find_weights(_VOCABULARY, folder)
    captions = to_captions(prompt.classes, vocabulary)
    return TextSearch(prompt, tuple(captions), model, weights, vocabulary, choice)


MODEL = "lite"


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """Which boxes are given on."""

    min_score: float = 0.1  # boxes below it are left out, where the prompt says nothing else
    max_overlap: float = 0.5  # IoU above which the weaker of two of one phrase is left out

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.max_overlap <= 1):
            raise SettingsError(
                "the least score and the most overlap are within 0 and 1, got "
                f"{self.min_score:g} and {self.max_overlap:g}",
                fix="give --min-score and --max-overlap a number from 0 to 1",
            )


@dataclass(frozen=True, slots=True)
class ClassSearch:
    """A prompt and the classes that are looked for.

    Attributes:
        prompt: its phrases are the classes of the detections.
        meanings: for each phrase the names of the detector's classes.
        weights: of `lite`, trained to detect.
        choice: which boxes are given on.
    """

    prompt: Prompt
    meanings: tuple[tuple[str, ...], ...]
    weights: Path
    choice: ClassChoice

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self.prompt.classes


def plan_class_search(
    prompt: Prompt, vocabulary: Vocabulary, weights: Path, choice: ClassChoice
) -> ClassSearch:
    """A search for the phrases of a prompt.

    Raises:
        SettingsError: a phrase stands for no class.
    """
    if unknown := vocabulary.unknown(prompt.classes):
        raise SettingsError(
            f"{MODEL} does not know {', '.join(map(_quoted, unknown))}"
            + "".join(_suggestion(vocabulary, phrase) for phrase in unknown),
            fix="use other words, or get a detector that knows any: masa weights pull gdino "
            "bert-vocab",
        )
    meanings = tuple(vocabulary.meaning(phrase) for phrase in prompt.classes)
    return ClassSearch(prompt, meanings, weights, choice)


def _suggestion(vocabulary: Vocabulary, phrase: str) -> str:
    near = vocabulary.nearest(phrase)
    return f"; like {_quoted(phrase)}, it knows {', '.join(near)}" if near else ""


def _quoted(phrase: str) -> str:
    return f'"{phrase}"'


Proposals = Literal["adapter", "grid"]

# The most overlap of two boxes: in MASA's configuration, in Segment Anything's generator.
USUAL_OVERLAP: Mapping[Proposals, float] = MappingProxyType({"adapter": 0.5, "grid": 0.7})


@dataclass(frozen=True, slots=True)
class ObjectChoice:
    """Which objects are given on; by default those of the published configuration (spec 7)."""

    min_score: float = 0.02  # objects up to this score are left out, 0 to 1
    max_overlap: float = USUAL_OVERLAP[
        "adapter"
    ]  # IoU of boxes above which the weaker of two is left out, 0 to 1
    max_objects: int = 50  # of one frame, the best
    min_area: float = 0.0  # smaller boxes are left out, square pixels of the source

    def __post_init__(self) -> None:
        if not (0 <= self.min_score <= 1 and 0 <= self.max_overlap <= 1):
            raise SettingsError(
                "the least score and the most overlap are within 0 and 1, got "
                f"{self.min_score:g} and {self.max_overlap:g}",
                fix="give --min-score and --max-overlap a number from 0 to 1",
            )
        if self.max_objects < 1 or self.min_area < 0:
            raise SettingsError(
                f"expected at least 1 object of at least 0 square pixels, got {self.max_objects} "
                f"and {self.min_area:g}",
                fix="give --max-objects a number from 1, --min-area one from 0",
            )


@dataclass(frozen=True, slots=True)
class Everything:
    """A search for objects of any class.

    Attributes:
        model: the variant of the adapter in which they are found: one with Segment Anything inside,
            or lite.
        weights: its file.
        proposals: "adapter" for boxes of the branch that MASA learned for it, "grid" for masks at
            a grid of points, as Segment Anything's authors do it.
        choice: which objects are given on.
    """

    model: str
    weights: Path
    proposals: Proposals = "adapter"
    choice: ObjectChoice = ObjectChoice()

    @property
    def classes(self) -> tuple[str, ...]:
        """One, for nothing is known of it."""
        return ("object",)
