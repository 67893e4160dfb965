"""`masa doctor`: what this machine is, and what masa could do on it. It always finishes."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masa_cli import __version__
from masa_cli.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from masa_cli.packages import Package
    from masa_cli.readiness import Readiness

Json = Annotated[bool, typer.Option("--json", help="Print as JSON, for machines.")]


def doctor(weights_dir: options.WeightsDir = None, json: Json = False) -> None:
    """Show versions, devices, codecs, weights, and what each command could do here.

    Nothing is downloaded or changed. The exit code is 0 whatever is missing.
    """
    from masa_cli.checkpoints import load_manifest  # noqa: PLC0415 - only to run
    from masa_cli.cli.console import show_json  # noqa: PLC0415
    from masa_cli.packages import examine_packages  # noqa: PLC0415
    from masa_cli.readiness import examine_commands, is_here  # noqa: PLC0415

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
        from masa_cli.models.device import describe_devices  # noqa: PLC0415 - loads torch

        found = describe_devices()
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        return [{"name": "unknown", "what": f"torch does not work: {reason}", "memory": None}]
    return [{"name": d.name, "what": d.what, "memory": d.memory} for d in found]


def _free(weights_dir: Path | None) -> dict[str, int]:
    """Bytes free where results go unless told otherwise, and where weights lie."""
    from masa_cli.checkpoints.disk import free_bytes  # noqa: PLC0415 - only to run
    from masa_cli.checkpoints.places import all_places, folders  # noqa: PLC0415

    try:
        places = all_places(weights_dir)
    except ImportError:  # the hub's client is missing
        places = folders(weights_dir)
    return {str(place): free_bytes(place) for place in (Path.cwd(), *places)}


def _codecs() -> dict[str, bool]:
    """Empty if PyAV does not load; the table of packages says why."""
    try:
        from masa_cli.formats.codecs import available_codecs  # noqa: PLC0415 - loads FFmpeg
    except (ImportError, OSError):
        return {}
    return available_codecs()


def _show(
    facts: dict[str, Any], packages: Sequence[Package], commands: Sequence[Readiness]
) -> None:
    from masa_cli.checkpoints.manifest import readable_size  # noqa: PLC0415 - only to run
    from masa_cli.cli.console import show, show_table  # noqa: PLC0415

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
