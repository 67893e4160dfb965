"""`masa retrack`: association anew, from what `masa track --save-embeddings` kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli import options as box_options
from masa_cli.cli import options as source_options
from masa_cli.errors import SettingsError

if TYPE_CHECKING:
    from masa_cli.formats.embeddings import Kept
    from masa_cli.structures import VideoInfo

logger = logging.getLogger(__name__)

EmbeddingsFile = Annotated[
    Path,
    typer.Argument(
        help="The embeddings.masa that masa track --save-embeddings wrote.", show_default=False
    ),
]
Video = Annotated[
    Path | None,
    typer.Argument(
        help="The video it was made from, if the annotated video is wanted.", show_default=False
    ),
]
Association = Annotated[
    options.AssociationName,
    typer.Option(
        "--association", "--preset", help="How boxes are joined over time, as in masa track."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the results (default: <name>-<association>, here).",
        show_default=False,
    ),
]


def retrack(
    embeddings: EmbeddingsFile,
    source: Video = None,
    output: Output = None,
    association: Association = "hybrid",
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    relink: options.Relink = True,
    clean_up: options.CleanUp = False,
    min_track_length: box_options.MinTrackLength = 1,
    mot: options.Mot = True,
    jsonl: options.Jsonl = True,
    mot_classes: options.MotClasses = False,
    also: options.Also = "",
    trails: options.Trails = 0,
    names: options.Names = True,
    scores: options.Scores = True,
    fps: source_options.FrameRate = None,
    start: source_options.Start = None,
    end: source_options.End = None,
    every: source_options.Every = 1,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Associate the boxes of an earlier run anew, in seconds: no detector, no network, no video.

    The results are those that masa track --save-embeddings would give with these options.
    """
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.formats import parse_names
    from masa_cli.formats.embeddings import EmbeddingsReader, defaults_in
    from masa_cli.jobs.inputs import excerpt_of
    from masa_cli.jobs.job import Results, TrackJob
    from masa_cli.jobs.run import run
    from masa_cli.render.annotator import DrawingSettings
    from masa_cli.settings import parse_frame_rate
    from masa_cli.sources import open_source

    if overwrite and resume:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
    with messages(quiet=quiet or json):
        recording = EmbeddingsReader(embeddings)
        kept, info = recording.kept, recording.info
        _warn_of_choice(kept, association)
        whole = open_source(source, frame_rate=parse_frame_rate(fps)) if source else None
        video = excerpt_of(whole, start, end, every) if whole else None
        if source and video:
            _check_same(source, video.info, embeddings, info)
        job = TrackJob(
            source=video or recording,
            detector=recording,
            results=Results(
                output or Path(f"{info.name}-{association}"),
                info.name,
                wants_video=video is not None,
                wants_mot=mot,
                wants_tracks=jsonl,
                also=parse_names(also),
            ),
            origin=source,
            association=association,
            changes=(*defaults_in(kept.facts).get(association, ()), *changes),
            drawing=DrawingSettings(names=names, scores=scores, trail_frames=trails),
            refine=relink,
            clean_up=clean_up,
            min_track_length=min_track_length,
            mot_classes=mot_classes,
            inputs=tuple(path for path in (embeddings, source) if path),
            recording=recording,
        )
        run_and_report(
            lambda watch: run(job, watch, overwrite=overwrite, resume=resume),
            info.num_frames,
            quiet=quiet,
            json=json,
        )


def _check_same(source: Path, video: VideoInfo, embeddings: Path, kept: VideoInfo) -> None:
    """Raise SettingsError if a video cannot be the one the embeddings are of."""
    here = (video.width, video.height, video.time_base, video.frame_rate, video.start)
    there = (kept.width, kept.height, kept.time_base, kept.frame_rate, kept.start)
    if here != there:
        raise SettingsError(
            f"{source} is not the video of {embeddings}: {video.width} x {video.height} pixels at "
            f"{float(video.frame_rate):g} frames/s from {float(video.start):g} s on, not "
            f"{kept.width} x {kept.height} at {float(kept.frame_rate):g} from "
            f"{float(kept.start):g} s on",
            fix="give the video that was tracked, with its --start and --every, or none",
        )


def _warn_of_choice(kept: Kept, association: str) -> None:
    """A prompt's boxes are chosen differently for MASA's presets: say when they were not."""
    from masa_cli.detectors.request import EVERYTHING, Choice
    from masa_cli.jobs.choose import PROMPT
    from masa_cli.tracking import find_tracker

    usual = str(EVERYTHING if find_tracker(association).takes_all_boxes else Choice())
    was = kept.facts.get("boxes", usual)
    if kept.found_by == PROMPT and was != usual:
        logger.warning(
            "the boxes were kept by %s, but masa track --association %s takes those by %s: the "
            "results may differ from its own",
            was,
            association,
            usual,
        )
