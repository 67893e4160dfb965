"""Which detector looks for a prompt where the user does not say: the rule, and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

AUTO, TEXT, CLASSES = "auto", "gdino", "lite"


class Backend(NamedTuple):
    """A detector and why it was taken."""

    name: str
    reason: str


def choose_backend(
    unknown: Sequence[str], *, has_text: bool, has_classes: bool, has_accelerator: bool
) -> Backend:
    """The detector for a prompt.

    Args:
        unknown: phrases of the prompt that the one with fixed classes does not know.
        has_text: whether the weights of the one that reads any words are on this machine.
        has_classes: whether those of the one with fixed classes are.
        has_accelerator: whether there is a GPU.
    """
    if not has_classes:
        return Backend(TEXT, f"there are no weights of {CLASSES}")
    if unknown and has_text:
        return Backend(TEXT, f'{CLASSES} does not know "{unknown[0]}"')
    if has_text and has_accelerator:
        return Backend(TEXT, "its weights and a GPU are here")
    if has_text:
        return Backend(CLASSES, f"it knows all words, and {TEXT} is slow without a GPU")
    return Backend(CLASSES, f"no weights of {TEXT} are here")
