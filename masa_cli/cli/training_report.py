"""What the user sees of training: a live table, and what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from masa_cli.cli.console import error_console, show, show_json, show_table
from masa_cli.watch import Watch

if TYPE_CHECKING:
    from masa_cli.training.keeper import Listener, TrainSummary
    from masa_cli.training.loop import StepFacts

logger = logging.getLogger(__name__)
_LINE_EVERY = 30.0  # seconds between lines where there is no terminal
_SMOOTH = 0.1  # share of the newest step in what is shown


class _Board:
    """The latest of everything, smoothed a little."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._values: dict[str, float] = {}
        self._scores: dict[str, float] = {}
        self._step = 0

    def take(self, facts: StepFacts) -> None:
        """A step."""
        self._step = facts.step
        for name, value in facts.row().items():
            before = self._values.get(name, value)
            self._values[name] = before + _SMOOTH * (value - before)

    def score(self, scores: Mapping[str, float]) -> None:
        """A validation."""
        self._scores |= scores

    def line(self) -> str:
        """All in one line."""
        left = (self._total - self._step) * self._values["seconds"]
        rest = ", ".join(f"{n} {v:.3f}" for n, v in self._scores.items())
        return (
            f"step {self._step} of {self._total}: loss {self._values['loss']:.3f}, "
            f"{self._values['seconds']:.2f} s per step, {left / 60:.0f} min left"
            + (f"; {rest}" if rest else "")
        )

    def table(self) -> Table:
        """All as a table."""
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in {f"step of {self._total}": self._step, **self._values}.items():
            table.add_row(Text(name), Text(f"{value:.5g}"))
        for name, value in self._scores.items():
            table.add_row(Text(name, style="bold"), Text(f"{value:.3f}", style="bold"))
        return table


@contextmanager
def training_progress(listener: Listener, total: int, *, quiet: bool) -> Iterator[None]:
    """Show what the listener hears: a live table, or lines where stderr is no terminal."""
    console = error_console()
    board = _Board(total)
    is_live = console.is_terminal and not quiet
    last = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def on_step(facts: StepFacts) -> None:
            nonlocal last
            board.take(facts)
            if is_live:
                live.update(board.table(), refresh=True)
            elif time.monotonic() - last > _LINE_EVERY or facts.step == total:
                last = time.monotonic()
                logger.info("%s", board.line())

        def on_validation(step: int, scores: Mapping[str, float]) -> None:
            board.score(scores)
            told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
            logger.info("after step %d: %s", step, told)

        listener.on_step, listener.on_validation = on_step, on_validation
        yield


def show_summary(summary: TrainSummary, watch: Watch, *, quiet: bool, json: bool) -> None:
    """What a run came to, on stdout; nothing in processes that only helped."""
    if not summary.written:
        return
    if json:
        show_json(
            {
                "steps": summary.steps,
                "scores": dict(summary.scores),
                "best": summary.best,
                "broken": summary.num_broken,
                "written": [str(path) for path in summary.written],
                "stages": {name: round(spent, 3) for name, spent in watch.seconds.items()},
            }
        )
    elif not quiet:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in summary.scores.items())
        show(f"{summary.steps} steps; {scores}; best {summary.best:.3f}")
        if summary.num_broken:
            show(f"{summary.num_broken} times an image could not be read and was passed over")
        show("")
        show_table(("stage", "seconds"), [(n, f"{s:.1f}") for n, s in watch.seconds.items()])
        show("")
        show_table(("written",), [(str(path),) for path in summary.written])
