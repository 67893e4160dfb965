"""The packages masa stands on: which versions it wants, which are installed, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module, metadata

from packaging.requirements import Requirement

# Packages with compiled parts that can be installed and yet not load, and what is imported.
_COMPILED = {"torch": "torch", "torchvision": "torchvision", "opencv-python": "cv2", "av": "av"}

_EXTRAS = ("eval", "parquet", "ray", "dev")


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
