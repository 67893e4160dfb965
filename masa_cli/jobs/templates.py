"""The templates of a run: its tracks and the embeddings of their boxes, put together again.

What is kept meanwhile grows with the number of tracks, not with that of boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import area, intersection, iou
from masa_cli.structures import FloatArray, FrameTracks, IntArray, Observation, Tracks
from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.recognition import Floats, Template, merged_spans, typical_views

_MAX_SAMPLES = 32  # embeddings that are kept of a track, evenly over its time
_SAME_BOX = 0.5  # IoU of a box that was fitted or smoothed since
SPAN_GAP = 1.0  # seconds in which a track that is not seen is still taken to be there


@dataclass(frozen=True, slots=True, eq=False)
class TrackTemplate:
    """One track of a run.

    Attributes:
        id: that it has in the run.
        shot: how many cuts were before most of its boxes.
        label: its class, that of most of its score.
        spans: (K, 2) seconds from and to which it was there, interpolated boxes included.
        template: what it looked like; None where no box had an embedding.
        num_boxes: that had one.
        best_frame: frame of its best view, -1 without any.
        best_box: (4,) xyxy of that.
    """

    id: int
    shot: int
    label: str
    spans: Floats
    template: Template | None
    num_boxes: int
    best_frame: int
    best_box: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RunTemplates:
    """All tracks of a run, in the order in which they appear.

    Attributes:
        tracks: of it.
        scatter: (D, D) sum of outer products of embeddings less the mean of their track.
        num_pairs: of these.
    """

    tracks: Sequence[TrackTemplate]
    scatter: Floats
    num_pairs: int


@dataclass(slots=True, eq=False)
class GrowingTrack:
    """A track that goes on: what its template will be made of."""

    spans: list[list[float]] = field(default_factory=list)
    scores: Counter[int] = field(default_factory=Counter)
    shots: Counter[int] = field(default_factory=Counter)
    samples: list[tuple[float, FloatArray]] = field(default_factory=list)
    num_boxes: int = 0
    stride: int = 1
    best: tuple[float, int, FloatArray] = (0.0, -1, np.zeros(4, np.float32))

    def be_there(self, time: float) -> None:
        """It is seen at a moment."""
        if self.spans and time - self.spans[-1][1] <= SPAN_GAP:
            self.spans[-1][1] = time
        else:
            self.spans.append([time, time])

    def look(self, frame: int, box: FloatArray, quality: float, embedding: FloatArray) -> None:
        """A box of it shows what it looks like."""
        if quality > self.best[0]:
            self.best = quality, frame, box
        if self.num_boxes % self.stride == 0:
            self.samples.append((quality, embedding.astype(np.float16)))
            if len(self.samples) > _MAX_SAMPLES:  # every second one, and from now on as rarely
                self.samples = self.samples[::2]
                self.stride *= 2
        self.num_boxes += 1

    def finished(self, id_: int, classes: Sequence[str]) -> TrackTemplate:
        """What it is by now, of an id, and names that its labels index."""
        label = classes[min(self.scores, key=lambda label: (-self.scores[label], label))]
        shot = min(self.shots, key=lambda shot: (-self.shots[shot], shot))
        spans = merged_spans(np.array(self.spans, np.float64), 0.0)
        template = None
        if self.samples:
            weights = np.array([quality for quality, _ in self.samples], np.float32)
            rows = normalised(np.stack([each for _, each in self.samples]).astype(np.float32))
            mean = normalised((weights[:, None] * rows).sum(axis=0, keepdims=True))
            views = np.concatenate([mean, typical_views(rows, weights)])
            template = Template(label, views, spans, self.num_boxes)
        return TrackTemplate(
            id_, shot, label, spans, template, self.num_boxes, self.best[1], self.best[2]
        )

    def differences(self) -> Floats:
        """(K, D) embeddings less their mean."""
        rows = np.stack([each for _, each in self.samples]).astype(np.float64)
        differences: Floats = rows - rows.mean(axis=0)
        return differences


def look_at(
    growing: dict[int, GrowingTrack], frame: FrameTracks, observation: Observation, shot: int
) -> None:
    """Take in the tracks of one frame, by their ids.

    Args:
        growing: all tracks so far.
        frame: its tracks.
        observation: of the same frame.
        shot: how many cuts were before it.
    """
    tracks = frame.tracks
    rows = _rows_of(tracks, observation)
    quality = _quality(tracks, observation.frame_size)
    embeddings = normalised(observation.embeddings)
    for row, (id_, label, score) in enumerate(
        zip(tracks.ids.tolist(), tracks.labels.tolist(), tracks.scores.tolist(), strict=True)
    ):
        track = growing.setdefault(id_, GrowingTrack())
        track.be_there(frame.time)
        track.scores[label] += score
        track.shots[shot] += 1
        position = int(rows[row])
        if position >= 0 and quality[row] > 0 and embeddings[position].any():
            track.look(frame.index, tracks.boxes[row], quality[row], embeddings[position])


def collect_templates(
    frames: Iterable[FrameTracks],
    observations: Iterable[Observation],
    classes: Callable[[], Sequence[str]],
) -> RunTemplates:
    """What the tracks of a run look like.

    Args:
        frames: under their final identities.
        observations: of the same frames.
        classes: gives names that the labels of tracks index, once all frames are read.
    """
    growing: dict[int, GrowingTrack] = {}
    dim, shot = 0, 0
    for frame, observation in _side_by_side(frames, observations):
        dim = max(dim, observation.embeddings.shape[1])
        shot += observation.motion.is_cut
        look_at(growing, frame, observation, shot)
    scatter, num_pairs = np.zeros((dim, dim)), 0
    finished = []
    for id_, track in sorted(growing.items(), key=lambda each: (each[1].spans[0][0], each[0])):
        finished.append(track.finished(id_, classes()))
        if len(track.samples) > 1:
            differences = track.differences()
            scatter += differences.T @ differences
            num_pairs += len(differences)
    return RunTemplates(finished, scatter, num_pairs)


def _side_by_side(
    frames: Iterable[FrameTracks], observations: Iterable[Observation]
) -> Iterator[tuple[FrameTracks, Observation]]:
    """Frames that both have."""
    remaining = iter(observations)
    observation = next(remaining, None)
    for frame in frames:
        while observation is not None and observation.index < frame.index:
            observation = next(remaining, None)
        if observation is None:
            return
        if observation.index == frame.index:
            yield frame, observation


def _rows_of(tracks: Tracks, observation: Observation) -> IntArray:
    """(N,) which detection each box of a track was; -1 for those that none was."""
    detections = observation.detections
    exact = {box.tobytes(): row for row, box in enumerate(detections.boxes)}
    rows = np.array([exact.get(box.tobytes(), -1) for box in tracks.boxes], np.int64)
    rows[tracks.interpolated] = -1
    missing = np.flatnonzero((rows < 0) & ~tracks.interpolated)
    if len(missing) and len(detections):
        shared = iou(tracks.boxes[missing], detections.boxes)
        best = shared.argmax(axis=1)
        rows[missing] = np.where(shared.max(axis=1) >= _SAME_BOX, best, -1)
    return rows


def _quality(tracks: Tracks, size: tuple[int, int] | None) -> NDArray[np.float64]:
    """(N,) how well each box shows its object: large, sure, in the frame, and not occluded."""
    boxes = tracks.boxes
    areas = np.maximum(area(boxes), 1e-6)
    shared = intersection(boxes, boxes) / areas[:, None]
    nearer = boxes[None, :, 3] > boxes[:, None, 3]  # its foot is lower in the frame
    occluded = np.where(nearer, shared, 0).max(axis=1, initial=0)
    inside = np.ones(len(boxes))
    if size is not None:
        frame = np.array([[0, 0, *size]], np.float32)
        inside = (intersection(boxes, frame)[:, 0] / areas).astype(np.float64)
    visible = np.clip(inside, 0, 1) ** 2 * (1 - np.clip(occluded, 0, 1)) ** 2
    quality: NDArray[np.float64] = np.sqrt(areas) * visible * np.clip(tracks.scores, 0.01, None)
    return quality
