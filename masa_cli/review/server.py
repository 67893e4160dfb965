"""The page's server: on this machine alone, for those who know the token in its address.

Werkzeug reads requests, waitress serves them on a few threads. Nothing is found by a path that a
request names: what there is stands in two tables.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_range_header
from werkzeug.wrappers import Request, Response

from masa_cli import formats
from masa_cli.errors import MasaError, OutputError, UsageError
from masa_cli.formats.files import as_utf8
from masa_cli.jobs.convert import VideoFacts, write_table
from masa_cli.review.opening import Opening
from masa_cli.review.session import Review, StaleError, masks_of, unpacked_track

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY = 2**20  # bytes of a request
_MAX_HEAD = 2**15
_MOST_AT_ONCE = 4 * 2**20  # bytes of the video in an answer: a browser that waits holds no thread
_MOST_MASKS = 64  # frames of masks in an answer
_THREADS = 6
_PATIENCE = 0.5  # seconds that an answer waits for what is not there yet
_TICK = 0.5  # seconds

_PAGE: Mapping[str, str] = MappingProxyType(
    {
        "index.html": "text/html",
        "style.css": "text/css",
        **dict.fromkeys(
            (
                "main.js",
                "api.js",
                "dialogs.js",
                "masks.js",
                "player.js",
                "stage.js",
                "store.js",
                "thumbs.js",
                "timeline.js",
            ),
            "text/javascript",
        ),
    }
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def page_file(name: str) -> bytes:
    """One of the page's own files."""
    return (files("masa_cli.review") / "page" / name).read_bytes()


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of the answer.
        problem: what is wrong with it.
    """

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status, self.problem = status, problem


class ReviewApp:
    """Answers the requests of the page (WSGI).

    Args:
        opening: of what is reviewed.
        folder: where tracks are saved.
        token: what addresses begin with.
    """

    def __init__(self, opening: Opening, folder: Path, token: str) -> None:
        self.token = token
        self._opening, self._folder = opening, folder
        self.port = 0  # that is listened on; none until then
        self._get: Mapping[str, Callable[[Request], Response]] = {
            "video": self._answer_video,
            "api/state": lambda _: _json(self.state()),
            "api/tracks": lambda _: Response(self._review.packed(), mimetype=_BYTES),
            "api/times": lambda _: Response(
                self._review.video_times.astype("<f8").tobytes(), mimetype=_BYTES
            ),
            "api/masks": self._answer_masks,
            "api/places": lambda _: _json({"places": self._told_places(_PATIENCE)}),
        }
        self._post: Mapping[str, Callable[[Request], Response]] = {
            "api/edit": self._edit,
            "api/save": self._save,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except Refused as refused:
            response = _json({"problem": refused.problem, "fix": ""}, refused.status)
        except HTTPException as error:
            response = _json({"problem": error.name, "fix": ""}, HTTPStatus(error.code or 400))
        except StaleError as error:
            response = _told(error, HTTPStatus.CONFLICT, "stale")
        except MasaError as error:
            response = _told(error, HTTPStatus.UNPROCESSABLE_ENTITY, "")
        response.headers.extend(_HEADERS)
        return response(environ, start_response)

    def check(self) -> None:
        """Raise what kept the review from being opened, once a page could tell it."""
        self._opening.check()

    def state(self) -> dict[str, object]:
        """What the page is told first: the review, or how far it is from being open."""
        try:
            review = self._opening.review(_PATIENCE)
        except MasaError:
            self._opening.is_told = True
            raise
        if review is None:
            return {"opening": asdict(self._opening.step), "video": self._opening.video is not None}
        folder = as_utf8(str(self._folder))
        return {
            **state_of(review),
            "places": self._told_places(),
            "formats": _formats(),
            "folder": folder,
        }

    @property
    def _review(self) -> Review:
        review = self._opening.review()
        if review is None:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the tracks are still being read")
        return review

    def _told_places(self, seconds: float = 0.0) -> list[dict[str, object]] | None:
        places = self._review.places(seconds)
        return None if places is None else [asdict(place) for place in places]

    def _answer(self, request: Request) -> Response:
        self._check_sender(request)
        token, slash, name = request.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the token in the address is not that of a review")
        if not slash:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing of that name")
        table = self._post if request.method == "POST" else self._get
        if request.method not in {"GET", "HEAD", "POST"} or (
            name not in table and (name in self._get or name in self._post)
        ):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not answered here")
        if name in table:
            return table[name](request)
        file = name or "index.html"
        if file in _PAGE and request.method != "POST":
            return Response(page_file(file), mimetype=_PAGE[file])
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing of that name")

    def _check_sender(self, request: Request) -> None:
        """Refuse what another page, or a name that was made to point here, has sent."""
        hosts = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        if request.headers.get("Host") not in hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "the request is for another host")
        origin = request.headers.get("Origin")
        own = {f"http://{host}" for host in hosts}
        if origin is not None and origin not in own:
            raise Refused(HTTPStatus.FORBIDDEN, "the request comes from another page")
        site = request.headers.get("Sec-Fetch-Site", "none")
        if site not in {"none", "same-origin"}:
            raise Refused(HTTPStatus.FORBIDDEN, "the request comes from another page")
        if request.method == "POST" and origin is None:
            raise Refused(HTTPStatus.FORBIDDEN, "the request does not tell which page it is of")

    def _answer_video(self, request: Request) -> Response:
        video = self._opening.video
        if video is None:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "there is no video yet")
        path = video.path
        try:
            size, file = path.stat().st_size, path.open("rb")
        except OSError as error:
            raise OutputError(
                f"{path.name} cannot be read any more: {error.strerror}",
                fix="start masa review again",
            ) from error
        with file:
            wanted = parse_range_header(request.headers.get("Range"))
            found = wanted.range_for_length(size) if wanted else (0, size)
            if found is None:
                response = Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                response.headers["Content-Range"] = f"bytes */{size}"
                return response
            start, stop = found[0], min(found[1], found[0] + _MOST_AT_ONCE)
            if request.method == "HEAD":
                response = Response(mimetype=video.type)
                response.headers["Content-Length"] = str(size)
            else:
                file.seek(start)
                response = Response(
                    file.read(stop - start),
                    status=HTTPStatus.PARTIAL_CONTENT,
                    mimetype=video.type,
                )
                response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            response.headers["Accept-Ranges"] = "bytes"
            return response

    def _answer_masks(self, request: Request) -> Response:
        first = _number_in(request, "first", 10**8)
        count = _number_in(request, "count", _MOST_MASKS)
        return _json(masks_of(self._review.tracks, first, count))

    def _edit(self, request: Request) -> Response:
        told = _body(request)
        revision = told.get("revision")
        if type(revision) is not int:
            raise Refused(HTTPStatus.BAD_REQUEST, "an edit names the revision it is of")
        change = self._review.edit(told.get("record"), revision)
        changed = {str(id_): unpacked_track(track) for id_, track in change.patch.items()}
        return _json({"changed": changed, **change.summary})

    def _save(self, request: Request) -> Response:
        told = _body(request)
        name, chosen = told.get("name"), told.get("format")
        if not isinstance(name, str) or not _is_plain(name):
            raise UsageError(
                "expected the name of a file, without a folder", fix="name it as in street.xml"
            )
        if not isinstance(chosen, str) or chosen not in formats.writable_names():
            raise UsageError("there is no such format", fix="choose one of the list")
        path = save_tracks(
            self._review,
            self._folder / name,
            writes=chosen,
            overwrite=told.get("overwrite") is True,
        )
        return _json({"path": as_utf8(str(path))})


_BYTES = "application/octet-stream"


def save_tracks(review: Review, path: Path, *, writes: str, overwrite: bool) -> Path:
    """Write the tracks as they are now; raises what `masa convert` raises."""
    video = review.video
    facts = VideoFacts(size=(video.width, video.height))
    write_table(
        review.tracks.table(),
        path,
        source=review.path,
        writes=writes,
        facts=facts,
        inputs=(review.path, review.log, video.path),
        overwrite=overwrite,
    )
    return path


def state_of(review: Review) -> dict[str, object]:
    """What a page is told of a review, whether it can mend it or not."""
    return {
        "title": as_utf8(review.path.name),
        "width": review.video.width,
        "height": review.video.height,
        "frames": review.num_frames,
        "keys": review.video.keys.tolist(),
        "readonly": False,
        "name": as_utf8(f"{review.path.name.partition('.')[0] or 'tracks'}-reviewed"),
        **review.summary(),
    }


def new_token() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(24)


def serve(app: ReviewApp, port: int, ready: Callable[[int], None]) -> None:
    """Answer until interrupted, or until it is clear that the review cannot be opened.

    Args:
        app: answers.
        port: to listen on; 0: any that is free.
        ready: is told the port once requests are answered.

    Raises:
        OutputError: the port is taken.
        MasaError: what kept the review from being opened.
    """
    from waitress.server import create_server

    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        server = create_server(
            app,
            host=HOST,
            port=port,
            threads=_THREADS,
            ident=None,
            max_request_body_size=MAX_BODY,
            max_request_header_size=_MAX_HEAD,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        raise OutputError(
            f"port {port} cannot be listened on: {error.strerror}",
            fix="leave out --port, or choose another",
        ) from error
    app.port = int(server.effective_port)
    answers = threading.Thread(target=server.run, name="answer", daemon=True)
    try:
        answers.start()
        ready(app.port)
        while answers.is_alive():
            answers.join(_TICK)
            app.check()
    except KeyboardInterrupt:
        logger.debug("interrupted")
    finally:
        server.close()


def _formats() -> list[list[str]]:
    """Name, summary and ending of each format that could be saved."""
    return [
        [name, formats.FORMATS[name].summary, formats.FORMATS[name].endings[0]]
        for name in formats.writable_names()
        if formats.FORMATS[name].endings
    ]


def _json(record: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    data = orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(data, status=status, mimetype="application/json")


def _told(error: MasaError, status: HTTPStatus, kind: str) -> Response:
    text = {"problem": error.problem, "fix": error.fix, "kind": kind}
    return _json({key: as_utf8(value) for key, value in text.items()}, status)


def _body(request: Request) -> Mapping[str, Any]:
    if request.mimetype != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected JSON")
    try:
        told = orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, "expected JSON") from None
    if not isinstance(told, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "expected a JSON object")
    return told


def _number_in(request: Request, name: str, most: int) -> int:
    text = request.args.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a whole number up to {most}")
    return int(text)


def _is_plain(name: str) -> bool:
    """Whether it names a file in a folder, and no other place, on any system."""
    forbidden = set('/\\:*?"<>|')
    return (
        0 < len(name) <= 200
        and name.isprintable()
        and not forbidden & set(name)
        and not name.startswith(".")
        and not name.endswith((".", " "))
    )
