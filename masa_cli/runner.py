"""A job from its settings to its files: both passes, and the second alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from masa_cli.annotation import AnnotatedVideo
from masa_cli.detectors import Detector
from masa_cli.detectors.selected import Selected
from masa_cli.detectors.text_search import TextSearch
from masa_cli.drawing import Annotator, DrawingSettings
from masa_cli.errors import Interrupted
from masa_cli.formats.also import open_writer
from masa_cli.formats.embeddings_file import EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.spool import Checkpoint, Spool
from masa_cli.formats.trace_json import TracedReader
from masa_cli.formats.tracks_jsonl import TracksReader, TracksWriter
from masa_cli.formats.video import VideoWriter
from masa_cli.hybrid.settings import HybridSettings
from masa_cli.hybrid.tracker import HybridTracker
from masa_cli.job import TrackJob
from masa_cli.pipeline import (
    Sink,
    cleaned,
    deliver,
    lengths,
    long_enough,
    looked_at_twice,
    track,
    with_pictures,
    without_pictures,
)
from masa_cli.replay import Keeping, Recording, Replaying, offset_in
from masa_cli.results import make_folder, refuse_existing, refuse_inputs
from masa_cli.selection import Selection
from masa_cli.sources import Source
from masa_cli.structures import State, Tracks
from masa_cli.summary import Summary, Tally
from masa_cli.trackers import MOTION, Associator, NoAppearance, build_tracker
from masa_cli.watch import Watch

if TYPE_CHECKING:
    from masa_cli.models.adapter import Adapter
    from masa_cli.models.frame_features import FrameFeatures

logger = logging.getLogger(__name__)


def run(job: TrackJob, watch: Watch, *, overwrite: bool = False, resume: bool = False) -> Summary:
    """Check, then both passes of a job.

    Args:
        job: what to do.
        watch: is told of the progress, and may ask to stop.
        overwrite: replace earlier results.
        resume: go on from the checkpoint of an interrupted run, if there is one.

    Raises:
        MasaError: of any stage; what was tracked so far stays in the spool.
        Interrupted: the watch was asked to stop.
    """
    with watch.stage("load"):
        job.check()
    results = job.results
    results.prepare(inputs=job.inputs, overwrite=overwrite, resume=resume)
    checkpoint = _checkpoint(job) if resume else None
    tally = Tally()
    try:
        if checkpoint is None or not checkpoint.complete:
            _first_pass(job, watch, checkpoint)
        _second_pass(job, tally, watch)
    except Interrupted as interruption:
        raise Interrupted(
            f"{interruption.kept} in {results.folder}; add --resume to the command to go on"
        ) from None
    _conclude(job)
    return tally.summary(results.wanted())


def render(
    source: Source,
    tracks: Path,
    output: Path,
    watch: Watch,
    *,
    origin: Path,
    drawing: DrawingSettings,
    overwrite: bool = False,
) -> Summary:
    """Draw the tracks of a tracks.jsonl: the second pass alone.

    Args:
        source: frames of the video.
        tracks: a tracks.jsonl, or its `.part`.
        output: the mp4 to write.
        watch: is told of the progress, and may ask to stop.
        origin: file or folder of the source.
        drawing: what the video shows.
        overwrite: replace an earlier video.

    Raises:
        MasaError: what is read is wrong, or the video cannot be written.
        Interrupted: the watch was asked to stop.
    """
    refuse_inputs([output], [origin, tracks])
    if not overwrite:
        refuse_existing([output])
    reader = TracksReader(tracks)
    next(iter(reader), None)  # a wrong file is found before anything is written
    make_folder(output.parent)
    tally = Tally()
    with _annotated_video(source, lambda: reader.classes, output, origin, drawing, watch) as video:
        deliver(with_pictures(source, reader, watch=watch), [tally, video], watch=watch)
    return tally.summary([output])


def _checkpoint(job: TrackJob) -> Checkpoint | None:
    """Where the interrupted run stood; None, said aloud, if there is no such run."""
    if not job.results.checkpoint.exists():
        logger.warning("nothing to resume in %s: starting from the first frame", job.results.folder)
        return None
    checkpoint = Checkpoint.read(job.results.checkpoint)
    checkpoint.check(job.conditions)
    if checkpoint.complete:
        logger.info("resuming: all frames are tracked, the results are to be written")
    else:
        logger.info("resuming at frame %d", checkpoint.next_frame)
    return checkpoint


def _first_pass(job: TrackJob, watch: Watch, checkpoint: Checkpoint | None) -> None:
    states = checkpoint.states if checkpoint else {}
    with watch.stage("load"):
        detector, features = _build_detector(job)
        if job.selection != Selection():
            detector = Selected(detector, job.selection)
        embedder = _build_embedder(job, features, states.get("embedder"))
    results = job.results
    with ExitStack() as files:
        tracker = _build_tracker(job, embedder.temperature, states.get("tracker"), files)
        spool = files.enter_context(
            Spool(
                results.tracks, results.checkpoint, job.detector.classes, job.conditions, checkpoint
            )
        )
        track(
            job.recording or job.source,
            detector,
            embedder,
            tracker,
            spool,
            watch=watch,
            batch_size=job.batch_size,
            traced=job.looks_twice,
        )


def _build_tracker(
    job: TrackJob, temperature: float, state: State | None, files: ExitStack
) -> Associator:
    """The tracker, between what writes down or gives again what it is given, where wanted."""
    tracker = build_tracker(job.association, changes=job.tracker_changes, temperature=temperature)
    if job.recording is not None:
        tracker = Replaying(tracker, job.recording)
    elif job.results.wants_embeddings:
        kept = Kept(
            job.source.info, job.detector.classes, temperature, job.found_by, dict(job.facts)
        )
        writer = EmbeddingsWriter(
            job.results.embeddings, kept, resume_at=offset_in(state) if state else None
        )
        tracker = Keeping(tracker, files.enter_context(writer))
    if state is not None:
        tracker.restore(state)
    return tracker


def _build_detector(job: TrackJob) -> tuple[Detector, FrameFeatures | None]:
    """The detector, and what its backbone sees, if it has one."""
    if not isinstance(job.detector, TextSearch):
        return job.detector, None
    from masa_cli.detectors.grounding_dino import build_text_detector  # noqa: PLC0415 - torch

    detector = build_text_detector(
        job.detector, device=job.device, precision=job.precision, preparation=job.preparation
    )
    return detector, detector.features


def _build_embedder(
    job: TrackJob, features: FrameFeatures | None, state: State | None
) -> Adapter | NoAppearance | Recording:
    """The adapter; on the detector's own backbone where both are of one file."""
    if job.recording is not None:
        return job.recording
    if job.association == MOTION:
        return NoAppearance()
    from masa_cli.models.adapter import build_adapter, resolve  # noqa: PLC0415 - imports torch

    name, weights = resolve(job.adapter, job.weights_dir)
    search = job.detector
    is_shared = isinstance(search, TextSearch) and (search.model, search.weights) == (name, weights)
    adapter = build_adapter(
        name,
        weights=weights,
        device=job.device,
        precision=job.precision,
        preparation=job.preparation,
        features=features if is_shared else None,
    )
    if state is not None:
        adapter.restore(state)
    return adapter


def _second_pass(job: TrackJob, tally: Tally, watch: Watch) -> None:
    results, info = job.results, job.source.info
    tracks = _finished(job)
    if job.min_track_length > 1:
        tracks = long_enough(tracks, lengths(_finished(job)), job.min_track_length)
    with ExitStack() as stack:
        sinks: list[Sink] = [tally]
        if results.wants_mot:
            mot = MotWriter(results.mot, with_classes=job.mot_classes)
            sinks.append(stack.enter_context(mot))
        for name in results.also:
            path, classes = results.in_format(name), job.detector.classes
            sinks.append(stack.enter_context(open_writer(name, path, info=info, classes=classes)))
        if results.wants_tracks and job.changes_spool:
            # Beside the spool, which a resumed run needs as it is.
            sinks.append(stack.enter_context(TracksWriter(results.finished, job.detector.classes)))
        if results.wants_video:
            video = _annotated_video(
                job.source,
                lambda: job.detector.classes,
                results.video,
                job.origin,
                job.drawing,
                watch,
            )
            sinks.append(stack.enter_context(video))
            deliver(with_pictures(job.source, tracks, watch=watch), sinks, watch=watch)
        else:
            deliver(without_pictures(tracks), sinks, watch=watch)


def _finished(job: TrackJob) -> Iterable[tuple[int, float, Tracks]]:
    """The tracks of the first pass, after all that is wanted of the whole video."""
    spool, classes, info = job.results.spool, job.detector.classes, job.source.info
    tracks: Iterable[tuple[int, float, Tracks]] = TracksReader(spool, classes)
    if job.looks_twice:
        tracker = HybridTracker(HybridSettings())
        tracker.restore(Checkpoint.read(job.results.checkpoint).states["tracker"])
        rest = tracker.open_tracklets()
        tracks = looked_at_twice(
            TracedReader(spool, classes),
            dict(zip(rest.numbers.tolist(), rest.looks, strict=True)),
            job.relink_settings,
            (info.width, info.height),
        )
    return cleaned(tracks, info.width, info.height) if job.clean_up else tracks


def _annotated_video(
    source: Source,
    classes: Callable[[], Sequence[str]],
    output: Path,
    origin: Path | None,
    drawing: DrawingSettings,
    watch: Watch,
) -> AnnotatedVideo:
    sound_from = origin if origin and origin.is_file() else None  # folders of images are silent
    writer = VideoWriter(output, source.info, sound_from=sound_from)
    return AnnotatedVideo(writer, Annotator(drawing), classes, watch)


def _conclude(job: TrackJob) -> None:
    """Give the tracks their name, and end what --resume needs: from here on all is done."""
    results = job.results
    if results.wants_embeddings:
        checkpoint = Checkpoint.read(results.checkpoint)
        offset = offset_in(checkpoint.states["tracker"])
        finish_embeddings(results.embeddings, offset or 0, checkpoint.next_frame)
    if results.wants_tracks:
        os.replace(results.finished if job.changes_spool else results.spool, results.tracks)
    results.spool.unlink(missing_ok=True)
    results.checkpoint.unlink()
