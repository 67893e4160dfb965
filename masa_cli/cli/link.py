"""`masa link` and `masa refine`: decided anew for all at once, over many runs or within one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.command import IDENTITY, INPUT, OUTPUTS, RUNNING, further, option
from masa_cli.cli.convert import From, Tracks
from masa_cli.cli.many import EngineName
from masa_cli.formats import AUTO
from masa_cli.tracking import DEFAULT_FALSE_MATCHES

Runs = Annotated[
    list[Path],
    typer.Argument(
        rich_help_panel=INPUT,
        metavar="FOLDER",
        help="Results of masa track --save-embeddings, or a folder that holds such folders.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    option(OUTPUTS, "--output", "-o", help="Folder for the results.", show_default=False),
]
MaxFalseMatches = Annotated[
    float,
    option(
        IDENTITY,
        "--max-false-matches",
        metavar="SHARE",
        help="Of objects that were seen but once, so many may be taken for another one.",
    ),
]
SameTime = Annotated[
    str | None,
    option(
        IDENTITY,
        "--same-time",
        metavar="TIMES",
        help="The videos were filmed at the same time, by cameras with other views, and begin at "
        "these times of one clock: 0,0,2.5, or 0 for all. Nothing is in two of them at once.",
        show_default="nothing is known of when they were filmed",
    ),
]
SaveEmbeddings = Annotated[
    bool, further(OUTPUTS, "--save-embeddings", help="Keep the embeddings of all boxes.")
]
Engine = Annotated[
    EngineName,
    further(
        RUNNING,
        "--engine",
        help="Where tracks are compared: on this machine, or on a Ray cluster.",
    ),
]


def link(
    runs: Runs,
    output: Output,
    max_false_matches: MaxFalseMatches = DEFAULT_FALSE_MATCHES,
    same_time: SameTime = None,
    engine: Engine = "local",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Give the tracks of several videos common ids, from the embeddings that were kept.

    Decided for all at once: two tracks are one if they are more similar than impostor pairs, and
    were not seen at the same time. Writes tracks.jsonl and MOTChallenge text for each run, and
    identities.json, which lists where each identity was seen, and who may be somebody else.
    """
    from dataclasses import asdict

    from masa_cli.cli.console import messages, show, show_json
    from masa_cli.jobs.link import compare_on_ray, expanded, find_runs, link_runs
    from masa_cli.jobs.with_gallery import recognition_settings
    from masa_cli.settings import parse_time
    from masa_cli.tracking.recognition import pairs_above

    with messages(quiet=quiet or json):
        settings = recognition_settings(max_false_matches)
        starts = None
        if same_time is not None:
            starts = [float(parse_time(each, "--same-time") or 0) for each in same_time.split(",")]
        found = find_runs(expanded(runs), starts)
        compare = compare_on_ray if engine == "ray" else pairs_above
        summary = link_runs(found, output, settings, compare=compare, overwrite=overwrite)
    if json:
        show_json(asdict(summary))
    elif not quiet:
        show(
            f"{output}: {summary.num_tracks} tracks of {summary.num_runs} runs are "
            f"{summary.num_identities} identities, {summary.num_shared} of them in several runs; "
            f"{summary.num_unsure} pairs are unsure"
        )


Video = Annotated[
    Path,
    option(INPUT, "--video", help="The video of the tracks, or its folder of frames."),
]
RefineOutput = Annotated[
    Path | None,
    option(
        OUTPUTS, "--output", "-o", help="Folder for the results.", show_default="<name>-refined"
    ),
]
Split = Annotated[
    bool,
    option(
        IDENTITY,
        "--split/--no-split",
        help="Split tracks where they were lost or occluded, or have another appearance from one "
        "moment on, before they are linked anew.",
    ),
]
AnnotatedVideo = Annotated[
    bool, option(OUTPUTS, "--annotate/--no-annotate", help="Write the annotated video.")
]


def refine(
    tracks: Tracks,
    video: Video,
    output: RefineOutput = None,
    reads: From = AUTO,
    split: Split = True,
    max_false_matches: MaxFalseMatches = DEFAULT_FALSE_MATCHES,
    adapter: options.Adapter = None,
    preprocessing: options.Preprocessing = "demo",
    imgsz: options.ImageSide = None,
    weights_dir: options.WeightsDir = None,
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    annotate: AnnotatedVideo = False,
    save_embeddings: SaveEmbeddings = False,
    also: options.Also = "",
    mot_classes: options.MotClasses = False,
    fps: options.FrameRate = None,
    batch_size: options.BatchSize = 1,
    device: options.DeviceName = "auto",
    precision: options.PrecisionName = "auto",
    runtime: options.RuntimeName = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Refine the tracks of any tool offline: split where they switch, link anew, interpolate gaps.

    Embeddings of all boxes are computed from the video. Ids stay as far as they can. Writes
    tracks.jsonl, MOTChallenge text, and changes.json, which lists what was split and joined.
    """
    import sys
    from functools import partial

    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.jobs.plan import Options
    from masa_cli.jobs.refine import plan_refinement, refine_tracks
    from masa_cli.jobs.with_gallery import recognition_settings

    with messages(quiet=quiet or json):
        folder = output or Path(f"{tracks.name.partition('.')[0]}-refined")
        asked = Options(
            source=video,
            output=folder,
            adapter=adapter,
            preprocessing=preprocessing,
            imgsz=imgsz,
            weights_dir=weights_dir,
            changes=tuple(changes),
            video=annotate,
            save_embeddings=save_embeddings,
            also=also,
            mot_classes=mot_classes,
            fps=fps,
            batch_size=batch_size,
            device=device,
            precision=precision,
            runtime=runtime,
            threads=threads,
            command=tuple(sys.argv),
        )
        settings = recognition_settings(max_false_matches)
        planned = plan_refinement(tracks, asked, reads=reads, splits=split, settings=settings)
        num_frames = planned.job.input.source.info.num_frames
        work = partial(refine_tracks, planned, overwrite=overwrite)
        run_and_report(work, num_frames, quiet=quiet, json=json)
