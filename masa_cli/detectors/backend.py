"""Which detector looks for a prompt where the user does not say: the rule, and its reason."""

from __future__ import annotations

from typing import NamedTuple

AUTO, TEXT, CLASSES = "auto", "gdino", "lite"


class Backend(NamedTuple):
    """A detector and why it was taken."""

    name: str
    reason: str


def choose_backend(*, has_text: bool, has_classes: bool) -> Backend:
    """The detector for a prompt: the one that reads any words finds more, but is a gigabyte.

    Args:
        has_text: whether the weights of the one that reads any words are on this machine.
        has_classes: whether those of the one with fixed classes are.
    """
    if has_text:
        return Backend(TEXT, "its weights are here")
    if has_classes:
        return Backend(
            CLASSES, f"no weights of {TEXT} are here, which finds more and knows all words"
        )
    return Backend(TEXT, f"there are no weights of {CLASSES}")
