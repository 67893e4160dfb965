"""What the user types to say what to look for: phrases, each a class, perhaps with a threshold.

And what detectors read in it: classes of a fixed vocabulary, or the tokens of a text model.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from tokenizers import BertWordPieceTokenizer

from masa_cli.detectors import DetectorRequest
from masa_cli.errors import SourceError, UsageError, WeightsError
from masa_cli.formats.files import encoding_of
from masa_cli.weights.manifest import read_toml

PROMPT_RULES = "phrases separated by commas, dots or lines: car, person on a bike:0.4"

# A dot before a digit belongs to a number: "car:0.4. dog" has two phrases.
_SEPARATORS = re.compile(r"[,;\n]|\.(?!\d)")
_THRESHOLD = re.compile(r"(?P<words>[^:]*):\s*(?P<number>\S*)")
# What is left of these would end a sentence in the middle of a phrase.
_SENTENCE_ENDS = re.compile(r"[.?\s]+")
_ARTICLES = ("a ", "an ", "the ")
_MAX_SUGGESTED = 3

MAX_TOKENS = 256  # that the text model was trained with
_SPECIAL = ("[CLS]", "[SEP]", "[UNK]", ".")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to look for.

    Attributes:
        classes: phrases in lower case, single spaces between words, each once, in the order given.
        thresholds: for each class the minimum score of its boxes; None where
            the prompt says nothing.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float | None, ...]

    def __str__(self) -> str:
        """The prompt in its cleaned form; what has the same one is the same prompt."""
        return ", ".join(
            phrase if threshold is None else f"{phrase}:{threshold:g}"
            for phrase, threshold in zip(self.classes, self.thresholds, strict=True)
        )

    def min_scores(self, default: float) -> list[float]:
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


def nothing_wanted() -> UsageError:
    """The error for a run that nothing says what to track in."""
    return UsageError(
        "nothing says which objects to track",
        fix=f"give boxes with --dets FILE, or name them with --prompt: {PROMPT_RULES}",
    )


def read_prompt(file: Path) -> Prompt:
    """The prompt a text file holds: the same rules, and a new line also begins a new phrase.

    Raises:
        SourceError: the file cannot be read as text.
        UsageError: as `parse_prompt`.
    """
    try:
        return parse_prompt(file.read_text(encoding=encoding_of(file)))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise SourceError(
            f"the prompt file {file} cannot be read: {reason}",
            fix=f"give a text file with {PROMPT_RULES}",
        ) from error


def split_to_fit(lengths: Sequence[int], room: int) -> list[range]:
    """Neighbouring items in as few groups as fit.

    Args:
        lengths: of the items, none above `room`.
        room: how much a group may hold.

    Returns:
        The items of each group, in order.
    """
    passes: list[range] = []
    start, used = 0, 0
    for index, length in enumerate(lengths):
        if used + length > room:
            passes.append(range(start, index))
            start, used = index, 0
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


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words and the classes they stand for.

    Attributes:
        classes: names, in order.
        meanings: of every word that is known, the classes it stands for.
    """

    classes: tuple[str, ...]
    meanings: Mapping[str, tuple[str, ...]]

    def meaning(self, phrase: str) -> tuple[str, ...]:
        """The classes that a phrase in lower case stands for; none, if it is not known."""
        for form in word_forms(phrase):
            if form in self.meanings:
                return self.meanings[form]
        return ()

    def unknown(self, phrases: Sequence[str]) -> list[str]:
        """The phrases that stand for no class."""
        return [phrase for phrase in phrases if not self.meaning(phrase)]

    def nearest(self, phrase: str) -> list[str]:
        """Classes whose names or aliases are spelt most like a phrase; perhaps none."""
        close = get_close_matches(phrase, self.meanings, n=_MAX_SUGGESTED)
        return list(dict.fromkeys(name for word in close for name in self.meanings[word]))

    def suggestion(self, phrase: str) -> str:
        """What to say of a phrase that is not known; empty if nothing is near."""
        near = self.nearest(phrase)
        return f'; like "{phrase}", it knows {", ".join(near)}' if near else ""


@cache
def load_vocabulary() -> Vocabulary:
    """That of `lite`: COCO's 80 classes."""
    table = read_toml(files("masa_cli") / "detectors" / "vocabulary.toml")
    meanings = {name: tuple(names) for name, names in table["groups"].items()}
    for name, aliases in table["classes"].items():
        meanings |= dict.fromkeys((name, *aliases), (name,))
    return Vocabulary(tuple(table["classes"]), MappingProxyType(meanings))


def word_forms(phrase: str) -> list[str]:
    """A phrase as it is, without its article, and in the singular."""
    plain = next((phrase.removeprefix(a) for a in _ARTICLES if phrase.startswith(a)), phrase)
    endings = [plain.removesuffix(end) for end in ("s", "es") if plain.endswith(end)]
    return [phrase, plain, *endings]


@dataclass(frozen=True, slots=True)
class Caption:
    """As much of a prompt as the text model reads at once.

    Attributes:
        ids: of all tokens: [CLS], each phrase with a dot behind it, [SEP].
        lengths: the number of tokens of each phrase, without its dot.
    """

    ids: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def sentences(self) -> list[int]:
        """The number of tokens of each sentence; [CLS] and [SEP] are sentences of their own."""
        return [1, *(length + 1 for length in self.lengths), 1]

    @property
    def spans(self) -> list[slice]:
        """Where the tokens of each phrase are."""
        spans, start = [], 1
        for length in self.lengths:
            spans.append(slice(start, start + length))
            start += length + 1
        return spans


def to_captions(phrases: Sequence[str], vocabulary: Path) -> list[Caption]:
    """The captions that together hold all phrases, in order; as few as possible.

    Args:
        phrases: in lower case, without dots.
        vocabulary: the vocab.txt of bert-base-uncased.

    Raises:
        WeightsError: the vocabulary cannot be read or is of another kind.
        UsageError: a phrase is longer than one caption, or nothing but invisible characters.
    """
    tokenizer = _read_vocabulary(vocabulary)
    begin, end, unknown, dot = (tokenizer.token_to_id(token) for token in _SPECIAL)
    tokens = [tokenizer.encode(phrase, add_special_tokens=False).ids for phrase in phrases]
    room = MAX_TOKENS - 2
    for phrase, ids in zip(phrases, tokens, strict=True):
        if not 0 < len(ids) < room:
            raise UsageError(
                f'"{phrase}" in the prompt is {len(ids)} tokens long, expected 1 to {room - 1}',
                fix="describe what to look for in a few words",
            )
        if unknown in ids:
            logger.warning('the detector does not know all characters of "%s"', phrase)
    return [
        Caption(
            (begin, *(token for index in indices for token in (*tokens[index], dot)), end),
            tuple(len(tokens[index]) for index in indices),
        )
        for indices in split_to_fit([len(ids) + 1 for ids in tokens], room)
    ]


def with_captions(request: DetectorRequest) -> DetectorRequest:
    """The request with the tokens of its phrases, by the vocabulary that is its last file.

    Raises:
        WeightsError, UsageError: see `to_captions`.
    """
    return replace(request, queries=tuple(to_captions(request.classes, request.files[-1])))


def _read_vocabulary(file: Path) -> BertWordPieceTokenizer:
    try:
        words = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise WeightsError(
            f"the vocabulary {file} cannot be read: {reason}",
            fix="give the vocab.txt of bert-base-uncased",
        ) from None
    missing = [token for token in _SPECIAL if token not in words]
    if missing:
        raise WeightsError(
            f"{file} is no vocabulary of bert-base-uncased: it lacks {missing[0]}",
            fix="give the vocab.txt of bert-base-uncased",
        )
    return BertWordPieceTokenizer({word: index for index, word in enumerate(words)})
