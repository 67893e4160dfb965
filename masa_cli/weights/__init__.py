"""Published files of weights: what there is, where it lies, how it comes here. No torch."""

from masa_cli.weights.manifest import (
    WeightsFile,
    find_row,
    find_weights,
    load_manifest,
    look_for,
    needed_for,
    verify,
)

__all__ = [
    "WeightsFile",
    "find_row",
    "find_weights",
    "load_manifest",
    "look_for",
    "needed_for",
    "verify",
]
