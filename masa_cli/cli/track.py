"""`masa track`: a video and detections in, identities out."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from masa_cli.cli import options
from masa_cli.errors import SettingsError

logger = logging.getLogger(__name__)


def track(
    dets: options.Dets,
    source: options.Source = None,
    output: options.Output = None,
    dets_format: options.DetsFormat = "auto",
    dets_images: options.DetsImages = None,
    min_score: options.MinScore = -math.inf,
    adapter: options.Adapter = "raw",
    preparation: options.Preparation = "demo",
    weights_dir: options.WeightsDir = None,
    association: options.Association = None,
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    clean_up: options.CleanUp = False,
    video: options.Video = True,
    mot: options.Mot = True,
    jsonl: options.Jsonl = True,
    mot_classes: options.MotClasses = False,
    also: options.Also = "",
    trails: options.Trails = 0,
    names: options.Names = True,
    scores: options.Scores = True,
    fps: options.FrameRate = None,
    batch_size: options.BatchSize = 1,
    device: options.DeviceName = "auto",
    precision: options.PrecisionName = "float32",
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Track the objects of a video, given their boxes.

    Writes into the output folder: <name>.mp4 (annotated video), <name>.txt (MOTChallenge results)
    and tracks.jsonl (everything). Ctrl-C finishes the frame in hand and keeps what was tracked for
    --resume; a second Ctrl-C stops at once.
    """
    from masa_cli.cli.console import messages  # noqa: PLC0415 - heavy, only to run
    from masa_cli.cli.inputs import open_inputs, warn_of_oddities  # noqa: PLC0415
    from masa_cli.cli.report import run_and_report  # noqa: PLC0415
    from masa_cli.detectors.from_file import FromFile  # noqa: PLC0415
    from masa_cli.drawing import DrawingSettings  # noqa: PLC0415
    from masa_cli.formats.also import parse_names  # noqa: PLC0415
    from masa_cli.formats.detections import read_detections  # noqa: PLC0415
    from masa_cli.job import TrackJob  # noqa: PLC0415
    from masa_cli.results import Results  # noqa: PLC0415
    from masa_cli.runner import run  # noqa: PLC0415

    if overwrite and resume:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
    with messages(quiet=quiet or json):
        table = read_detections(dets, format=dets_format, images=dets_images)
        table, _ = table.scored(min_score)
        warn_of_oddities(dets, table)
        inputs = open_inputs(source, dets, table, fps)
        info = inputs.frames.info
        weights = Path(adapter) if Path(adapter).is_file() else None
        job = TrackJob(
            source=inputs.frames,
            detector=FromFile(inputs.table),
            results=Results(
                output or Path(info.name),
                info.name,
                wants_video=video and info.width > 0,
                wants_mot=mot,
                wants_tracks=jsonl,
                also=parse_names(also),
            ),
            origin=inputs.origin,
            adapter=adapter,
            preparation=preparation,
            weights_dir=weights_dir,
            association=association or ("hybrid" if info.width > 0 else "motion"),
            changes=tuple(changes),
            device=device,
            precision=precision,
            batch_size=batch_size,
            drawing=DrawingSettings(names=names, scores=scores, trail_frames=trails),
            clean_up=clean_up,
            mot_classes=mot_classes,
            inputs=tuple(path for path in (dets, dets_images, inputs.origin, weights) if path),
            facts=(("--min-score", str(min_score)), ("--dets-format", dets_format)),
        )
        summary = run_and_report(
            lambda watch: run(job, watch, overwrite=overwrite, resume=resume),
            info.num_frames,
            quiet=quiet,
            json=json,
        )
        if not summary.num_tracks and len(inputs.table):
            logger.warning(
                "%s: nothing was tracked: scores of its %d boxes reach %g, which is below what "
                "starts a track; lower birth_score with --set",
                dets,
                len(inputs.table),
                inputs.table.scores.max(),
            )
        if num_late := inputs.table.before(summary.num_frames)[1]:
            logger.warning(
                "%s: %d boxes of frames past the last one (%d) were dropped; frames count from 1 "
                "in MOTChallenge files, from 0 in the others",
                dets,
                num_late,
                summary.num_frames - 1,
            )
