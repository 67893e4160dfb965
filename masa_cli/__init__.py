"""masa: match anything in any video, from one command. What is listed here is public."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masa_cli.api import OnlineTracker, TrackedFrame, build_tracker, track
    from masa_cli.errors import MasaError
    from masa_cli.structures import Detections, Frame, Tracks

__version__ = "0.2.0"
__all__ = [
    "Detections",
    "Frame",
    "MasaError",
    "OnlineTracker",
    "TrackedFrame",
    "Tracks",
    "build_tracker",
    "track",
]
# Imported when first asked for: numpy takes longer than `masa --help` may.
_HOMES = {
    "api": ("OnlineTracker", "TrackedFrame", "build_tracker", "track"),
    "errors": ("MasaError",),
    "structures": ("Detections", "Frame", "Tracks"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"masa_cli.{module}"), name)
    raise AttributeError(f"module masa_cli has no attribute {name}")
