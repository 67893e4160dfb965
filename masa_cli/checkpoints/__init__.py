"""Published files of weights: what there is, where it lies, how it comes here. No torch."""

from masa_cli.checkpoints.manifest import WeightsFile, find_row, load_manifest, needed_for
from masa_cli.checkpoints.places import find_weights, look_for
from masa_cli.checkpoints.verification import verify

__all__ = [
    "WeightsFile",
    "find_row",
    "find_weights",
    "load_manifest",
    "look_for",
    "needed_for",
    "verify",
]
