"""Settings of associations that go with what finds the boxes, before the user's own.

Detectors differ in how high their scores are; what they need is kept with the boxes of a run, so
that these can be associated anew in any way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

# For associations by their names "name=value" changes.
UsualChanges: TypeAlias = Mapping[str, Sequence[str]]

_FACT = "usual settings"


def as_fact(changes: UsualChanges) -> tuple[str, str]:
    """Name and text under which a run remembers them."""
    return _FACT, json.dumps({name: list(each) for name, each in changes.items()})


def from_facts(facts: Mapping[str, str]) -> UsualChanges:
    """Those that a run remembered, perhaps none; what is no such changes is passed over."""
    try:
        found = json.loads(facts.get(_FACT, "{}"))
    except json.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: tuple(map(str, changes))
        for name, changes in found.items()
        if isinstance(changes, list)
    }
