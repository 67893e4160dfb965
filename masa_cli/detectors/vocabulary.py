"""The words that a detector with fixed classes understands: a table of classes and aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from masa_cli.toml_data import read_toml

_ARTICLES = ("a ", "an ", "the ")
_MOST_SUGGESTED = 3


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
        for form in _forms(phrase):
            if form in self.meanings:
                return self.meanings[form]
        return ()

    def unknown(self, phrases: Sequence[str]) -> list[str]:
        """The phrases that stand for no class."""
        return [phrase for phrase in phrases if not self.meaning(phrase)]

    def nearest(self, phrase: str) -> list[str]:
        """Classes whose names or aliases are spelt most like a phrase; perhaps none."""
        close = get_close_matches(phrase, self.meanings, n=_MOST_SUGGESTED)
        return list(dict.fromkeys(name for word in close for name in self.meanings[word]))


@cache
def load_vocabulary() -> Vocabulary:
    """That of `lite`: COCO's 80 classes."""
    table = read_toml(files("masa_cli") / "detectors" / "vocabulary.toml")
    meanings = {name: tuple(names) for name, names in table["groups"].items()}
    for name, aliases in table["classes"].items():
        meanings |= dict.fromkeys((name, *aliases), (name,))
    return Vocabulary(tuple(table["classes"]), MappingProxyType(meanings))


def _forms(phrase: str) -> list[str]:
    """A phrase as it is, without its article, and in the singular."""
    plain = next((phrase.removeprefix(a) for a in _ARTICLES if phrase.startswith(a)), phrase)
    endings = [plain.removesuffix(end) for end in ("s", "es") if plain.endswith(end)]
    return [phrase, plain, *endings]
