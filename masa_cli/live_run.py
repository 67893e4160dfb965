"""A job of which each frame is finished at once: for what can be seen only once, or read along."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import replace

from masa_cli.annotation import AnnotatedVideo
from masa_cli.assembly import assemble
from masa_cli.drawing import Annotator
from masa_cli.errors import SettingsError
from masa_cli.formats.also import open_writer
from masa_cli.formats.id_maps import IdMapWriter
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.tracks_jsonl import TracksWriter
from masa_cli.formats.video import VideoWriter
from masa_cli.job import TrackJob
from masa_cli.overlap import live, prefetch
from masa_cli.pipeline import FRAMES_AHEAD, Sink, stream, tracked
from masa_cli.sources import is_live
from masa_cli.structures import Frame, Tracks
from masa_cli.summary import Summary, Tally
from masa_cli.trackers import build_tracker
from masa_cli.watch import Watch


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
