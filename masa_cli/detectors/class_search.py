"""A prompt for a detector with fixed classes: what its phrases mean, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from masa_cli.detectors.prompt import Prompt
from masa_cli.detectors.vocabulary import Vocabulary
from masa_cli.errors import SettingsError

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
