"""What a run leaves about itself: what it was (run.json), and what it did when (a trace).

By the first its results can be made again and explained, by the second its time.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

from masa_cli import __version__
from masa_cli.errors import Interrupted, OutputError
from masa_cli.formats.files import (
    PartFile,
    make_folder,
    part_of,
    refuse_existing,
    refuse_inputs,
)
from masa_cli.jobs.job import TrackJob
from masa_cli.progress import RunProgress, Summary
from masa_cli.settings import with_changes
from masa_cli.tracking import find_tracker
from masa_cli.weights.manifest import folders, sha256_of

_PACKAGES = ("torch", "torchvision", "openvino", "numpy", "opencv-python", "scipy", "av")
_BUFFERED = 1 << 16  # characters of a trace that are in memory
_DIGESTS = "sha256.json"  # in masa's folder of the user's cache, beside that of weights

logger = logging.getLogger(__name__)


def write_record(job: TrackJob, progress: RunProgress, summary: Summary) -> None:
    """Write run.json; it has its name only once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    content = json.dumps(describe_run(job, progress, summary), indent=2, ensure_ascii=False)
    with PartFile(job.outputs.record) as file:
        # Names of files that are no text: JSON's own escapes, as os.fsencode brings them back.
        file.write(f"{content}\n".encode(errors="backslashreplace"))


def describe_run(job: TrackJob, progress: RunProgress, summary: Summary) -> dict[str, Any]:
    """What run.json says: only texts, numbers, lists and objects of these."""
    given, seen, association = job.input, job.perception, job.association
    detector = seen.detector
    record = {
        "masa": __version__,
        "command": list(job.outputs.command),
        "versions": {"python": platform.python_version(), **_versions()},
        "system": platform.platform(),
        "source": {"path": given.origin, **asdict(given.source.info)},
        "files": [path for path in given.files if path != given.origin],
        "facts": dict(given.facts),
        "detector": {
            "name": detector.row.name,
            "classes": detector.classes,
            "prompt": None if detector.prompt is None else str(detector.prompt),
            "settings": detector.settings,
            "selection": seen.selection,
        },
        "adapter": seen.adapter if association.needs_embeddings else None,
        "segmenter": None
        if seen.segmenter is None
        else str(seen.segmenter.written or seen.segmenter.name),
        "networks": {
            "precision": job.precision,
            **{
                name: getattr(seen, name)
                for name in (
                    "preprocessing",
                    "side",
                    "device",
                    "runtime",
                    "batch_size",
                    "fits_boxes",
                )
            },
        },
        "association": {
            "name": association.name,
            "settings": with_changes(
                find_tracker(association.name).settings(), association.tracker_changes
            ),
            "refinement": association.refinement,
        },
        "weights": describe_weights(job.weights),
        "seconds": {name: round(spent, 3) for name, spent in progress.seconds.items()},
        "counts": {
            "frames": summary.num_frames,
            "boxes": summary.num_boxes,
            "tracks": summary.num_tracks,
            "masks": summary.num_masks,
        },
        "written": summary.written,
    }
    plain: dict[str, Any] = _plain(record)
    return plain


def traced(
    work: Callable[[RunProgress], Summary],
    path: Path | None,
    *,
    inputs: Sequence[Path] = (),
    outputs: Sequence[Path] = (),
    replaces: bool = False,
) -> Callable[[RunProgress], Summary]:
    """The same work, which also writes a trace of itself.

    A trace is a list of Chrome's trace events, in microseconds, which viewers in browsers show as a
    timeline: a row for each thread, with its stages, and one for the passes over the video. It has
    its name once the work is done, or was interrupted by the user.

    Args:
        work: what is to be done.
        path: the JSON file to write; None: nothing is.
        inputs: files that must not be overwritten.
        outputs: files that the work itself writes.
        replaces: whether an earlier trace is replaced.

    Raises:
        OutputError: the trace would replace something, or cannot be written.
    """
    if path is None:
        return work
    refuse_inputs([path], inputs)
    taken = {part.resolve() for each in outputs for part in (each, part_of(each))}
    if taken & {path.resolve(), part_of(path).resolve()}:
        raise OutputError(
            f"{path} is a result of this run, and cannot be its trace, too", fix="name another file"
        )
    if not replaces:
        refuse_existing([path])

    def with_trace(progress: RunProgress) -> Summary:
        make_folder(path.parent)
        with _Trace(path).of(progress):
            return work(progress)

    return with_trace


class _Trace:
    """A list of trace events that is written as they come, so that memory does not grow."""

    def __init__(self, path: Path) -> None:
        self._file = PartFile(path)
        self._begin = time.perf_counter()
        self._lock = threading.Lock()
        self._is_open = True
        self._rows: dict[tuple[int | None, str], int] = {}  # by thread, whose numbers come again
        self._waiting = ["[\n"]
        self._num_waiting = 0  # characters
        self._add("process_name", 0, ph="M", args={"name": "masa"})
        self._passes = self._row(None, "passes")
        self._pass: tuple[str, float] | None = None  # its name, and when it began

    @contextmanager
    def of(self, progress: RunProgress) -> Iterator[None]:
        """Inside, what a run tells is taken down; whoever else it is told to still is told."""
        on_pass, on_frame, on_stage = progress.on_pass, progress.on_frame, progress.on_stage

        def begin_pass(name: str, done: int) -> None:
            on_pass(name, done)
            self._end_pass()
            self._pass = name, time.perf_counter()

        def count(done: int, num_tracks: int) -> None:
            on_frame(done, num_tracks)
            now = self._microseconds(time.perf_counter())
            for name, number in ("frames done", done), ("tracks in a frame", num_tracks):
                self._add(name, self._passes, ph="C", ts=now, args={"number": number})

        progress.on_pass, progress.on_frame, progress.on_stage = begin_pass, count, self._stage
        try:
            yield
        except Interrupted:  # by the user, who may want to know what took so long
            self._finish()
            raise
        except BaseException:
            self._discard()
            raise
        finally:
            progress.on_pass, progress.on_frame = on_pass, on_frame
            progress.on_stage = on_stage
        self._finish()

    def _stage(self, name: str, start: float, end: float) -> None:
        thread = threading.current_thread()
        is_main = thread is threading.main_thread()
        self._slice(self._row(thread.ident, "main" if is_main else thread.name), name, start, end)

    def _slice(self, row: int, name: str, start: float, end: float) -> None:
        began, ended = self._microseconds(start), self._microseconds(end)
        self._add(name, row, ph="X", ts=began, dur=round(ended - began, 3))

    def _end_pass(self) -> None:
        if self._pass is not None:
            name, began = self._pass
            self._slice(self._passes, name, began, time.perf_counter())

    def _row(self, ident: int | None, name: str) -> int:
        """Where the slices of a thread are shown; a new one is given its name."""
        row = self._rows.get((ident, name))
        if row is None:
            row = self._rows[ident, name] = len(self._rows)
            self._add("thread_name", row, ph="M", args={"name": name})
        return row

    def _microseconds(self, moment: float) -> float:
        """Since the trace began."""
        return round((moment - self._begin) * 1e6, 3)

    def _add(self, name: str, row: int, **more: object) -> None:
        """An event; those after the end, of threads that nobody waits for, are left out."""
        line = json.dumps({"name": name, "pid": 0, "tid": row, **more})
        with self._lock:
            if self._is_open:
                self._waiting.append(f"{line},\n")
                self._num_waiting += len(line)
                if self._num_waiting >= _BUFFERED:
                    self._write()

    def _finish(self) -> None:
        self._end_pass()
        with self._lock, self._file:
            self._is_open = False
            # The last event, which no comma follows: the list of a part can be read, too.
            last = {"name": "end", "ph": "i", "ts": self._microseconds(time.perf_counter())}
            line = json.dumps({**last, "pid": 0, "tid": self._passes, "s": "g"})
            self._waiting.append(f"{line}\n]\n")
            self._write()

    def _write(self) -> None:
        self._file.write("".join(self._waiting).encode())
        self._waiting, self._num_waiting = [], 0

    def _discard(self) -> None:
        with self._lock:
            self._is_open = False
            self._file.close()
            self._file.part.unlink(missing_ok=True)


def describe_weights(files: Sequence[Path]) -> list[dict[str, object]]:
    """Path, bytes and sha256 of each file; a file that did not change is hashed but once."""
    store = folders()[-1].with_name(_DIGESTS)
    known = _read_known(store)
    fresh: dict[str, str] = {}
    rows: list[dict[str, object]] = []
    for file in files:
        status = file.stat()
        key = f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
        digest = known.get(key) or fresh.get(key)
        if digest is None:
            digest = fresh[key] = sha256_of(file)
        rows.append({"path": str(file), "bytes": status.st_size, "sha256": digest})
    if fresh:
        _write_known(store, known | fresh)
    return rows


def _versions() -> dict[str, str | None]:
    """Of the packages that results may depend on; None where one is not installed."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a job is made of
    """The same as JSON has it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):  # JSON has no infinity
        return value if abs(value) < float("inf") else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path | Fraction) else repr(value)


def _read_known(store: Path) -> dict[str, str]:
    """Digests of earlier runs; none where they cannot be read."""
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_known(store: Path, known: Mapping[str, str]) -> None:
    """Remember digests; where that is not possible, files are hashed again next time."""
    part = store.with_name(f"{store.name}.{os.getpid()}.part")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known), encoding="utf-8")
        part.replace(store)
    except OSError as error:
        logger.debug("%s cannot be written: %s", store, error)
