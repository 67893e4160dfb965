"""A job from its settings to its files: both passes, and the second alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from masa_cli.errors import Interrupted, SettingsError
from masa_cli.formats import open_tracks, open_writer
from masa_cli.formats.embeddings import EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.jsonl import TracksReader, TracksWriter
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.mots import IdMapWriter
from masa_cli.formats.spool import Checkpoint, Spool, TracedReader
from masa_cli.jobs.build import assemble
from masa_cli.jobs.job import TrackJob
from masa_cli.jobs.replay import Keeping, Replaying, offset_in
from masa_cli.pipeline import (
    FRAMES_AHEAD,
    Sink,
    cleaned,
    deliver,
    lasting,
    looked_at_twice,
    stream,
    track,
    tracked,
    with_pictures,
    without_pictures,
)
from masa_cli.progress import Summary, Tally, Watch
from masa_cli.render.annotator import Annotator, DrawingSettings
from masa_cli.render.video import AnnotatedVideo, VideoWriter
from masa_cli.sources import Source, is_live
from masa_cli.sources.prefetch import live, prefetch
from masa_cli.structures import Frame, State, Tracks
from masa_cli.tracking import Associator, build_tracker
from masa_cli.tracking.hybrid import HybridSettings, HybridTracker

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
    """Draw tracks that exist: the second pass alone.

    Args:
        source: frames of the video.
        tracks: a tracks.jsonl, or its `.part`, or any other format of tracks.
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
    info = source.info
    reader = open_tracks(tracks, (info.width, info.height), 1 / info.frame_rate)
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
        networks = assemble(job, states.get("embedder"))
    results = job.results
    with ExitStack() as files:
        tracker = _build_tracker(job, networks.embedder.temperature, states.get("tracker"), files)
        spool = files.enter_context(
            Spool(
                results.tracks, results.checkpoint, job.detector.classes, job.conditions, checkpoint
            )
        )
        track(
            job.recording or job.source,
            networks.detector,
            networks.embedder,
            tracker,
            spool,
            watch=watch,
            outliner=networks.outliner,
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


def _second_pass(job: TrackJob, tally: Tally, watch: Watch) -> None:
    results, info = job.results, job.source.info
    tracks = _finished(job)
    with ExitStack() as stack:
        sinks: list[Sink] = [tally]
        if results.wants_mot:
            mot = MotWriter(results.mot, with_classes=job.mot_classes)
            sinks.append(stack.enter_context(mot))
        for name in results.also:
            path, classes = results.in_format(name), job.detector.classes
            sinks.append(stack.enter_context(open_writer(name, path, info=info, classes=classes)))
        if results.wants_id_maps:
            sinks.append(stack.enter_context(IdMapWriter(results.id_maps, info=info)))
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
    info = job.source.info
    tracks = _lasting(job) if job.least_frames > 1 else _of_first_pass(job)
    return cleaned(tracks, info.width, info.height) if job.clean_up else tracks


def _lasting(job: TrackJob) -> Iterable[tuple[int, float, Tracks]]:
    return lasting(lambda: _of_first_pass(job), job.least_frames)


def _of_first_pass(job: TrackJob) -> Iterable[tuple[int, float, Tracks]]:
    """Under their final identities."""
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
    return tracks


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


def run_live(
    job: TrackJob, watch: Watch, *, more_sinks: tuple[Sink, ...] = (), overwrite: bool = False
) -> Summary:
    """Track and write frame by frame; when the watch asks to stop, the results are complete.

    The video is written in fragments: what is there can be played at any time, even after a kill.

    Args:
        job: what to do. Nothing that needs the whole video is possible: see `check_live`.
        watch: is told of the progress, and may ask to stop.
        more_sinks: are given each frame and its tracks, too.
        overwrite: replace earlier results.

    Raises:
        MasaError: of any stage; what was written so far stays as `.part`.
    """
    with watch.stage("load"):
        job.check()
        check_live(job)
    results = job.results
    if results.wanted() or not more_sinks:
        results.prepare(inputs=job.inputs, overwrite=overwrite)
    tally = Tally()
    with ExitStack() as files:
        sinks = [tally, *_sinks(job, watch, files), *more_sinks]
        stream(live_frames(job, watch), sinks, watch=watch)
    return tally.summary(results.wanted())


def live_frames(job: TrackJob, watch: Watch) -> Generator[tuple[Frame, Tracks], None, None]:
    """Each frame of a job, which is checked, with its tracks; nothing is written.

    The networks are loaded with the first one.
    """
    with watch.stage("load"):
        networks = assemble(job)
    tracker = build_tracker(
        job.association, changes=job.tracker_changes, temperature=networks.embedder.temperature
    )
    frames = _frames(job, watch)
    yield from tracked(
        frames,
        networks.detector,
        networks.embedder,
        tracker,
        watch=watch,
        outliner=networks.outliner,
    )


def check_live(job: TrackJob) -> None:
    """Raise SettingsError for what a job wants that needs the whole video."""
    unfit = {
        "--clean-up": job.clean_up,
        "--min-track-length": job.least_frames > 1,
        "--save-embeddings": job.results.wants_embeddings,
    }
    for option, is_wanted in unfit.items():
        if is_wanted:
            raise SettingsError(
                f"{option} needs the whole video, but its frames are finished one by one",
                fix=f"leave out {option}, or track a file",
            )


def _frames(job: TrackJob, watch: Watch) -> Generator[Frame, None, None]:
    """The frames, read ahead; those of a live source must not be waited for when asked to stop."""
    decoded = watch.timed("decode", job.source.frames())
    if not is_live(job.source):
        return prefetch(decoded, FRAMES_AHEAD)
    newest_only = bool(getattr(job.source, "newest_only", False))
    frames = live(decoded, FRAMES_AHEAD, newest_only=newest_only, stop=lambda: watch.stop_requested)
    return _numbered_anew(frames) if newest_only else frames


def _numbered_anew(frames: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    """Without the gaps of frames that nobody had time for; times stay as they are."""
    with closing(frames):
        for index, frame in enumerate(frames):
            yield replace(frame, index=index)


def _sinks(job: TrackJob, watch: Watch, files: ExitStack) -> list[Sink]:
    results, info, classes = job.results, job.source.info, job.detector.classes
    sinks: list[Sink] = []
    if results.wants_mot:
        sinks.append(files.enter_context(MotWriter(results.mot, with_classes=job.mot_classes)))
    if results.wants_tracks:
        sinks.append(files.enter_context(TracksWriter(results.tracks, classes)))
    for name in results.also:
        path = results.in_format(name)
        sinks.append(files.enter_context(open_writer(name, path, info=info, classes=classes)))
    if results.wants_id_maps:
        sinks.append(files.enter_context(IdMapWriter(results.id_maps, info=info)))
    if results.wants_video:
        sound_from = job.origin if job.origin and job.origin.is_file() else None
        writer = VideoWriter(results.video, info, sound_from=sound_from, fragmented=True)
        video = AnnotatedVideo(writer, Annotator(job.drawing), lambda: classes, watch)
        sinks.append(files.enter_context(video))
    return sinks
