"""Where files of weights lie on this machine: names in, paths out, and nothing heavy loaded."""

from __future__ import annotations

import os
from pathlib import Path

from masa_cli.checkpoints.manifest import WeightsFile, find_row
from masa_cli.errors import WeightsError

FOLDER_VARIABLE = "MASA_WEIGHTS"


def find_weights(name: str, folder: Path | None = None) -> Path:
    """The file of these weights; it is not looked into.

    Args:
        name: as in the manifest, such as "r50".
        folder: the user's --weights-dir. It comes first, then MASA_WEIGHTS, the folder in the
            user's cache, and the cache of the Hugging Face hub.

    Raises:
        SettingsError: there are no such weights.
        WeightsError: they are not on this machine.
    """
    row = find_row(name)
    if found := look_for(row, folder):
        return found
    raise WeightsError(
        f'the weights "{name}" ({row.file}, {row.size}) are not on this machine',
        fix=f"masa weights pull {name}; {by_hand(row, folder)}",
    )


def look_for(row: WeightsFile, folder: Path | None = None) -> Path | None:
    """As `find_weights`, but None where there is nothing."""
    for place in folders(folder):
        if (place / row.file).is_file():
            return place / row.file
    return _in_cache_of_hub(row)


def by_hand(row: WeightsFile, folder: Path | None = None) -> str:
    """How to go on without the network that is tried first, as an instruction."""
    return f"or get {row.origin} by other means and save it as {folders(folder)[0] / row.file}"


def folders(folder: Path | None = None) -> list[Path]:
    """The folders that are looked in, in order; downloads and files by hand go into the first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = (folder, _from_environment(), cache / "masa" / "weights")
    return list(dict.fromkeys(place for place in places if place))


def all_places(folder: Path | None = None) -> list[Path]:
    """The folders that are looked in, and the cache of the hub."""
    from huggingface_hub import constants  # noqa: PLC0415 - takes a third of a second

    return [*folders(folder), Path(constants.HF_HUB_CACHE)]


def chosen_folder(folder: Path | None = None) -> Path | None:
    """The folder the user named, with --weights-dir or else in MASA_WEIGHTS."""
    return folder or _from_environment()


def _from_environment() -> Path | None:
    value = os.environ.get(FOLDER_VARIABLE)
    return Path(value).expanduser() if value else None


def _in_cache_of_hub(row: WeightsFile) -> Path | None:
    if row.hub is None:
        return None
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - takes a third of a second

    found = try_to_load_from_cache(row.hub, row.name_on_hub)
    return Path(found) if isinstance(found, str) else None
