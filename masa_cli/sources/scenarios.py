"""Ten ways in which a video is hard to track: rendered, with the truth known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

from masa_cli.errors import SettingsError
from masa_cli.sources.synthetic import SyntheticSettings, SyntheticVideo

# Each differs from the first in one difficulty.
SCENARIOS: Mapping[str, SyntheticSettings] = MappingProxyType(
    {
        "crossings": SyntheticSettings(),
        # All of one shape, colour and pattern, and nearly of one size.
        "look-alikes": SyntheticSettings(num_appearances=1, depth=0.2, num_frames=200),
        # Behind a wall for 1 to 3 s, in the middle of the frame.
        "long-occlusions": SyntheticSettings(wall_width=0.38, pace=0.5, num_frames=300),
        "re-entry": SyntheticSettings(
            pace=0.5, stay_every=0, min_absence=3.0, max_absence=5.8, num_frames=400
        ),
        "low-frame-rate": SyntheticSettings(frame_rate=Fraction(5), num_frames=75),
        "camera-motion": SyntheticSettings(pan=0.3, zoom=0.15, shake=2.0, num_frames=200),
        "crowding": SyntheticSettings(num_objects=22, size=1.2, num_frames=200),
        "noise-and-misses": SyntheticSettings(
            jitter=0.06, miss_rate=0.15, false_positives=4.0, max_false_score=0.75, num_frames=200
        ),
        # Where one leaves, another enters within 0.3 s.
        "edge-births": SyntheticSettings(num_objects=8, relay=True, stay_every=0, num_frames=300),
        "cut": SyntheticSettings(num_shots=2, num_frames=200),
    }
)


def scenario(name: str, seed: int) -> SyntheticVideo:
    """The video of that family; another seed gives others of its kind.

    Raises:
        SettingsError: there is no such family.
    """
    if name not in SCENARIOS:
        raise SettingsError(f'unknown scenario "{name}"', fix=f"use one of: {', '.join(SCENARIOS)}")
    return SyntheticVideo(replace(SCENARIOS[name], seed=seed))
