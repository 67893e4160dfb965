"""A job from its settings to its files: offline in two passes, live in one."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial

import numpy as np

from masa_cli.errors import Interrupted, OutputError
from masa_cli.formats.embeddings import EmbeddingsReader, EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.formats.files import part_of
from masa_cli.formats.jsonl import TracksReader
from masa_cli.formats.spool import RecordReader, ResumeState, Spool
from masa_cli.jobs.build import Networks, build_networks
from masa_cli.jobs.follow import Following
from masa_cli.jobs.job import TrackJob
from masa_cli.jobs.recognise import CropCollector, renamed
from masa_cli.jobs.record import write_record
from masa_cli.jobs.sinks import open_sinks
from masa_cli.jobs.with_gallery import adapter_facts, check_gallery, live_gallery, recognise_run
from masa_cli.pipeline import (
    FRAMES_AHEAD,
    Observations,
    Sink,
    TrackedFrames,
    add_masks,
    associate,
    observe,
    refine,
    with_images,
    without_images,
    write,
)
from masa_cli.progress import RunProgress, Summary, Tally
from masa_cli.segmenters import TrackSegmenter
from masa_cli.settings import with_changes
from masa_cli.sources import is_live
from masa_cli.sources.prefetch import live, prefetch
from masa_cli.structures import EndedTracklets, Frame, FrameTracks, Observation, State, Tracks
from masa_cli.threads import limited
from masa_cli.tracking import Tracker
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.follow import FollowSettings, FollowTracker

logger = logging.getLogger(__name__)


def run(
    job: TrackJob, progress: RunProgress, *, overwrite: bool = False, resume: bool = False
) -> Summary:
    """Check, then both passes of a job.

    Args:
        job: what to do.
        progress: is told of it, and may ask to stop.
        overwrite: replace earlier results.
        resume: go on with an interrupted run, if there is one.

    Raises:
        MasaError: of any stage; what was tracked so far stays in the spool.
        Interrupted: the user asked to stop.
    """
    with progress.stage("load"):
        job.check()
        check_gallery(job)
    outputs = job.outputs
    outputs.prepare(inputs=job.input.files, overwrite=overwrite, resume=resume)
    earlier = _earlier_run(job) if resume else None
    try:
        with limited(job.threads):
            if earlier is None or not earlier.complete:
                _track(job, progress, earlier)
            summary = _write(job, progress)
    except Interrupted as interruption:
        raise Interrupted(
            f"{interruption.kept} in {outputs.folder}; add --resume to the command to go on"
        ) from None
    write_record(job, progress, summary)
    _conclude(job)
    return summary


def run_live(
    job: TrackJob,
    progress: RunProgress,
    *,
    more_sinks: tuple[Sink, ...] = (),
    overwrite: bool = False,
) -> Summary:
    """Track and write frame by frame; when asked to stop, the results are complete.

    The video is written in fragments: what is there can be played at any time, even after a kill.

    Args:
        job: what to do. Nothing that needs the whole video is possible.
        progress: is told of it, and may ask to stop.
        more_sinks: are given each frame and its tracks, too.
        overwrite: replace earlier results.

    Raises:
        MasaError: of any stage; what was written so far stays as `.part`.
    """
    with progress.stage("load"):
        job.check()
        job.check_live()
        check_gallery(job)
    outputs = job.outputs
    if outputs.wanted() or not more_sinks:
        outputs.prepare(inputs=job.input.files, overwrite=overwrite)
    tally = Tally()
    tracks = outputs.tracks if outputs.wants_tracks else None
    progress.on_pass("tracking", 0)
    with limited(job.threads), ExitStack() as files:
        sinks = [tally, *open_sinks(job, progress, files, tracks, is_live=True), *more_sinks]
        with suppress(Interrupted):  # to stop is how such a run ends
            write(live_frames(job, progress), sinks, progress=progress)
    summary = tally.summary(outputs.wanted())
    if summary.written:
        write_record(job, progress, summary)
    return summary


def live_frames(
    job: TrackJob, progress: RunProgress
) -> Generator[tuple[Frame, Tracks], None, None]:
    """Each frame of a job, which is checked, with its tracks; nothing is written.

    The networks are loaded with the first one.
    """
    with progress.stage("load"):
        networks = build_networks(job, preparing=partial(progress.stage, "load"))
    tracker = _build_tracker(job, networks.embedder.temperature)
    networks = Following(job, networks, tracker).in_one_direction() or networks
    frames = _live_frames(job, progress)
    observations = observe(
        frames, networks.detector, networks.embedder, _camera(job, tracker), progress=progress
    )
    gallery, latest = live_gallery(job), _Latest()
    if gallery is not None:
        observations = latest.of(observations)
    try:
        with closing(
            _tracked(observations, tracker, networks.track_segmenter, progress)
        ) as tracked:
            for frame, found in tracked:
                tracks = found.tracks
                if gallery is not None and latest.observation is not None:
                    with progress.stage("recognise"):
                        tracks = gallery.named(frame, found, latest.observation)
                yield frame, tracks
    finally:
        if gallery is not None:
            gallery.finish()


# The first pass: from the video to the spool.


def _earlier_run(job: TrackJob) -> ResumeState | None:
    """Where the interrupted run stood; None, said aloud, if there is no such run."""
    outputs = job.outputs
    if not outputs.resume_state.exists():
        logger.warning("nothing to resume in %s: starting from the first frame", outputs.folder)
        return None
    earlier = ResumeState.read(outputs.resume_state)
    earlier.check(job.conditions)
    if earlier.complete:
        logger.info("resuming: all frames are tracked, the results are to be written")
    else:
        logger.info("resuming at frame %d", earlier.next_frame)
    return earlier


def _track(job: TrackJob, progress: RunProgress, earlier: ResumeState | None) -> None:
    """Find the tracks of every frame that is not in the spool yet.

    Raises:
        Interrupted: the user asked to stop; the spool can be gone on with.
    """
    states = earlier.states if earlier else {}
    with progress.stage("load"):
        networks = None
        if not job.input.recording:
            preparing = partial(progress.stage, "load")
            networks = build_networks(job, states.get("embedder"), preparing, looks_ahead=True)
    temperature = _temperature(job, networks)
    tracker = _build_tracker(job, temperature, states.get("tracker"))
    camera = _camera(job, tracker, states.get("camera"))
    following = Following(job, networks, tracker, states)
    progress.num_frames = job.input.source.info.num_frames
    outputs, classes = job.outputs, job.classes
    refines = job.association.refinement.linking is not None
    run_state = states.get("run") or {"token": np.frombuffer(uuid.uuid4().bytes, np.uint8)}
    with ExitStack() as files:
        spool = files.enter_context(
            Spool(outputs.tracks, outputs.resume_state, classes, job.conditions, earlier)
        )
        kept = _embeddings_writer(job, temperature, states.get("embeddings"))
        if kept:
            files.enter_context(kept)

        def save(*, complete: bool = False) -> None:
            spool.save(
                {
                    "embedder": networks.embedder.state() if networks else {},
                    "tracker": tracker.state(),
                    "camera": camera.state() if camera else {},
                    "embeddings": {"offset": np.array(kept.offset)} if kept else {},
                    "open tracklets": _as_state(tracker.finish()) if complete else {},
                    "run": run_state,
                    **following.states(),
                },
                complete=complete,
            )

        def after_batch() -> None:
            if progress.stop_requested or spool.is_due:
                save()
            if progress.stop_requested:
                raise Interrupted(f"the tracks of {spool.next_frame} frames are kept")

        save()  # at once: a run that is killed in its first seconds can be gone on with, too
        networks = following.prepared(progress)
        progress.on_pass("tracking", spool.next_frame)
        observations = _observations(job, networks, camera, progress, spool.next_frame, after_batch)
        if kept:
            observations = kept.tee(observations)
        track_segmenter = networks.track_segmenter if networks else None
        with closing(_tracked(observations, tracker, track_segmenter, progress)) as tracked:
            for frame, frame_tracks in tracked:
                with progress.stage("write tracks"):
                    spool.write(frame, frame_tracks, with_record=refines)
                progress.on_frame(spool.next_frame, len(frame_tracks.tracks))
        save(complete=True)


def _observations(
    job: TrackJob,
    networks: Networks | None,
    camera: CameraMotionEstimator | None,
    progress: RunProgress,
    start: int,
    after_batch: Callable[[], None],
) -> Observations:
    """Of the video, or those that an earlier run kept, from frame number `start` on."""
    if networks is None:
        return _recording(job).observations(start, after_each=after_batch)
    size = job.perception.batch_size
    decoded = progress.timed("decode", job.input.source.frames(start))
    return observe(
        progress.timed("wait for frames", prefetch(decoded, FRAMES_AHEAD + size)),
        networks.detector,
        networks.embedder,
        camera,
        progress=progress,
        batch_size=size,
        ahead=networks.ahead,
        after_batch=after_batch,
    )


def _tracked(
    observations: Observations,
    tracker: Tracker,
    track_segmenter: TrackSegmenter | None,
    progress: RunProgress,
) -> TrackedFrames:
    tracked = associate(observations, tracker, progress=progress)
    return add_masks(tracked, track_segmenter, progress=progress) if track_segmenter else tracked


def _recording(job: TrackJob) -> EmbeddingsReader:
    if job.input.recording is None:
        raise ValueError("the job has neither networks nor a recording")
    return job.input.recording


def _temperature(job: TrackJob, networks: Networks | None) -> float:
    """Of the embeddings."""
    return networks.embedder.temperature if networks else _recording(job).temperature


def _build_tracker(job: TrackJob, temperature: float, state: State | None = None) -> Tracker:
    tracker = job.association.build_tracker(temperature)
    if job.input.targets:
        num_classes = len(job.perception.detector.classes)
        settings = with_changes(FollowSettings(), job.association.tracker_changes)
        tracker = FollowTracker(settings, job.input.targets, num_classes)
    if state is not None:
        try:
            tracker.restore(state)
        except KeyError as error:
            raise OutputError(
                f"the interrupted run was one of another version of masa: its state lacks {error}",
                fix="start again with --overwrite instead of --resume",
            ) from error
    return tracker


def _camera(
    job: TrackJob, tracker: Tracker, state: State | None = None
) -> CameraMotionEstimator | None:
    """What sees how the camera moved, for the tracker, or for another one later."""
    if job.input.recording is not None or not (
        tracker.uses_camera_motion or job.outputs.wants_embeddings
    ):
        return None
    camera = CameraMotionEstimator()
    if state:
        camera.restore(state)
    return camera


def _embeddings_writer(
    job: TrackJob, temperature: float, state: State | None
) -> EmbeddingsWriter | None:
    if not job.outputs.keeps_embeddings:
        return None
    given, found_by = job.input, job.perception.detector.row.name
    facts = {**dict(given.facts), **adapter_facts(job)}
    kept = Kept(given.source.info, job.classes, temperature, found_by, facts)
    offset = int(state["offset"]) if state else None
    return EmbeddingsWriter(job.outputs.embeddings, kept, resume_at=offset)


def _as_state(ended: EndedTracklets) -> State:
    return {"numbers": ended.numbers, "embeddings": ended.embeddings}


# The second pass: from the spool to the results.


def _write(job: TrackJob, progress: RunProgress) -> Summary:
    outputs, tally = job.outputs, Tally()
    with progress.stage("refine"):
        tracks, crops = _identified(job, progress)
    # Beside the spool, which a resumed run needs as it is.
    finished = outputs.finished if outputs.wants_tracks and _changes_tracks(job) else None
    looks = outputs.wants_video or (crops.is_asked and job.input.has_images)
    progress.on_pass("writing", 0)
    with ExitStack() as files:
        sinks = open_sinks(job, progress, files, finished)
        frames = (
            with_images(job.input.source, tracks, progress=progress)
            if looks
            else without_images(tracks)
        )
        write(frames, [tally, crops, *sinks], progress=progress)
    if outputs.gallery:
        crops.keep(outputs.gallery.path)
    return tally.summary(outputs.wanted())


def _identified(
    job: TrackJob, progress: RunProgress
) -> tuple[Iterable[FrameTracks], CropCollector]:
    """The final tracks, and what cuts out those that a gallery has not seen yet."""
    tracks = _refined(job)
    if job.outputs.gallery is None:
        return progress.timed("refine", tracks), CropCollector({})
    with progress.stage("recognise"):
        recognised = recognise_run(job, _refined(job), _token(job))
    named = renamed(tracks, recognised.ids)
    return progress.timed("refine", named), CropCollector(recognised.wanted)


def _changes_tracks(job: TrackJob) -> bool:
    """Whether the tracks of the first pass are not the final ones."""
    return job.association.refinement.changes_tracks or job.outputs.gallery is not None


def _token(job: TrackJob) -> str:
    """Of this run, the same when it is resumed."""
    state = ResumeState.read(job.outputs.resume_state).states["run"]
    return bytes(state["token"]).hex()


def _refined(job: TrackJob) -> Iterable[FrameTracks]:
    """The tracks of the first pass, after all that is wanted of the whole video."""
    spool, classes, info = job.outputs.spool, job.classes, job.input.source.info
    refinement = job.association.refinement
    size = (info.width, info.height)
    if refinement.linking is None:
        reader = TracksReader(spool, classes)
        return refine(reader, refinement, EndedTracklets.none(), size)
    state = ResumeState.read(job.outputs.resume_state).states["open tracklets"]
    return refine(RecordReader(spool, classes), refinement, EndedTracklets(**state), size)


def _conclude(job: TrackJob) -> None:
    """Give the tracks their name, and end what --resume needs: from here on all is done."""
    outputs = job.outputs
    if outputs.keeps_embeddings and not outputs.wants_embeddings:
        part_of(outputs.embeddings).unlink(missing_ok=True)
    elif outputs.wants_embeddings:
        state = ResumeState.read(outputs.resume_state)
        offset = int(state.states["embeddings"]["offset"])
        finish_embeddings(outputs.embeddings, offset, state.next_frame)
    if outputs.wants_tracks:
        is_new = _changes_tracks(job)
        os.replace(outputs.finished if is_new else outputs.spool, outputs.tracks)
    outputs.spool.unlink(missing_ok=True)
    outputs.resume_state.unlink()


# Live: what can be seen only once, or is read along.


def _live_frames(job: TrackJob, progress: RunProgress) -> Generator[Frame, None, None]:
    """The frames, read ahead; those of a live source must not be waited for when asked to stop."""
    decoded = progress.timed("decode", job.input.source.frames())
    if not is_live(job.input.source):
        return progress.timed("wait for frames", prefetch(decoded, FRAMES_AHEAD))
    newest = bool(getattr(job.input.source, "newest_only", False))
    frames = live(decoded, FRAMES_AHEAD, newest_only=newest, stop=lambda: progress.stop_requested)
    frames = progress.timed("wait for frames", frames)
    return _numbered_anew(frames) if newest else frames


class _Latest:
    """Remembers the observation that was looked at last.

    Attributes:
        observation: that one.
    """

    def __init__(self) -> None:
        self.observation: Observation | None = None

    def of(self, observations: Observations) -> Observations:
        """The same observations; they are closed at the end."""
        with closing(observations):
            for frame, observation in observations:
                self.observation = observation
                yield frame, observation


def _numbered_anew(frames: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    """Without the gaps of frames that nobody had time for; times stay as they are."""
    with closing(frames):
        for index, frame in enumerate(frames):
            yield replace(frame, index=index)
