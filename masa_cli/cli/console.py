"""Everything that is printed: messages and progress to stderr, results to stdout."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import orjson
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from masa_cli.progress import RunProgress, Summary

_SLOWEST = 600.0  # seconds over which speed is averaged


def error_console() -> Console:
    """For messages; made anew each time, so that it follows a redirected stderr."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def say(kind: str, message: str, *, style: str = "") -> None:
    """One message to stderr; user text in it is never taken for markup."""
    error_console().print(Text.assemble((f"{kind}: ", style), printable(message)))


def printable(text: str) -> str:
    """Text without what would steer a terminal: names of files and classes may hold anything."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text)


class _Messages(logging.Handler):
    """Log records of the library, as messages; the second pass finds nothing worth repeating."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() in self._said:
            return
        self._said.add(record.getMessage())
        style = "yellow" if record.levelno >= logging.WARNING else ""
        say(record.levelname.lower(), record.getMessage(), style=style)


@contextmanager
def messages(*, quiet: bool) -> Iterator[None]:
    """Show what the library logs: warnings always, other messages unless `quiet`."""
    logger = logging.getLogger("masa_cli")
    handler, level = _Messages(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Rate(ProgressColumn):
    """Frames per second, or seconds per frame."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} frames/s" if speed >= 1 else f"{1 / speed:.1f} s/frame")


@contextmanager
def progress_bar(run: RunProgress, total: int | None, *, quiet: bool) -> Iterator[None]:
    """Show how far a run is as a live bar; nothing when stderr is no terminal."""
    console = error_console()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[tracks]} tracks", markup=False),
        console=console,
        # Two frames must fit, or nothing is known of the time that is left.
        speed_estimate_period=_SLOWEST,
        disable=quiet or not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("loading", total=total, tracks=0)
        run.on_pass = lambda name, done: bar.reset(task, description=name, completed=done)
        run.on_frame = lambda done, tracks: bar.update(task, completed=done, tracks=tracks)
        yield


@contextmanager
def byte_progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A bar that is told of bytes: how many are done, and of how many if that is known."""
    console = error_console()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None, visible=False)  # until there is something to show
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def show(line: str) -> None:
    """One line of results on stdout."""
    Console(soft_wrap=True, highlight=False).print(Text(printable(line)))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, num_left: int = 1) -> None:
    """A table on stdout: the first columns left, the others right.

    Columns that a terminal has no room for follow below, again beside the first one.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a file, or another program, has room
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for block in _blocks(widths, console.width):
        table = Table(box=None, pad_edge=False, header_style="dim")
        for index in block:
            justify: JustifyMethod = "left" if index < num_left else "right"
            table.add_column(Text(columns[index]), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(row[index])) for index in block))
        console.print(table)


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns in blocks that fit, each beginning with column 0; at least one other column each."""
    blocks: list[list[int]] = []
    left = 0
    for index, width in enumerate(widths[1:], start=1):
        if not blocks or width + 2 > left:
            blocks.append([0])
            left = room - widths[0]
        blocks[-1].append(index)
        left -= width + 2  # two spaces between columns
    return blocks


def show_json(record: Mapping[str, object]) -> None:
    """One line of JSON on stdout, for machines."""
    try:
        line = orjson.dumps(record).decode()
    except TypeError:  # a path of bytes that are no text: escaped, os.fsencode brings them back
        line = json.dumps(record)
    sys.stdout.write(line + "\n")


DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def stops_on_signals(progress: RunProgress) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the run to stop; the second ends the program at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        progress.stop_requested = True
        for each in previous:
            signal.signal(each, _stop_at_once)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    """No clean-up: that is what the first signal was for."""
    os.write(2, b"\ninterrupted: stopped at once; --resume goes on from the last checkpoint\n")
    os._exit(INTERRUPTED)


def run_and_report(
    work: Callable[[RunProgress], Summary], num_frames: int | None, *, quiet: bool, json: bool
) -> Summary:
    """Do `work`; print a table of files and stages, or the same as JSON.

    Args:
        work: what to do; it is given the progress that a signal or a bar belongs to.
        num_frames: how many frames to expect, if that is known.
        quiet: no bar and no table.
        json: one line of JSON instead of bar and table.

    Raises:
        MasaError, Interrupted: as `work`.
    """
    from masa_cli.progress import RunProgress

    progress = RunProgress()
    start = time.perf_counter()
    with stops_on_signals(progress), progress_bar(progress, num_frames, quiet=quiet or json):
        summary = work(progress)
    seconds = time.perf_counter() - start
    if json:
        show_json(_record(summary, progress, seconds))
    elif not quiet:
        _show(summary, progress, seconds)
    return summary


def _record(summary: Summary, progress: RunProgress, seconds: float) -> dict[str, object]:
    return {
        "frames": summary.num_frames,
        "boxes": summary.num_boxes,
        "tracks": summary.num_tracks,
        "masks": summary.num_masks,
        "boxes_per_frame": round(summary.boxes_per_frame, 2),
        "most_in_frame": summary.most_in_frame,
        "written": [str(path) for path in summary.written],
        "seconds": round(seconds, 3),
        "stages": {name: round(spent, 3) for name, spent in progress.seconds.items()},
    }


def _show(summary: Summary, progress: RunProgress, seconds: float) -> None:
    frames = max(summary.num_frames, 1)
    stages = [
        (name, f"{spent:.2f}", f"{spent / frames * 1e3:.2f}")
        for name, spent in progress.seconds.items()
    ]
    masks = f" ({summary.num_masks} with masks)" if summary.num_masks else ""
    show(
        f"{summary.num_tracks} tracks, {summary.num_boxes} boxes{masks} in {summary.num_frames} "
        f"frames: {seconds:.1f} s, {summary.num_frames / seconds:.1f} frames/s"
    )
    show(
        f"tracks in a frame: {summary.boxes_per_frame:.1f} on average, "
        f"{summary.most_in_frame} at most"
    )
    show("")
    show_table(("stage (some run side by side)", "seconds", "ms/frame"), stages)
    show("")
    show_table(("written", "size"), [(str(p), _size(_bytes(p))) for p in summary.written])


def _bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
