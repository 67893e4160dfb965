"""One file over http: goes on where a cut connection left it, and is complete or not there.

requests does the talking. pooch and torch.hub start again from the first byte after a cut, which a
file of gigabytes does not stand; the loop that goes on is short.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests

from masa_cli.errors import WeightsError

# Seconds before each new try. Without a first byte there is none: no network is told at once.
WAITS = (1.0, 2.0, 4.0, 8.0)
_SPARE = 64 << 20  # bytes left free on the disk
_TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_CHUNK = 1 << 16  # a piece that a cut leaves incomplete is lost
_PASSING = (429, 500, 502, 503, 504)  # answers worth another try
OnProgress = Callable[[int, int | None], None]  # bytes there are, and of how many if that is known


class Cut(Exception):
    """There is no connection, or it broke; says why. What has arrived is kept."""


def cut_by(error: Exception, url: str) -> Cut:
    """What an error of the network means, in a few words."""
    host = urlsplit(url).hostname
    if isinstance(error, requests.exceptions.ProxyError):
        return Cut(f"the proxy in the way to {host} cannot be used")
    if isinstance(error, requests.exceptions.SSLError):
        return Cut(f"the certificate of {host} is not accepted")
    if isinstance(error, requests.ConnectionError):
        return Cut(f"{host} cannot be reached")
    if isinstance(error, requests.Timeout):
        return Cut(f"{host} does not answer")
    return Cut(f"the connection to {host} broke")


def download(
    url: str,
    path: Path,
    *,
    verify: Callable[[Path], object],
    on_progress: OnProgress,
    waits: Sequence[float] = WAITS,
) -> None:
    """Save what is at `url` as `path`.

    It grows as `<path>.part`, stays there when the connection breaks, and a later call goes on with
    it if the server still has the same file.

    Args:
        url: http or https; proxies and certificates come from the environment, as requests has it.
        path: its folder is made; gets its name only once `verify` has passed.
        verify: raises WeightsError if the file it is given is the wrong one, which is then deleted.
        on_progress: is told how far it is.
        waits: seconds before each new try.

    Raises:
        WeightsError: from `verify`; or the server refuses, or the disk is full.
        Cut: there is no connection.
    """
    part = path.with_name(path.name + ".part")
    make_folder(path.parent)
    _fetch(url, part, on_progress, waits)
    try:
        verify(part)
        part.replace(path)
    except WeightsError:
        part.unlink()
        raise
    finally:
        if not part.exists():
            _version_file(part).unlink(missing_ok=True)


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


def _fetch(url: str, part: Path, on_progress: OnProgress, waits: Sequence[float]) -> None:
    """Ask again until everything is there, or nothing more comes for as many tries as waits."""
    left: list[float] = []
    while True:
        before = _size(part)
        try:
            return _ask(url, part, on_progress)
        except (requests.RequestException, Cut) as error:
            if _size(part) > before:
                left = list(waits)
            if not left:
                raise error if isinstance(error, Cut) else cut_by(error, url) from error
            time.sleep(left.pop(0))


def _ask(url: str, part: Path, on_progress: OnProgress) -> None:
    """One request for what is missing."""
    have, version = _size(part), _read_version(part)
    headers = {"Accept-Encoding": "identity"}  # bytes of the file are counted
    if have and version:
        # The server sends the rest if it still has that version, else the whole file.
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # all of it had arrived
            part.unlink()
            raise Cut("the file at the server has changed")
        if answer.status_code in _PASSING:
            raise Cut(f"the server answered {answer.status_code} {answer.reason}")
        if not answer.ok:
            raise WeightsError(
                f"{url}: the server answered {answer.status_code} {answer.reason}",
                fix="look whether the address still opens in a browser; it may have moved",
            )
        goes_on = answer.status_code == requests.codes.partial_content
        _receive(answer, part, have if goes_on else 0, on_progress)


def _receive(answer: requests.Response, part: Path, start: int, on_progress: OnProgress) -> None:
    """Write the body after the first `start` bytes of the file."""
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    check_space(part.parent, (total or start) - start)
    done = start
    try:
        if not start:
            _version_file(part).write_text(_version_of(answer))
        with part.open("ab" if start else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                on_progress(done, total)
    except requests.RequestException:
        raise  # an OSError, too, but not of the disk
    except OSError as error:
        raise unwritable(part, error) from None
    if total is not None and done < total:
        raise Cut(f"{done} of {total} bytes have arrived")


def _version_of(answer: requests.Response) -> str:
    """What tells this version of the file from another; empty if the server does not say."""
    etag: str = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    modified: str = answer.headers.get("Last-Modified", "")
    return modified


def _read_version(part: Path) -> str:
    file = _version_file(part)
    return file.read_text() if file.is_file() else ""


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
