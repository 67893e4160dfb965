"""The tool on one page.

    source ─Frame─▶ observe ─Observation─▶ associate ─FrameTracks─▶ spool ─▶ refine ─▶ write

`observe` looks at images: it detects, embeds, and sees how the camera moved. Everything behind it
is told by observations alone, so they can be kept in a file and associated anew. `associate` gives
boxes identities, as a live run shows them; `add_masks` segments what it kept. `refine` looks at the
whole video once more; `write` gives every frame to all sinks: video, MOT, JSON, masks.

Of a file the first half fills a spool on disk, so memory does not grow with the video and a run can
be resumed; the second half reads the spool, and the video again only if images are wanted. What can
be seen only once goes from `associate` to `write` at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from typing import Protocol, TypeAlias

import numpy as np

from masa_cli.detectors import Detector
from masa_cli.errors import Interrupted
from masa_cli.progress import RunProgress
from masa_cli.segmenters import TrackSegmenter
from masa_cli.sources import Source
from masa_cli.sources.prefetch import done_ahead, prefetch
from masa_cli.structures import (
    Detections,
    EndedTracklets,
    FloatArray,
    Frame,
    FrameTracks,
    Observation,
    State,
    Tracks,
)
from masa_cli.tracking import Tracker
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.linking import LinkingSettings, collect_tracklets, link_tracklets
from masa_cli.tracking.postprocess import (
    CleanUpSettings,
    apply_identities,
    clean_up,
    majority_labels,
)

FRAMES_AHEAD = 4  # read while others are worked on; more cost memory and gain nothing

logger = logging.getLogger(__name__)

Observations: TypeAlias = Generator[tuple[Frame, Observation], None, None]
TrackedFrames: TypeAlias = Generator[tuple[Frame, FrameTracks], None, None]


class Embedder(Protocol):
    """Gives boxes the embeddings that tell objects apart."""

    @property
    def temperature(self) -> float:
        """That dot products of its embeddings are divided by."""
        ...

    def look(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> None:
        """Have ready what `embed` will need of these frames; threads may do so for several."""
        ...

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """(N, D) float32 per frame, for (N, 4) boxes xyxy in source pixels."""
        ...

    def state(self) -> State:
        """What it must be given back to go on with an interrupted run."""
        ...


class NoEmbeddings:
    """The embedder of trackers that do not need appearance: embeddings without numbers."""

    temperature = 1.0

    def look(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> None:
        """Nothing is needed."""

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """(N, 0) float32 per frame."""
        return [np.empty((len(rows), 0), np.float32) for rows in boxes]

    def state(self) -> State:
        """Nothing."""
        return {}


class Sink(Protocol):
    """Takes the finished tracks of each frame."""

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame; frames come in order, each once."""
        ...


def observe(
    frames: Generator[Frame, None, None],
    detector: Detector,
    embedder: Embedder,
    camera: CameraMotionEstimator | None,
    *,
    progress: RunProgress,
    batch_size: int = 1,
    ahead: int = 0,
    after_batch: Callable[[], None] = lambda: None,
) -> Observations:
    """What is to be seen in each frame: boxes, their embeddings, the camera's motion.

    Args:
        frames: are closed at the end.
        detector: finds boxes.
        embedder: gives them embeddings.
        camera: finds how it moved; None where nobody asks.
        progress: is told of the stages.
        batch_size: frames that networks are given at a time.
        ahead: batches that networks look at, in threads of their own, while others go through what
            follows; 0 for a detector that waits for what comes of the frame before.
        after_batch: called when all frames of a batch have gone through what follows, so that no
            state is ahead of another.
    """

    def detect(batch: list[Frame]) -> tuple[list[Frame], list[Detections]]:
        with progress.stage("detect"):
            detected = detector.detect(batch)
        if ahead:
            with progress.stage("embed"):
                embedder.look(batch, [each.boxes for each in detected])
        return batch, detected

    batches = done_ahead(detect, _batches(frames, batch_size), ahead)
    if ahead:
        batches = progress.timed("wait for boxes", batches)
    with closing(batches):
        for batch, detected in batches:
            with progress.stage("embed"):
                embedded = embedder.embed(batch, [detections.boxes for detections in detected])
            for frame, detections, embeddings in zip(batch, detected, embedded, strict=True):
                observation = Observation(
                    frame.index, float(frame.time), detections, embeddings, frame_size=_size(frame)
                )
                if camera:
                    with progress.stage("camera"):
                        motion = camera.update(frame.image, detections.boxes)
                    observation = replace(observation, motion=motion)
                yield frame, observation
            progress.after_batch(batch[-1].index + 1, len(batch))
            after_batch()


def associate(
    observations: Observations, tracker: Tracker, *, progress: RunProgress
) -> TrackedFrames:
    """Each frame with its tracks, as soon as they are known; observations are closed at the end."""
    with closing(observations):
        for frame, observation in observations:
            with progress.stage("associate"):
                frame_tracks = tracker.update(observation)
            yield frame, frame_tracks


def add_masks(
    tracked: TrackedFrames, track_segmenter: TrackSegmenter, *, progress: RunProgress
) -> TrackedFrames:
    """The same with masks for all boxes, those that may turn out to be a track among them."""
    with closing(tracked):
        for frame, found in tracked:
            with progress.stage("segment"):
                tracks = track_segmenter.segment(frame, found.tracks)
                record = found.record
                if record:
                    tentative = track_segmenter.segment(frame, record.tentative)
                    record = replace(record, tentative=tentative)
            yield frame, FrameTracks(found.index, found.time, tracks, record)


@dataclass(frozen=True, slots=True)
class Refinement:
    """What is done with the tracks of a whole video, offline.

    Attributes:
        linking: of tracklets to identities, with gaps interpolated; None: identities stay.
        min_track_length: identities that are seen in fewer frames are left out.
        clean_up: as MASA's demo does it: giant boxes out, boxes smoothed, scores averaged.
    """

    linking: LinkingSettings | None = None
    min_track_length: int = 1
    clean_up: bool = False

    @property
    def changes_tracks(self) -> bool:
        """Whether the tracks of the first pass are not the final ones."""
        return self != Refinement()


def refine(
    frames: Iterable[FrameTracks],
    refinement: Refinement,
    open_tracklets: EndedTracklets,
    frame_size: tuple[int, int],
) -> Iterator[FrameTracks]:
    """The same frames under their final identities.

    Args:
        frames: of the first pass; are read several times.
        refinement: what is to be done.
        open_tracklets: those that had not ended with the last frame.
        frame_size: width and height, pixels; 0 where there are no images.
    """

    def identified() -> Iterator[FrameTracks]:
        settings = refinement.linking
        if settings is None:
            return iter(frames)
        tracklets, samples = collect_tracklets(frames, open_tracklets)
        identities = link_tracklets(tracklets, settings, frame_size, samples)
        labels = majority_labels(tracklets, identities) if settings.one_class else {}
        return apply_identities(frames, identities, labels, settings.interpolation_seconds)

    refined = identified()
    if refinement.min_track_length > 1:
        refined = _long_enough(identified(), refined, refinement.min_track_length)
    return _cleaned_up(refined, *frame_size) if refinement.clean_up else refined


def with_images(
    source: Source, tracks: Iterable[FrameTracks], *, progress: RunProgress
) -> Generator[tuple[Frame, Tracks], None, None]:
    """All frames of the video, each with its tracks (none, where the tracks have no such frame)."""
    remaining = iter(tracks)
    none = FrameTracks(-1, 0.0, Tracks.empty())
    current = next(remaining, none)
    ahead = prefetch(progress.timed("decode", source.frames()), FRAMES_AHEAD)
    with closing(progress.timed("wait for frames", ahead)) as frames:
        for frame in frames:
            while current.index < frame.index:
                following = next(remaining, None)
                if following is None:
                    break
                current = following
            yield frame, current.tracks if current.index == frame.index else Tracks.empty()
    if surplus := sum(1 for _ in remaining):
        logger.warning("%d frames of the tracks are past the end of the video", surplus)


def without_images(
    tracks: Iterable[FrameTracks],
) -> Generator[tuple[Frame, Tracks], None, None]:
    """The frames that the tracks tell of, without their images."""
    for each in tracks:
        yield Frame.without_image(each.index, Fraction(each.time)), each.tracks


def write(
    frames_and_tracks: Generator[tuple[Frame, Tracks], None, None],
    sinks: Sequence[Sink],
    *,
    progress: RunProgress,
) -> None:
    """Give every frame and its tracks to all sinks, then close their generator.

    Raises:
        Interrupted: the user asked to stop.
    """
    with closing(frames_and_tracks):
        for done, (frame, tracks) in enumerate(frames_and_tracks, start=1):
            with progress.stage("write results"):
                for sink in sinks:
                    sink.write(frame, tracks)
            progress.on_frame(done, len(tracks))
            if progress.stop_requested:
                raise Interrupted(f"all tracks are kept, the results up to frame {frame.index}")


def _size(frame: Frame) -> tuple[int, int] | None:
    """Width and height, pixels; None where there is no image."""
    height, width = frame.image.shape[:2]
    return (width, height) if frame.image.size else None


def _batches(frames: Generator[Frame, None, None], size: int) -> Generator[list[Frame], None, None]:
    """Lists of `size` frames, the last one shorter; frames are closed at the end."""
    with closing(frames):
        while batch := list(islice(frames, size)):
            yield batch


def _long_enough(
    counted: Iterable[FrameTracks], frames: Iterable[FrameTracks], min_track_length: int
) -> Iterator[FrameTracks]:
    """The same frames without the identities that are seen in fewer of them."""
    counts = Counter(chain.from_iterable(frame.tracks.ids.tolist() for frame in counted))
    long = [id_ for id_, count in counts.items() if count >= min_track_length]
    kept = np.array(long, np.int64)
    for frame in frames:
        yield replace(frame, tracks=frame.tracks[np.isin(frame.tracks.ids, kept)])


def _cleaned_up(frames: Iterable[FrameTracks], width: int, height: int) -> Iterator[FrameTracks]:
    """The same frames after whole-video clean-up; all boxes are in memory meanwhile."""
    whole = list(frames)
    columns = Tracks.joined(frame.tracks for frame in whole)
    indices = np.array([frame.index for frame in whole], np.int64)
    rows, columns = clean_up(
        np.repeat(indices, [len(frame.tracks) for frame in whole]),
        columns,
        width=width,
        height=height,
        settings=CleanUpSettings(),
    )
    starts = np.searchsorted(rows, indices)
    stops = np.searchsorted(rows, indices, side="right")
    for frame, start, stop in zip(whole, starts, stops, strict=True):
        yield replace(frame, tracks=columns[start:stop])
