"""Whether a file of weights is the one it is taken for, without loading it."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from masa_cli.checkpoints.manifest import WeightsFile
from masa_cli.errors import WeightsError

# Archives of torch (since 1.6, and so all .pth of the manifest that are not older) are zip files.
_ARCHIVES = {".pth", ".zip"}
_OLD_PICKLE = b"\x80\x02"  # how files of torch before 1.6 begin
_CHUNK = 1 << 20

OnBytes = Callable[[int, int], None]  # how many bytes are done, and of how many


def _ignore(done: int, total: int) -> None:
    """No one looks on."""


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
        raise _wrong(path, row, "it is cut off, or no checkpoint") from None
    if damaged:
        raise _wrong(path, row, f"{damaged} inside it is damaged")
    return "checksums inside the archive"


def _wrong(path: Path, row: WeightsFile, reason: str) -> WeightsError:
    return WeightsError(
        f'{path} is not the file published as {row.file} ("{row.name}"): {reason}',
        fix=f"delete it, then: masa weights pull {row.name}",
    )
