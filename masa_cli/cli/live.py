"""Tracking frame by frame in front of the user: cameras, streams, standard input and output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

from masa_cli.drawing import Annotator
from masa_cli.errors import SettingsError
from masa_cli.formats.tracks_jsonl import LinesOut
from masa_cli.job import TrackJob
from masa_cli.live_run import run_live
from masa_cli.pipeline import Sink
from masa_cli.preview import Preview, check_display
from masa_cli.summary import Summary
from masa_cli.watch import Watch


def live_work(
    job: TrackJob, *, lines_out: bool, preview: bool, overwrite: bool
) -> Callable[[Watch], Summary]:
    """The work for `run_and_report`.

    Args:
        job: what to do.
        lines_out: whether each frame's line goes to standard output.
        preview: whether each frame is shown in a window.
        overwrite: replace earlier results.

    Raises:
        SettingsError: a window is wanted, but there is no display.
    """
    if preview:
        check_display()

    def work(watch: Watch) -> Summary:
        sinks: list[Sink] = []
        with ExitStack() as open_sinks:
            if lines_out:
                sinks.append(
                    LinesOut(sys.stdout.buffer, job.detector.classes, lambda: _leave(watch))
                )
            if preview:
                annotator = Annotator(job.drawing)
                window = Preview(annotator, job.detector.classes, watch)
                sinks.append(open_sinks.enter_context(window))
            return run_live(job, watch, more_sinks=tuple(sinks), overwrite=overwrite)

    return work


def refuse_resume(resume: bool) -> None:
    """Raise SettingsError: what is seen only once cannot be gone on with."""
    if resume:
        raise SettingsError(
            "--resume goes on with the run of a file, but these frames are finished one by one",
            fix="leave out --resume",
        )


def _leave(watch: Watch) -> None:
    """Nobody reads standard output any more: end the run as if asked to."""
    watch.stop_requested = True
    # Or Python complains at its end that it cannot flush what is left.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
