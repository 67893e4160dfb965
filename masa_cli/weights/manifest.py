"""The manifest, weights.toml: which published files there are, and where they come from."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from masa_cli.errors import SettingsError, WeightsError

_PACKAGE = Path(__file__).parents[1]
# In an installed package, and in a checkout.
FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "weights")


def look_for_packaged(name: str) -> Path | None:
    """The file of that name, or None where this installation has none."""
    return next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Text(Protocol):
    """A file on disk, or one of a package."""

    def read_text(self, encoding: str) -> str:
        """All of it."""
        ...


def read_toml(file: Text) -> dict[str, Any]:
    """The table in a file."""
    table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    return table


MANIFEST = files("masa_cli") / "weights.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One row of the manifest; what the columns mean is said there."""

    name: str
    summary: str
    file: str
    hub: str | None = None
    hub_file: str | None = None
    url: str | None = None
    adapters: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if (self.hub is None) == (self.url is None):
            raise ValueError(f'weights.toml, "{self.name}": expected either hub or url')

    @property
    def origin(self) -> str:
        """Where it is published, as an address a browser opens."""
        if self.url:
            return self.url
        return f"https://huggingface.co/{self.hub}/resolve/main/{self.name_on_hub}"

    @property
    def name_on_hub(self) -> str:
        """Its name in its repository; only for files of a hub."""
        return self.hub_file or self.file

    @property
    def size(self) -> str:
        """How large it is, for people."""
        return readable_size(self.bytes) if self.bytes else "size unknown"


@cache
def load_manifest() -> Mapping[str, WeightsFile]:
    """All rows by their names, in the order of the manifest."""
    rows = read_toml(MANIFEST)["files"]
    return MappingProxyType({row["name"]: _row_of(row) for row in rows})


def find_row(name: str) -> WeightsFile:
    """The row of that name, which may also be the file's name.

    Raises:
        SettingsError: there is none.
    """
    for row in load_manifest().values():
        if name in (row.name, row.file):
            return row
    raise SettingsError(
        f'unknown weights "{name}"', fix=f"use one of: {', '.join(load_manifest())}"
    )


def needed_for(*, adapter: str | None = None, detector: str | None = None) -> list[WeightsFile]:
    """The files that this adapter and this detector need, each once."""
    return [
        each
        for each in load_manifest().values()
        if adapter in each.adapters or detector in each.detectors
    ]


def readable_size(num_bytes: int) -> str:
    """Such as 528.4 MB (of a million bytes)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"


def _row_of(columns: Mapping[str, Any]) -> WeightsFile:
    """Lists become tuples, as a row may not change."""
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in columns.items()
    }
    return WeightsFile(**values)


_CONFIGURATION = "config.json"  # that every model of transformers has
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
    for each in folders(folder):
        if (each / row.file).is_file():
            return each / row.file
    return _in_cache_of_hub(row)


def look_for_model(name: str, folder: Path | None = None) -> Path | None:
    """The folder of a whole model of the Hugging Face hub; None if it is not on this machine.

    Args:
        name: a folder; or the name on the hub, whose last part is looked for in the folders of
            weights, and then all of it in the hub's cache. A revision may follow: "owner/name@v1".
        folder: the user's --weights-dir.
    """
    if name and Path(name).is_dir():
        return Path(name)
    repository, _, revision = name.partition("@")
    own = repository.rpartition("/")[2]
    if own:
        for each in folders(folder):
            if (each / own / _CONFIGURATION).is_file():
                return each / own
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, _CONFIGURATION, revision=revision or None)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def by_hand(row: WeightsFile, folder: Path | None = None) -> str:
    """How to go on without the network that is tried first, as an instruction."""
    return f"or get {row.origin} by other means and save it as {folders(folder)[0] / row.file}"


def folders(folder: Path | None = None) -> list[Path]:
    """The folders that are looked in, in order; downloads and files by hand go into the first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    candidates = (folder, _from_environment(), cache / "masa" / "weights")
    return list(dict.fromkeys(each for each in candidates if each))


def all_places(folder: Path | None = None) -> list[Path]:
    """The folders that are looked in, and the cache of the hub."""
    from huggingface_hub import constants

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
    from huggingface_hub import constants

    # The function that searches it takes 8 MB and 0.1 s to import; most runs need none of it.
    if not (Path(constants.HF_HUB_CACHE) / f"models--{row.hub.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(row.hub, row.name_on_hub)
    return Path(found) if isinstance(found, str) else None


# Archives of torch (since 1.6, and so all .pth of the manifest that are not older) are zip files.
_ARCHIVES = {".pth", ".zip"}
_OLD_PICKLE = b"\x80\x02"  # how files of torch before 1.6 begin
_CHUNK = 1 << 20

OnBytes = Callable[[int, int], None]  # how many bytes are done, and of how many


def _ignore(done: int, total: int) -> None:
    """Nobody is told."""


def verify(path: Path, row: WeightsFile, *, on_bytes: OnBytes = _ignore) -> str:
    """Compare a file with what is published of it.

    Where no checksum is published, an archive is tested against the checksums of its parts, which
    tells damage and cut files, but not another version of the file.

    Args:
        path: the file, under whatever name.
        row: what it should be.
        on_bytes: is told how far it is.

    Returns:
        What the judgement rests on.

    Raises:
        WeightsError: it is another file, or damaged.
    """
    size = path.stat().st_size
    if row.bytes is not None and size != row.bytes:
        raise _wrong(path, row, f"it has {size} bytes, expected {row.bytes}")
    if expected := row.sha256 or _sha256_of_hub(path):
        digest = sha256_of(path, on_bytes=on_bytes)
        if not digest.startswith(expected):
            raise _wrong(path, row, f"its sha256 begins with {digest[:12]}, not {expected[:12]}")
        return "sha256" if len(expected) == len(digest) else f"first digits of sha256 ({expected})"
    if path.suffix in _ARCHIVES or Path(row.file).suffix in _ARCHIVES:
        return _verify_archive(path, row)
    return "size" if row.bytes else "nothing published to compare with"


def sha256_of(path: Path, *, on_bytes: OnBytes = _ignore) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_bytes(done, total)
    return digest.hexdigest()


def _sha256_of_hub(path: Path) -> str | None:
    """The hub's cache names what it stores by its sha256, and links to it."""
    stored_as = path.resolve().name
    return stored_as if re.fullmatch("[0-9a-f]{64}", stored_as) else None


def _verify_archive(path: Path, row: WeightsFile) -> str:
    with path.open("rb") as file:
        if file.read(len(_OLD_PICKLE)) == _OLD_PICKLE:
            return "nothing published to compare with"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile:
        raise _wrong(path, row, "it is cut off, or no file of weights") from None
    if damaged:
        raise _wrong(path, row, f"{damaged} inside it is damaged")
    return "checksums inside the archive"


def _wrong(path: Path, row: WeightsFile, reason: str) -> WeightsError:
    return WeightsError(
        f'{path} is not the file published as {row.file} ("{row.name}"): {reason}',
        fix=f"delete it, then: masa weights pull {row.name}",
    )
