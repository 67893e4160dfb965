"""`masa segment-track`: objects of any class in a video, with masks and identities."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.command import DETECTOR, INPUT, WANTED, further, listed, option
from masa_cli.detectors import DEFAULT_PROPOSALS, Proposals, detectors_taking

_MODELS = {
    row.name: row for row in detectors_taking("nothing") if row.proposals == DEFAULT_PROPOSALS
}

SourceName = Annotated[
    str,
    typer.Argument(
        rich_help_panel=INPUT,
        metavar="SOURCE",
        help="A video file, a folder of images, - for video on standard input, the number of a "
        "camera, or an address (rtsp://, http:// and the like).",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    option(
        DETECTOR,
        "--model",
        "--sam",
        metavar="NAME|FILE",
        help=f"What finds and describes objects:\n{listed(_MODELS)}\nFILE: of weights",
        show_default="the first of these whose weights are here",
    ),
]
ProposalsName = Annotated[
    Proposals,
    further(
        DETECTOR,
        "--proposals",
        help="Where objects come from: boxes of the branch that was trained for it, which masks "
        "are made of; or masks at a grid of 32 x 32 points, as the authors of Segment Anything do "
        "it, which takes far longer.",
    ),
]
MaxObjects = Annotated[int, option(DETECTOR, "--max-objects", min=1, help="Best of each frame.")]
MinScore = Annotated[
    float | None,
    option(
        WANTED,
        "--min-score",
        help="Leave out objects up to this score, 0 to 1.",
        show_default="0.02, or 0.1 for lite",
    ),
]
MaxOverlap = Annotated[
    float | None,
    further(
        DETECTOR,
        "--max-overlap",
        help="Of two boxes with a greater IoU, leave out the weaker, 0 to 1.",
        show_default="0.5, or 0.7 for --proposals grid",
    ),
]
MinArea = Annotated[
    float,
    further(
        WANTED,
        "--min-area",
        metavar="PIXELS",
        help="Leave out boxes of less than so many square pixels.",
    ),
]


def segment_track(
    source: SourceName,
    model: Model = None,
    proposals: ProposalsName = DEFAULT_PROPOSALS,
    max_objects: MaxObjects = 50,
    min_score: MinScore = None,
    max_overlap: MaxOverlap = None,
    min_area: MinArea = 0,
    min_track_length: options.MinTrackLength = 1,
    fit_boxes: options.FitBoxes = False,
    masks_png: options.MasksPng = False,
    output: options.Output = None,
    weights_dir: options.WeightsDir = None,
    imgsz: options.ImageSide = None,
    association: options.Association = None,
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    refine: options.Refine = True,
    clean_up: options.CleanUp = False,
    video: options.Video = True,
    mot: options.Mot = True,
    jsonl: options.Jsonl = True,
    also: options.Also = "",
    trails: options.Trails = 0,
    scores: options.Scores = True,
    fps: options.FrameRate = None,
    stream: options.StreamNumber = None,
    video_size: options.VideoSize = None,
    pixel_format: options.PixelFormatName = None,
    start: options.Start = None,
    end: options.End = None,
    every: options.Every = 1,
    reconnect: options.Reconnect = 60.0,
    batch_size: options.BatchSize = 1,
    device: options.DeviceName = "auto",
    precision: options.PrecisionName = "auto",
    runtime: options.RuntimeName = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    trace: options.Trace = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Find, segment and track everything in a video, whatever it is.

    Each frame is looked at once: the model finds the objects in what it sees, and the same maps
    tell them apart. Masks are made by the decoder of Segment Anything, or by the small network that
    lite has for them. Writes what masa track writes, with masks.
    """
    asked = dict(locals())
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.cli.track import work_for
    from masa_cli.jobs.plan import Options, plan_job

    with messages(quiet=quiet or json):
        job = plan_job(Options.of(asked, class_agnostic=True, command=sys.argv))
        work = work_for(job, overwrite=overwrite, resume=resume, trace=trace)
        run_and_report(work, job.input.source.info.num_frames, quiet=quiet, json=json)
