"""Room for files, and the folders they go into."""

from __future__ import annotations

import shutil
from pathlib import Path

from masa_cli.errors import WeightsError

_SPARE = 64 << 20  # bytes left free on the disk


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of a folder, which need not exist yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise WeightsError unless the disk of `folder` has room for so many bytes more."""
    free, needed = free_bytes(folder), num_bytes + _SPARE
    if free < needed:
        raise WeightsError(
            f"{folder} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed",
            fix="make room, or name a folder on another disk with --weights-dir",
        )


def make_folder(folder: Path) -> None:
    """Make it, or raise WeightsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(path: Path, error: OSError) -> WeightsError:
    """The error for a file the system refuses to create or to extend."""
    return WeightsError(
        f"{path} cannot be written: {error.strerror}",
        fix="name a folder that may be written to and has room with --weights-dir",
    )
