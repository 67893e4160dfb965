"""The tool on one page.

    frames ─▶ detect ─▶ embed ─▶ associate ─▶ outline ─▶ spool       track(): the first pass
    spool ─▶ second look ─▶ clean up ─▶ video, MOT, JSON, masks      deliver(): the second pass
    frames ─▶ detect ─▶ … ─▶ outline ─▶ video, MOT, JSON, masks      stream(): both in one, live

The first pass reads the video once and appends to a spool on disk, so memory does not grow with the
video and a run can be resumed. The second pass reads the spool, and the video again only if
pictures are wanted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import chain, islice
from typing import Protocol

import numpy as np

from masa_cli.detectors import Detector
from masa_cli.errors import Interrupted
from masa_cli.formats.spool import Spool
from masa_cli.progress import Forecast, Watch
from masa_cli.segmenters import Outliner
from masa_cli.sources import Source
from masa_cli.sources.prefetch import prefetch
from masa_cli.structures import FloatArray, Frame, State, Tracks
from masa_cli.tracking import Associator
from masa_cli.tracking.linking import Line, RelinkSettings, collect, joined
from masa_cli.tracking.postprocess import CleanUpSettings, clean_up, completed, labels_of

FRAMES_AHEAD = 4  # read while others are worked on; more cost memory and gain nothing
_IN_NETWORKS = ("detect", "embed", "segment")  # stages that take the time of a slow run

logger = logging.getLogger(__name__)


class Embedder(Protocol):
    """Gives boxes the embeddings that tell objects apart."""

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """(N, D) float32 per frame, for (N, 4) boxes xyxy in source pixels."""
        ...

    def state(self) -> State:
        """What it must be given back to go on with an interrupted run."""
        ...


class Sink(Protocol):
    """Takes the finished tracks of each frame."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame; frames come in order, each once."""
        ...


def track(
    source: Source,
    detector: Detector,
    embedder: Embedder,
    tracker: Associator,
    spool: Spool,
    *,
    watch: Watch,
    outliner: Outliner | None = None,
    batch_size: int = 1,
    traced: bool = False,
) -> None:
    """The first pass: find the tracks of every frame that is not in the spool yet.

    With an `outliner`, tracks get masks. With `traced`, the spool gets what the second look needs
    as well.

    Raises:
        Interrupted: the watch was asked to stop; the spool can be gone on with.
    """

    def checkpoint(*, complete: bool = False) -> None:
        states = {"embedder": embedder.state(), "tracker": tracker.state()}
        spool.save(states, complete=complete)

    forecast = Forecast(source.info.num_frames)
    watch.on_pass("tracking", spool.next_frame)
    checkpoint()  # at once: a run that is killed in its first seconds can be gone on with, too
    frames = watch.timed("decode", source.frames(spool.next_frame))
    with closing(prefetch(frames, FRAMES_AHEAD + batch_size)) as ahead:
        for batch in _batches(ahead, batch_size):
            with watch.stage("detect"):
                found = detector.detect(batch)
            with watch.stage("embed"):
                looks = embedder.embed(batch, [detections.boxes for detections in found])
            for frame, detections, embeddings in zip(batch, found, looks, strict=True):
                with watch.stage("see"):
                    tracker.see(frame.image, detections.boxes)
                with watch.stage("associate"):
                    time = float(frame.time)
                    tracks = tracker.update(frame.index, time, detections, embeddings)
                trace = tracker.trace if traced else None
                if outliner:
                    with watch.stage("segment"):
                        tracks = outliner.outline(frame, tracks)
                        trace = trace and outliner.outline_trace(frame, trace)
                with watch.stage("write tracks"):
                    spool.write(frame, tracks, trace)
                watch.on_frame(spool.next_frame, len(tracks))
            in_networks = sum(watch.seconds.get(name, 0.0) for name in _IN_NETWORKS)
            forecast.after(spool.next_frame, len(batch), in_networks)
            if watch.stop_requested or spool.is_due:
                checkpoint()
            if watch.stop_requested:
                raise Interrupted(f"the tracks of {spool.next_frame} frames are kept")
    checkpoint(complete=True)


def tracked(
    frames: Generator[Frame, None, None],
    detector: Detector,
    embedder: Embedder,
    tracker: Associator,
    *,
    watch: Watch,
    outliner: Outliner | None = None,
) -> Generator[tuple[Frame, Tracks], None, None]:
    """Each frame with its tracks as soon as they are known, for what can be seen only once.

    Identities are those of a live run: there is no second look. With an `outliner`, tracks get
    masks.
    """
    with closing(frames):
        for frame in frames:
            with watch.stage("detect"):
                detections = detector.detect([frame])[0]
            with watch.stage("embed"):
                looks = embedder.embed([frame], [detections.boxes])[0]
            with watch.stage("see"):
                tracker.see(frame.image, detections.boxes)
            with watch.stage("associate"):
                tracks = tracker.update(frame.index, float(frame.time), detections, looks)
            if outliner:
                with watch.stage("segment"):
                    tracks = outliner.outline(frame, tracks)
            yield frame, tracks


def stream(
    frames_and_tracks: Generator[tuple[Frame, Tracks], None, None],
    sinks: Sequence[Sink],
    *,
    watch: Watch,
) -> None:
    """Both passes in one: each frame goes to all sinks at once; asked to stop, it ends in order."""
    watch.on_pass("tracking", 0)
    with closing(frames_and_tracks):
        for done, (frame, tracks) in enumerate(frames_and_tracks, start=1):
            for sink in sinks:
                sink.write(frame, tracks)
            watch.on_frame(done, len(tracks))
            if watch.stop_requested:
                return


def deliver(
    frames_and_tracks: Generator[tuple[Frame, Tracks], None, None],
    sinks: Sequence[Sink],
    *,
    watch: Watch,
) -> None:
    """The second pass: give every frame and its tracks to all sinks, then close their generator.

    Raises:
        Interrupted: the watch was asked to stop.
    """
    watch.on_pass("writing", 0)
    with closing(frames_and_tracks):
        for done, (frame, tracks) in enumerate(frames_and_tracks, start=1):
            for sink in sinks:
                sink.write(frame, tracks)
            watch.on_frame(done, len(tracks))
            if watch.stop_requested:
                raise Interrupted(f"all tracks are kept, the results up to frame {frame.index}")


def with_pictures(
    source: Source, tracks: Iterable[tuple[int, float, Tracks]], *, watch: Watch
) -> Generator[tuple[Frame, Tracks], None, None]:
    """All frames of the video, each with its tracks (none, where the tracks have no such frame)."""
    lines = iter(tracks)
    index, _, current = next(lines, (-1, 0.0, Tracks.empty()))
    with closing(prefetch(watch.timed("decode", source.frames()), FRAMES_AHEAD)) as ahead:
        for frame in ahead:
            while index < frame.index:
                line = next(lines, None)
                if line is None:
                    break
                index, _, current = line
            yield frame, current if index == frame.index else Tracks.empty()
    if surplus := sum(1 for _ in lines):
        logger.warning("%d frames of the tracks are past the end of the video", surplus)


def without_pictures(
    tracks: Iterable[tuple[int, float, Tracks]],
) -> Generator[tuple[Frame, Tracks], None, None]:
    """The frames that the tracks tell of, without their images."""
    for index, time, current in tracks:
        yield Frame.without_image(index, Fraction(time)), current


def looked_at_twice(
    lines: Iterable[Line],
    open_looks: Mapping[int, FloatArray],
    settings: RelinkSettings,
    frame_size: tuple[int, int],
) -> Iterator[tuple[int, float, Tracks]]:
    """The same frames after the second look: tracklets joined anew, gaps filled, one class each.

    Args:
        lines: of the first pass; are read twice.
        open_looks: looks of the tracklets that had not ended with the last frame.
        settings: of the joins and the gaps.
        frame_size: width and height, pixels.
    """
    tracklets = collect(lines, open_looks)
    identities = joined(tracklets, settings, frame_size)
    labels = labels_of(tracklets, identities) if settings.one_class else {}
    yield from completed(lines, identities, labels, settings.fill_seconds)


def lasting(
    tracks: Callable[[], Iterable[tuple[int, float, Tracks]]], least_frames: int
) -> Iterator[tuple[int, float, Tracks]]:
    """The same frames without the identities that are seen in fewer frames; goes through twice."""
    counts = Counter(chain.from_iterable(current.ids.tolist() for _, _, current in tracks()))
    kept = np.array([id_ for id_, count in counts.items() if count >= least_frames], np.int64)
    for index, time, current in tracks():
        yield index, time, current[np.isin(current.ids, kept)]


def cleaned(
    tracks: Iterable[tuple[int, float, Tracks]], width: int, height: int
) -> Iterator[tuple[int, float, Tracks]]:
    """The same frames after whole-video clean-up; all boxes are in memory meanwhile."""
    lines = list(tracks)
    columns = Tracks.joined(current for _, _, current in lines)
    indices = np.array([index for index, _, _ in lines], np.int64)
    frames, columns = clean_up(
        np.repeat(indices, [len(current) for _, _, current in lines]),
        columns,
        width=width,
        height=height,
        settings=CleanUpSettings(),
    )
    starts = np.searchsorted(frames, indices)
    stops = np.searchsorted(frames, indices, side="right")
    for (index, time, _), start, stop in zip(lines, starts, stops, strict=True):
        yield index, time, columns[start:stop]


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Lists of `size` frames, the last one shorter."""
    iterator = iter(frames)
    while batch := list(islice(iterator, size)):
        yield batch
