"""`masa segment-track`: everything in a video, with masks and identities."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli import options as box_options
from masa_cli.cli import options as source_options
from masa_cli.errors import SettingsError

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A video file, a folder of images, - for video on standard input, the number of a "
        "camera, or an address (rtsp://, http:// and the like).",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "--sam",
        metavar="NAME|FILE",
        help="What finds and describes objects: sam-b or sam-h, MASA's adapters with Segment "
        "Anything inside; lite, small and quick; or the file of one.",
        show_default="sam-b or sam-h, whose weights are here, else lite",
    ),
]
ProposalsName = Annotated[
    Literal["adapter", "grid"],
    typer.Option(
        "--proposals",
        help="Where objects come from: boxes of the branch that was trained for it, which masks "
        "are made of; or masks at a grid of 32 x 32 points, as the authors of Segment Anything do "
        "it, which takes far longer.",
    ),
]
MaxObjects = Annotated[int, typer.Option("--max-objects", min=1, help="Of one frame, the best.")]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score",
        help="Leave out objects up to this score, 0 to 1.",
        show_default="0.02, or 0.1 for lite",
    ),
]
MaxOverlap = Annotated[
    float | None,
    typer.Option(
        "--max-overlap",
        help="Of two boxes with a greater IoU, leave out the weaker, 0 to 1.",
        show_default="0.5, or 0.7 for --proposals grid",
    ),
]
MinArea = Annotated[
    float,
    typer.Option(
        "--min-area", metavar="PIXELS", help="Leave out boxes of less than so many square pixels."
    ),
]


def segment_track(
    source: SourceName,
    model: Model = None,
    proposals: ProposalsName = "adapter",
    max_objects: MaxObjects = 50,
    min_score: MinScore = None,
    max_overlap: MaxOverlap = None,
    min_area: MinArea = 0,
    min_track_length: box_options.MinTrackLength = 1,
    tighten: options.Tighten = False,
    masks_png: options.MasksPng = False,
    output: options.Output = None,
    weights_dir: options.WeightsDir = None,
    imgsz: options.ImageSide = None,
    association: options.AppearanceAssociation = "hybrid",
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    relink: options.Relink = True,
    clean_up: options.CleanUp = False,
    video: options.Video = True,
    mot: options.Mot = True,
    jsonl: options.Jsonl = True,
    also: options.Also = "",
    trails: options.Trails = 0,
    scores: options.Scores = True,
    fps: source_options.FrameRate = None,
    video_size: source_options.VideoSize = None,
    pixel_format: source_options.PixelFormatName = None,
    start: source_options.Start = None,
    end: source_options.End = None,
    every: source_options.Every = 1,
    reconnect: source_options.Reconnect = 60.0,
    batch_size: options.BatchSize = 1,
    device: options.DeviceName = "auto",
    precision: options.PrecisionName = "float32",
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Find, outline and track everything in a video, whatever it is.

    Each frame is looked at once: the model finds the objects in what it sees, and the same maps
    tell them apart. Masks are made by the decoder of Segment Anything, or by the small network that
    lite has for them. Writes what masa track writes, with masks.
    """
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.cli.track import live_work, refuse_resume
    from masa_cli.formats import parse_names
    from masa_cli.jobs.choose import ChoiceGiven, plan_everything
    from masa_cli.jobs.inputs import excerpt_of, parse_opening
    from masa_cli.jobs.job import Results, TrackJob
    from masa_cli.jobs.run import run
    from masa_cli.render.annotator import DrawingSettings
    from masa_cli.sources import is_live

    if overwrite and resume:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
    with messages(quiet=quiet or json):
        formats = parse_names(also)
        given = ChoiceGiven(min_score, max_overlap, max_objects, min_area)
        opening = parse_opening(
            [source],
            fps=fps,
            patience=reconnect,
            video_size=video_size,
            pixel_format=pixel_format,
        )
        frames = excerpt_of(opening.open(source), start, end, every)
        origin = None if is_live(frames) else Path(source)
        plan = plan_everything(model, weights_dir, proposals, given)
        search = plan.search
        info = frames.info
        job = TrackJob(
            source=frames,
            detector=search,
            results=Results(
                output or Path(info.name),
                info.name,
                wants_video=video,
                wants_mot=mot,
                wants_tracks=jsonl,
                wants_id_maps=masks_png,
                also=formats,
            ),
            origin=origin,
            adapter=str(search.weights),
            weights_dir=weights_dir,
            side=imgsz,
            association=association,
            changes=(*plan.usual.get(association, ()), *changes),
            device=device,
            precision=precision,
            batch_size=batch_size,
            drawing=DrawingSettings(scores=scores, trail_frames=trails),
            segmenter=plan.outlines,
            tightens=tighten,
            min_track_length=min_track_length,
            refine=relink,
            clean_up=clean_up,
            inputs=(*([origin] if origin else []), search.weights),
            facts=(
                ("--proposals", proposals),
                ("objects", str(search.choice)),
                ("part", f"{start} to {end}, every {every}"),
            ),
        )
        if is_live(frames):
            work = live_work(job, lines_out=False, preview=False, overwrite=overwrite)
            refuse_resume(resume)
        else:
            work = partial(run, job, overwrite=overwrite, resume=resume)
        run_and_report(work, info.num_frames, quiet=quiet, json=json)
