"""`masa retrack`: association anew, from what `masa track --save-embeddings` kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.command import IDENTITY, INPUT, OUTPUTS, choice, listed, option
from masa_cli.cli.gallery import GalleryFile, MaxFalseMatches, SameTime
from masa_cli.tracking import DEFAULT, PRESET_ENDING, TRACKERS

EmbeddingsFile = Annotated[
    Path,
    typer.Argument(
        rich_help_panel=INPUT,
        help="The embeddings.masa that masa track --save-embeddings wrote.",
        show_default=False,
    ),
]
Video = Annotated[
    Path | None,
    typer.Argument(
        rich_help_panel=INPUT,
        help="The video it was made from, if the annotated video is wanted.",
        show_default=False,
    ),
]
Association = Annotated[
    str,
    option(
        IDENTITY,
        "--association",
        "--preset",
        help=f"How boxes are joined over time:\n{listed(TRACKERS)}\n"
        "FILE: .toml, of settings that masa tune found",
        **choice(lambda: list(TRACKERS), "association", PRESET_ENDING),
    ),
]
Output = Annotated[
    Path | None,
    option(
        OUTPUTS,
        "--output",
        "-o",
        help="Folder for the results.",
        show_default="<name>-<association>, here",
    ),
]


def retrack(
    embeddings: EmbeddingsFile,
    source: Video = None,
    output: Output = None,
    association: Association = DEFAULT,
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    gallery: GalleryFile = None,
    max_false_matches: MaxFalseMatches = None,
    same_time: SameTime = None,
    refine: options.Refine = True,
    clean_up: options.CleanUp = False,
    min_track_length: options.MinTrackLength = 1,
    mot: options.Mot = True,
    jsonl: options.Jsonl = True,
    mot_classes: options.MotClasses = False,
    also: options.Also = "",
    trails: options.Trails = 0,
    names: options.Names = True,
    scores: options.Scores = True,
    fps: options.FrameRate = None,
    stream: options.StreamNumber = None,
    start: options.Start = None,
    end: options.End = None,
    every: options.Every = 1,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    trace: options.Trace = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Associate the boxes of an earlier run anew, in seconds: no detector, no network, no video.

    The results are those that masa track --save-embeddings would give with these options.
    """
    asked = dict(locals())
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.cli.track import work_for
    from masa_cli.jobs.plan import Options, plan_job

    with messages(quiet=quiet or json):
        job = plan_job(Options.of(asked, command=sys.argv))
        work = work_for(job, overwrite=overwrite, resume=resume, trace=trace)
        run_and_report(work, job.input.source.info.num_frames, quiet=quiet, json=json)
