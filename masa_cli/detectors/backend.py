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
    *, has_text: bool, has_classes: bool, has_accelerator: bool, unknown: Sequence[str]
) -> Backend:
    """The detector for a prompt: the one that reads any words is slow without an accelerator.

    Args:
        has_text: whether the weights of the one that reads any words are on this machine.
        has_classes: whether those of the one with fixed classes are.
        has_accelerator: whether this machine has something faster than its processor.
        unknown: words of the prompt that stand for none of those classes.
    """
    if has_text and has_accelerator:
        return Backend(TEXT, "its weights and an accelerator are here")
    if has_text and unknown:
        return Backend(TEXT, f'{CLASSES} does not know "{unknown[0]}"')
    if has_classes:
        reason = "fast without an accelerator" if has_text else "it needs no download"
        return Backend(CLASSES, reason)
    return Backend(TEXT, f"there are no weights of {CLASSES}")
