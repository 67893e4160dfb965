"""The one place where errors become two lines and an exit code.

0 done, 1 an error of ours, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from masa_cli.errors import Interrupted, MasaError, UsageError
from masa_cli.watch import Watch

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


class Boundary(TyperGroup):
    """The group of all commands; whatever they raise ends here."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Click's own signature
        """Run the chosen command."""
        from masa_cli.cli.console import say  # noqa: PLC0415 - keeps `masa --help` quick

        try:
            return super().invoke(ctx)
        except MasaError as error:
            say("error", error.problem, style="bold red")
            say("fix", error.fix, style="bold green")
            code = MISUSED if isinstance(error, UsageError) else FAILED
            raise typer.Exit(code) from error
        except OSError as error:  # what the system refuses where nobody expected it to
            where = f"{error.filename}: " if error.filename else ""
            say("error", f"{where}{error.strerror or error}", style="bold red")
            say("fix", "check the path, the permissions and the space left", style="bold green")
            raise typer.Exit(FAILED) from error
        except Interrupted as interruption:
            say("interrupted", interruption.kept, style="bold yellow")
            raise typer.Exit(INTERRUPTED) from interruption
        except KeyboardInterrupt as interruption:
            say("interrupted", "stopped at once", style="bold yellow")
            raise typer.Exit(INTERRUPTED) from interruption


@contextmanager
def stops_on_signals(watch: Watch) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the watch to stop; the second ends the program at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        watch.stop_requested = True
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
