"""What to look for and with which network: all that is settled before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from masa_cli.checkpoints import find_weights
from masa_cli.detectors.prompt import Prompt
from masa_cli.detectors.tokens import Caption, to_captions
from masa_cli.errors import SettingsError

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
