"""`masa track`: a video and detections in, identities out."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from masa_cli.cli import options
from masa_cli.cli import options as box_options
from masa_cli.cli import options as source_options
from masa_cli.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from masa_cli.formats.tables import DetectionTable
    from masa_cli.jobs.job import TrackJob
    from masa_cli.pipeline import Sink
    from masa_cli.progress import RunProgress, Summary

logger = logging.getLogger(__name__)


def track(
    ctx: typer.Context,
    sources: source_options.Sources = None,
    dets: box_options.Dets = None,
    prompt: box_options.Prompt = None,
    prompt_file: box_options.PromptFile = None,
    output: options.Output = None,
    dets_format: box_options.DetsFormat = "auto",
    dets_images: box_options.DetsImages = None,
    detector: box_options.DetectorName = "auto",
    min_score: box_options.MinScore = None,
    max_overlap: box_options.MaxOverlap = None,
    classes: box_options.Classes = "",
    roi: box_options.Roi = None,
    ignore: box_options.Ignore = None,
    region_by: box_options.RegionBy = "centre",
    min_area: box_options.MinArea = 0.0,
    min_track_length: box_options.MinTrackLength = 1,
    adapter: options.Adapter = None,
    preparation: options.Preparation = "demo",
    imgsz: options.ImageSide = None,
    weights_dir: options.WeightsDir = None,
    association: options.Association = None,
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    masks: options.Masks = False,
    segmenter: options.SegmenterName = None,
    tighten: options.Tighten = False,
    masks_png: options.MasksPng = False,
    relink: options.Relink = True,
    clean_up: options.CleanUp = False,
    video: options.Video = True,
    mot: options.Mot = True,
    jsonl: options.JsonlOut = None,
    no_jsonl: options.NoJsonl = False,
    preview: options.Preview = False,
    save_embeddings: options.SaveEmbeddings = False,
    mot_classes: options.MotClasses = False,
    also: options.Also = "",
    trails: options.Trails = 0,
    names: options.Names = True,
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
    jobs: options.Jobs = 1,
    engine: options.EngineName = "local",
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Track the objects of a video, given their boxes or their names.

    Writes into the output folder: <name>.mp4 (annotated video), <name>.txt (MOTChallenge results)
    and tracks.jsonl (everything). Ctrl-C finishes the frame in hand and keeps what was tracked for
    --resume; a second Ctrl-C stops at once.
    """
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.cli.many import expanded, track_many
    from masa_cli.cli.values import build_selection
    from masa_cli.formats import parse_names
    from masa_cli.jobs import inputs as box_sources
    from masa_cli.jobs.choose import plan_masks
    from masa_cli.jobs.inputs import excerpt_of, parse_opening
    from masa_cli.jobs.job import Results, TrackJob
    from masa_cli.jobs.run import run
    from masa_cli.render.annotator import DrawingSettings
    from masa_cli.sources import is_live

    if jsonl and json:
        raise UsageError("--json and --jsonl - both write to standard output", fix="choose one")
    if overwrite and resume:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
    box_sources.check_one_given(dets, prompt, prompt_file)
    locations = expanded(sources or [])
    opening = parse_opening(
        locations,
        fps=fps,
        patience=reconnect,
        video_size=video_size,
        pixel_format=pixel_format,
    )
    if len(locations) > 1:
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
    source = locations[0] if locations else None
    with messages(quiet=quiet or json):
        part = partial(excerpt_of, start=start, end=end, every=every)
        selection = build_selection(classes, roi, ignore, region_by, min_area)
        if dets:
            boxes = box_sources.from_file(
                source,
                dets,
                format=dets_format,
                images=dets_images,
                min_score=min_score,
                opening=opening,
                part=part,
            )
        else:
            boxes = box_sources.from_prompt(
                source,
                prompt,
                prompt_file,
                model=detector,
                min_score=min_score,
                max_overlap=max_overlap,
                weights_dir=weights_dir,
                association=association or "hybrid",
                opening=opening,
                part=part,
            )
        info = boxes.frames.info
        association = association or ("hybrid" if info.width > 0 else "motion")
        adapter = adapter or boxes.adapter
        weights = Path(adapter) if Path(adapter).is_file() else None
        outlines = plan_masks(segmenter, weights_dir, adapter) if masks or segmenter else None
        job = TrackJob(
            source=boxes.frames,
            detector=boxes.detector,
            results=Results(
                output or Path(info.name),
                info.name,
                wants_video=video and info.width > 0,
                wants_mot=mot,
                wants_tracks=not no_jsonl,
                wants_embeddings=save_embeddings,
                wants_id_maps=masks_png,
                also=parse_names(also),
            ),
            origin=boxes.origin,
            adapter=adapter,
            preparation=preparation,
            side=imgsz,
            weights_dir=weights_dir,
            association=association,
            changes=(*boxes.usual.get(association, ()), *changes),
            device=device,
            precision=precision,
            batch_size=batch_size,
            drawing=DrawingSettings(names=names, scores=scores, trail_frames=trails),
            segmenter=outlines,
            tightens=tighten,
            min_track_length=min_track_length,
            refine=relink,
            clean_up=clean_up,
            mot_classes=mot_classes,
            inputs=(
                *boxes.inputs,
                *(path for path in (boxes.origin, weights, roi, ignore) if path),
            ),
            facts=(*boxes.facts, ("part", f"{start} to {end}, every {every}")),
            found_by=boxes.found_by,
            selection=selection,
        )
        if jsonl or preview or is_live(boxes.frames):
            work = live_work(job, lines_out=bool(jsonl), preview=preview, overwrite=overwrite)
            refuse_resume(resume)
        else:
            work = partial(run, job, overwrite=overwrite, resume=resume)
        summary = run_and_report(work, info.num_frames, quiet=quiet or bool(jsonl), json=json)
        if dets and boxes.table is not None:
            _warn_of_losses(dets, boxes.table, summary)


def _warn_of_losses(dets: Path, table: DetectionTable, summary: Summary) -> None:
    """Say which detections of a file came to nothing."""
    if not summary.num_tracks and len(table):
        logger.warning(
            "%s: nothing was tracked: scores of its %d boxes reach %g, which is below what "
            "starts a track; lower birth_score with --set",
            dets,
            len(table),
            table.scores.max(),
        )
    if num_late := table.before(summary.num_frames)[1]:
        logger.warning(
            "%s: %d boxes of frames past the last one (%d) were dropped; frames count from 1 "
            "in MOTChallenge files, from 0 in the others",
            dets,
            num_late,
            summary.num_frames - 1,
        )


def live_work(
    job: TrackJob, *, lines_out: bool, preview: bool, overwrite: bool
) -> Callable[[RunProgress], Summary]:
    """The work for `run_and_report`.

    Args:
        job: what to do.
        lines_out: whether each frame's line goes to standard output.
        preview: whether each frame is shown in a window.
        overwrite: replace earlier results.

    Raises:
        SettingsError: a window is wanted, but there is no display.
    """
    from masa_cli.formats.jsonl import LinesOut
    from masa_cli.jobs.run import run_live
    from masa_cli.render.annotator import Annotator
    from masa_cli.render.video import Preview, check_display

    if preview:
        check_display()

    def work(watch: RunProgress) -> Summary:
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


def _leave(watch: RunProgress) -> None:
    """Nobody reads standard output any more: end the run as if asked to."""
    watch.stop_requested = True
    # Or Python complains at its end that it cannot flush what is left.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
