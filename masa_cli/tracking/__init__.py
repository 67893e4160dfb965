"""The named ways to associate: each name is a kind of tracker and its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from masa_cli.errors import SettingsError
from masa_cli.settings import with_changes
from masa_cli.structures import Detections, FloatArray, Frame, Image, State, Trace, Tracks
from masa_cli.tracking.camera import CameraMotion
from masa_cli.tracking.hybrid import HybridSettings, HybridTracker
from masa_cli.tracking.masa import PRESETS, Tracker
from masa_cli.tracking.motion import MotionSettings, MotionTracker

MOTION = "motion"
HYBRID = "hybrid"
NAMES = (HYBRID, *PRESETS, MOTION)


class Associator(Protocol):
    """What the pipeline asks of a tracker."""

    @property
    def trace(self) -> Trace | None:
        """What a second look needs of the last frame; None if there can be no second look."""
        ...

    def see(self, image: Image, boxes: FloatArray) -> None:
        """Look at the next frame itself, before its `update`."""
        ...

    def follow(self, motion: CameraMotion, frame_size: tuple[int, int]) -> None:
        """What `see` finds out, known from elsewhere; frame_size is width, height in pixels."""
        ...

    def update(
        self, index: int, time: float, detections: Detections, embeddings: FloatArray
    ) -> Tracks:
        """The boxes of the next frame that carry an identity."""
        ...

    def state(self) -> State:
        """What `restore` needs."""
        ...

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        ...


class NoAppearance:
    """The embedder of those who do not look: embeddings without numbers."""

    temperature = 1.0

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """(N, 0) float32 per frame."""
        return [np.empty((len(rows), 0), np.float32) for rows in boxes]

    def state(self) -> State:
        """Nothing."""
        return {}


def build_tracker(
    name: str, *, changes: Sequence[str] = (), temperature: float = 1.0
) -> Associator:
    """The tracker of that name.

    Args:
        name: a preset of `association`, "hybrid", or "motion" for motion alone.
        changes: "name=value" texts that change single settings.
        temperature: of the adapter's embeddings; hybrid finds its own scale.

    Raises:
        SettingsError: for an unknown name or a change that cannot be made.
    """
    if name == MOTION:
        return MotionTracker(with_changes(MotionSettings(), changes))
    if name == HYBRID:
        return HybridTracker(with_changes(HybridSettings(), changes))
    if name not in PRESETS:
        raise SettingsError(f'unknown association "{name}"', fix=f"use one of: {', '.join(NAMES)}")
    return Tracker(with_changes(PRESETS[name], changes), temperature=temperature)


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
