"""What the user types to say what to look for: phrases, each a class, perhaps with a threshold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from masa_cli.errors import SourceError, UsageError

PROMPT_RULES = "phrases separated by commas, dots or lines: car, person on a bike:0.4"

# A dot before a digit belongs to a number: "car:0.4. dog" has two phrases.
_SEPARATORS = re.compile(r"[,;\n]|\.(?!\d)")
_THRESHOLD = re.compile(r"(?P<words>[^:]*):\s*(?P<number>\S*)")
# What is left of these would end a sentence in the middle of a phrase.
_SENTENCE_ENDS = re.compile(r"[.?\s]+")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to look for.

    Attributes:
        classes: phrases in lower case, single spaces between words, each once, in the order given.
        thresholds: for each class the least score of its boxes; None where the prompt says nothing.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float | None, ...]

    def __str__(self) -> str:
        """The prompt in its cleaned form; what has the same one is the same prompt."""
        return ", ".join(
            phrase if threshold is None else f"{phrase}:{threshold:g}"
            for phrase, threshold in zip(self.classes, self.thresholds, strict=True)
        )

    def least_scores(self, default: float) -> list[float]:
        """The threshold of each class, `default` where the prompt says nothing."""
        return [default if threshold is None else threshold for threshold in self.thresholds]


def parse_prompt(text: str) -> Prompt:
    """The classes of a prompt such as "car, Traffic light:0.4. person".

    Raises:
        UsageError: there is no phrase, a threshold is not within 0 and 1, or a phrase is given two.
    """
    thresholds: dict[str, float | None] = {}
    for part in _SEPARATORS.split(text):
        phrase, threshold = _parse_phrase(part)
        if not phrase:
            continue
        known = thresholds.get(phrase)
        if None not in (known, threshold) and known != threshold:
            raise UsageError(
                f'the prompt gives "{phrase}" two thresholds, {known:g} and {threshold:g}',
                fix="name it once",
            )
        thresholds[phrase] = threshold if known is None else known
    if not thresholds:
        raise UsageError(
            f'the prompt "{text.strip()}" names nothing to look for', fix=f"write {PROMPT_RULES}"
        )
    return Prompt(tuple(thresholds), tuple(thresholds.values()))


def read_prompt(file: Path) -> Prompt:
    """The prompt a text file holds: the same rules, and a new line also begins a new phrase.

    Raises:
        SourceError: the file cannot be read as text.
        UsageError: as `parse_prompt`.
    """
    try:
        return parse_prompt(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise SourceError(
            f"the prompt file {file} cannot be read: {reason}",
            fix=f"give a text file with {PROMPT_RULES}",
        ) from error


def in_passes(lengths: Sequence[int], room: int) -> list[range]:
    """Neighbouring items in as few groups as fit.

    Args:
        lengths: of the items, none above `room`.
        room: how much a group may hold.

    Returns:
        The items of each group, in order.
    """
    passes: list[range] = []
    start, used = 0, 0
    for place, length in enumerate(lengths):
        if used + length > room:
            passes.append(range(start, place))
            start, used = place, 0
        used += length
    return [*passes, range(start, len(lengths))]


def _parse_phrase(part: str) -> tuple[str, float | None]:
    """One phrase, cleaned, and its threshold."""
    threshold = None
    if match := _THRESHOLD.fullmatch(part.strip()):
        part, threshold = match["words"], _parse_threshold(part, match["number"])
    return _SENTENCE_ENDS.sub(" ", part).strip().lower(), threshold


def _parse_threshold(part: str, number: str) -> float:
    try:
        threshold = float(number)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise UsageError(
            f'"{part.strip()}" in the prompt: "{number}" is no score from 0 to 1',
            fix="write a phrase, or a phrase and its threshold: car:0.4",
        )
    return threshold
