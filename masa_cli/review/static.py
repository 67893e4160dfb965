"""A review as one file to send: the page with all tracks inside, to be looked at only."""

from __future__ import annotations

import base64
import logging
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from urllib.parse import quote

import orjson

from masa_cli.errors import OutputError
from masa_cli.formats.files import PartFile, make_folder, refuse_existing, refuse_inputs
from masa_cli.review.server import page_file, state_of
from masa_cli.review.session import Review, masks_of, packed

logger = logging.getLogger(__name__)

MAX_INSIDE = 64 * 2**20  # bytes of a video that is put into the page; of a longer one, beside it
MAX_MASKS = 64 * 2**20  # characters of masks; more are left out
MAX_TRACKS = 256 * 2**20  # bytes of packed tracks: a browser would take too long to open more

_MODULES = (
    "store",
    "player",
    "masks",
    "stage",
    "thumbs",
    "timeline",
    "dialogs",
    "api",
)
_IMPORT = re.compile(r'from "\./(\w+)\.js"')
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data: blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src 'self' file: blob: data:; base-uri 'none'; form-action 'none'"
)


def write_static(review: Review, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the page of a review, read only, and the video beside it where it is large.

    A video of at most 64 MiB is inside; a larger one is copied beside the page. Masks of at most
    64 MiB are inside; more are left out, which is said. Returns what was written.

    Args:
        review: with its edits.
        target: the HTML file.
        overwrite: replace what is there.

    Raises:
        OutputError: something is there, cannot be written, or is too large.
    """
    video, size = review.video, review.video.path.stat().st_size
    is_inside = size <= MAX_INSIDE
    beside = target.with_suffix(video.path.suffix)
    written = [target] if is_inside else [target, beside]
    refuse_inputs(written, [review.path, review.log, video.path])
    if not overwrite:
        refuse_existing(written)
    masks = orjson.dumps(masks_of(review.tracks, 0, review.num_frames))
    has_masks = len(masks) <= MAX_MASKS
    if not has_masks:
        logger.warning(
            "%s is written without its masks: they are %d MiB, and at most %d are written",
            target,
            len(masks) >> 20,
            MAX_MASKS >> 20,
        )
    tracks = packed(review.tracks, with_masks=has_masks)
    if len(tracks) > MAX_TRACKS:
        raise OutputError(
            f"{len(review.tracks.tracks)} tracks are too many for one page "
            f"({len(tracks) >> 20} MiB, at most {MAX_TRACKS >> 20})",
            fix="write a part of them, or show them with masa review itself",
        )
    make_folder(target.parent)
    state = {**state_of(review), "readonly": True, "places": _places(review)}
    inside = {
        "state": state,
        "tracks": _packed(tracks),
        "masks": _packed(masks if has_masks else b'{"size":[0,0],"frames":{}}'),
        "times": _packed(review.video_times.astype("<f8").tobytes()),
        "video": quote(beside.name),
        "type": video.type,
    }
    with PartFile(target) as file:
        head, tail = _page(inside)
        file.write(head)
        if is_inside:
            file.write(b'<script type="text/plain" id="masa-video">')
            file.write(base64.b64encode(video.path.read_bytes()))
            file.write(b"</script>\n")
        file.write(tail)
    if not is_inside:
        _copy(video.path, beside)
    return written


def _places(review: Review) -> list[object]:
    return [asdict(place) for place in review.places(None) or ()]


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode()


def _page(inside: Mapping[str, object]) -> tuple[bytes, bytes]:
    """The page up to where the video goes, and its rest."""
    text = page_file("index.html").decode()
    style = page_file("style.css").decode()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
    text = text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}')
    text = text.replace('<link rel="stylesheet" href="style.css">', f"<style>\n{style}</style>")
    data = f'<script type="application/json" id="masa-inside">{_in_script(inside)}</script>\n'
    modules = f'<script type="importmap">{_in_script({"imports": _imports()})}</script>\n'
    main = f'<script type="module">\n{_bare(page_file("main.js").decode())}</script>'
    head, _, tail = text.partition('<script type="module" src="main.js"></script>')
    return f"{head}{data}".encode(), f"{modules}{main}{tail}".encode()


def _imports() -> dict[str, str]:
    """The page's modules as addresses that hold them."""
    found = {}
    for name in _MODULES:
        source = _bare(page_file(f"{name}.js").decode()).encode()
        found[f"masa/{name}"] = f"data:text/javascript;base64,{base64.b64encode(source).decode()}"
    return found


def _bare(source: str) -> str:
    return _IMPORT.sub(r'from "masa/\1"', source)


def _in_script(record: object) -> str:
    """JSON in which nothing ends the element that it is in."""
    return orjson.dumps(record).decode().replace("<", "\\u003c")


def _copy(source: Path, target: Path) -> None:
    """A copy of a file that is complete once it has its name."""
    with PartFile(target) as file, source.open("rb") as data:
        while block := data.read(2**20):
            file.write(block)
