"""From phrases to the tokens a text model reads, and which of them belong to which phrase."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from masa_cli.detectors.prompt import in_passes
from masa_cli.errors import UsageError, WeightsError

MAX_TOKENS = 256  # that the detector was trained with
_SPECIAL = ("[CLS]", "[SEP]", "[UNK]", ".")

logger = logging.getLogger(__name__)


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
            (begin, *(token for place in places for token in (*tokens[place], dot)), end),
            tuple(len(tokens[place]) for place in places),
        )
        for places in in_passes([len(ids) + 1 for ids in tokens], room)
    ]


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
    return BertWordPieceTokenizer({word: place for place, word in enumerate(words)})
