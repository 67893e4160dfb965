"""`masa track`: a video and detections in, identities out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli.command import DETECTOR, OUTPUTS, WANTED, further, option
from masa_cli.cli.gallery import GalleryFile, MaxFalseMatches, SameTime
from masa_cli.cli.many import EngineOption, JobsOption, detections_of, expanded, track_many
from masa_cli.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from masa_cli.jobs.job import TrackJob
    from masa_cli.pipeline import Sink
    from masa_cli.progress import RunProgress, Summary

FollowOption = Annotated[
    list[str],
    option(
        WANTED,
        "--follow",
        metavar="[NAME=]X1,Y1,X2,Y2@TIME",
        help="Track only what is in this box, in pixels, in the frame at this time of the video "
        "(seconds or 1:30): forwards and backwards from there. X,Y@TIME: what is at a point. May "
        "be repeated; one name several times is one thing, shown again. FILE.json: a list of "
        "boxes, points, polygons or masks. Candidates are the boxes of --dets or of the prompt, or "
        "without these, objects of any class.",
    ),
]
JsonlOut = Annotated[
    Literal["-"] | None,
    further(
        OUTPUTS,
        "--jsonl",
        help="With -, also write the line of each frame to standard output as soon as it is "
        "tracked; identities are then those of a live run.",
    ),
]
ClassNames = Annotated[
    Path | None,
    further(
        DETECTOR,
        "--names",
        metavar="FILE",
        help="The names of a detector's classes, a line each, where its file does not have them; "
        "or a YAML or JSON file with names.",
    ),
]
OnnxLayout = Annotated[
    str | None,
    further(
        DETECTOR,
        "--onnx-layout",
        metavar="NAME",
        help="What the outputs of an ONNX file mean, if it is not recognised, or wrongly; a wrong "
        "name lists all.",
        show_default="as names and shapes of the outputs tell",
    ),
]
Tiles = Annotated[
    str | None,
    further(
        DETECTOR,
        "--tiles",
        metavar="CxR|auto",
        help="Look for small objects in parts of the frame as well: so many columns and rows, such "
        "as 2x2; auto: as many as are at most 1280 pixels wide and high.",
    ),
]
TileOverlap = Annotated[
    float,
    further(
        DETECTOR, "--tile-overlap", metavar="SHARE", help="Part of a tile that the next one has."
    ),
]
NoNames = Annotated[bool, further(OUTPUTS, "--no-names", help="Do not draw the names of classes.")]
NoJsonl = Annotated[bool, further(OUTPUTS, "--no-jsonl", help="Do not write tracks.jsonl.")]
SaveEmbeddings = Annotated[
    bool,
    further(
        OUTPUTS,
        "--save-embeddings",
        help="Write embeddings.masa (boxes, embeddings, camera motion), for masa retrack.",
    ),
]
Preview = Annotated[
    bool,
    further(
        OUTPUTS,
        "--preview",
        help="Show each frame in a window once it is tracked (q stops), as in a live run.",
    ),
]


def track(
    ctx: typer.Context,
    sources: options.Sources = None,
    dets: options.Dets = None,
    prompt: options.Prompt = None,
    prompt_file: options.PromptFile = None,
    follow: FollowOption = [],  # noqa: B006 - Typer copies it
    output: options.Output = None,
    dets_format: options.DetsFormat = "auto",
    dets_images: options.DetsImages = None,
    detector: options.DetectorName = "auto",
    names: ClassNames = None,
    onnx_layout: OnnxLayout = None,
    tiles: Tiles = None,
    tile_overlap: TileOverlap = 0.2,
    min_score: options.MinScore = None,
    max_overlap: options.MaxOverlap = None,
    classes: options.Classes = "",
    roi: options.Roi = None,
    ignore: options.Ignore = None,
    region_by: options.RegionBy = "centre",
    min_area: options.MinArea = 0.0,
    min_track_length: options.MinTrackLength = 1,
    adapter: options.Adapter = None,
    preprocessing: options.Preprocessing = "demo",
    imgsz: options.ImageSide = None,
    weights_dir: options.WeightsDir = None,
    association: options.Association = None,
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    gallery: GalleryFile = None,
    max_false_matches: MaxFalseMatches = None,
    same_time: SameTime = None,
    masks: options.Masks = False,
    segmenter: options.SegmenterName = None,
    fit_boxes: options.FitBoxes = False,
    masks_png: options.MasksPng = False,
    refine: options.Refine = True,
    clean_up: options.CleanUp = False,
    video: options.Video = True,
    mot: options.Mot = True,
    jsonl: JsonlOut = None,
    no_jsonl: NoJsonl = False,
    preview: Preview = False,
    save_embeddings: SaveEmbeddings = False,
    mot_classes: options.MotClasses = False,
    also: options.Also = "",
    trails: options.Trails = 0,
    no_names: NoNames = False,
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
    jobs: JobsOption = 1,
    engine: EngineOption = "local",
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    trace: options.Trace = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Track the objects of a video, given their boxes or their names, or what is pointed at.

    Writes into the output folder: <name>.mp4 (annotated video), <name>.txt (MOTChallenge results)
    and tracks.jsonl (everything). Ctrl-C finishes the frame in hand and keeps what was tracked for
    --resume; a second Ctrl-C stops at once.
    """
    asked = dict(locals())
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.jobs.inputs import check_one_given, parse_opening
    from masa_cli.jobs.losses import warn_of_losses
    from masa_cli.jobs.plan import Options, plan_job

    if jsonl and json:
        raise UsageError("--json and --jsonl - both write to standard output", fix="choose one")
    if not (follow and (dets, prompt, prompt_file) == (None, None, None)):
        check_one_given(dets, prompt, prompt_file, detector)
    locations = expanded(sources or [])
    if len(locations) > 1:
        if follow:
            raise UsageError("--follow points into one video", fix="track one of them alone")
        if trace:
            raise UsageError("--trace is of one video", fix="track one of them alone with it")
        parse_opening(  # here only to be checked
            locations,
            fps=fps,
            patience=reconnect,
            video_size=video_size,
            pixel_format=pixel_format,
        )
        track_many(
            ctx,
            locations,
            dets=dets,
            output=output,
            jobs=jobs,
            engine=engine,
            quiet=quiet,
            json=json,
        )
        return
    with messages(quiet=quiet or json):
        source = locations[0] if locations else None
        asked["dets"] = dets = detections_of(source, dets)
        job = plan_job(
            Options.of(
                asked | {"names": not no_names, "class_names": names},
                source=source,
                jsonl=not no_jsonl,
                command=sys.argv,
            )
        )
        work = work_for(
            job,
            overwrite=overwrite,
            resume=resume,
            trace=trace,
            lines_out=bool(jsonl),
            preview=preview,
        )
        num_frames = job.input.source.info.num_frames
        summary = run_and_report(work, num_frames, quiet=quiet or bool(jsonl), json=json)
        if not follow:
            warn_of_losses(dets, job, summary)


def work_for(
    job: TrackJob,
    *,
    overwrite: bool,
    resume: bool,
    trace: Path | None = None,
    lines_out: bool = False,
    preview: bool = False,
) -> Callable[[RunProgress], Summary]:
    """The work for `run_and_report`: of both passes, or of a live run where that is needed.

    Args:
        job: what to do.
        overwrite: replace earlier results.
        resume: go on with an interrupted run.
        trace: file for a timeline of the run.
        lines_out: whether each frame's line goes to standard output.
        preview: whether each frame is shown in a window.

    Raises:
        SettingsError: these do not go together, or a window is wanted, but there is no display.
        OutputError: the trace would replace something.
    """
    from masa_cli.jobs.record import traced
    from masa_cli.jobs.run import run
    from masa_cli.sources import is_live

    if overwrite and resume:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
    if not (lines_out or preview or is_live(job.input.source)):
        work: Callable[[RunProgress], Summary] = partial(
            run, job, overwrite=overwrite, resume=resume
        )
    elif resume:
        raise SettingsError(
            "--resume goes on with the run of a file, but these frames are finished one by one",
            fix="leave out --resume",
        )
    else:
        work = _live_work(job, lines_out=lines_out, preview=preview, overwrite=overwrite)
    outputs = job.outputs
    return traced(
        work,
        trace,
        inputs=job.input.files,
        outputs=[*outputs.wanted(), outputs.tracks, outputs.spool, outputs.record],
        replaces=overwrite or resume,
    )


def _live_work(
    job: TrackJob, *, lines_out: bool, preview: bool, overwrite: bool
) -> Callable[[RunProgress], Summary]:
    """Tracks frame by frame, for sinks that see each frame at once."""
    from masa_cli.formats.jsonl import LinesOut
    from masa_cli.jobs.run import run_live
    from masa_cli.render.annotator import Annotator
    from masa_cli.render.video import Preview, check_display

    if preview:
        check_display()

    def work(progress: RunProgress) -> Summary:
        sinks: list[Sink] = []
        with ExitStack() as open_sinks:
            if lines_out:
                sinks.append(LinesOut(sys.stdout.buffer, job.classes, lambda: _leave(progress)))
            if preview:
                annotator = Annotator(job.outputs.drawing)
                window = Preview(annotator, job.classes, progress)
                sinks.append(open_sinks.enter_context(window))
            return run_live(job, progress, more_sinks=tuple(sinks), overwrite=overwrite)

    return work


def _leave(progress: RunProgress) -> None:
    """Nobody reads standard output any more: end the run as if asked to."""
    progress.stop_requested = True
    # Or Python complains at its end that it cannot flush what is left.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
