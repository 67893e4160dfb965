"""Everything that is printed: messages and progress to stderr, results to stdout."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

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

from masa_cli.watch import Watch

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
def progress(watch: Watch, total: int | None, *, quiet: bool) -> Iterator[None]:
    """Show the frames a watch sees as a live bar; nothing when stderr is no terminal."""
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
        watch.on_pass = lambda name, done: bar.reset(task, description=name, completed=done)
        watch.on_frame = lambda done, tracks: bar.update(task, completed=done, tracks=tracks)
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
        for place in block:
            justify: JustifyMethod = "left" if place < num_left else "right"
            table.add_column(Text(columns[place]), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(row[place])) for place in block))
        console.print(table)


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns in blocks that fit, each beginning with column 0; at least one other column each."""
    blocks: list[list[int]] = []
    left = 0
    for place, width in enumerate(widths[1:], start=1):
        if not blocks or width + 2 > left:
            blocks.append([0])
            left = room - widths[0]
        blocks[-1].append(place)
        left -= width + 2  # two spaces between columns
    return blocks


def show_json(record: Mapping[str, object]) -> None:
    """One line of JSON on stdout, for machines."""
    try:
        line = orjson.dumps(record).decode()
    except TypeError:  # a path of bytes that are no text: escaped, os.fsencode brings them back
        line = json.dumps(record)
    sys.stdout.write(line + "\n")
