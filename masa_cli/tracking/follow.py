"""Following what was pointed at: of all boxes of a frame, which one is it, or is it none?

Each target is compared with every candidate by motion and appearance, as `hybrid` does it; its
appearance is a memory of what it was shown as and has looked like since. Beside a detector's boxes,
each target has a candidate of its own, where a correlation filter finds it (correlation.py): it
counts where no detection fits. The tracker runs in either direction of time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from masa_cli.boxes import area, intersection, iou, share_inside
from masa_cli.structures import (
    Detections,
    EndedTracklets,
    FloatArray,
    FrameTracks,
    IntArray,
    Observation,
    State,
    Tracks,
)
from masa_cli.tracking.appearance import MEAN_OUTLIERS, SimilarityDensities, normalised
from masa_cli.tracking.assignment import assign
from masa_cli.tracking.kalman import (
    BoxFilters,
    MotionNoise,
    centre_size,
    corners,
    of_owner,
    sizes,
)
from masa_cli.tracking.targets import Memory, Pointing, Rivals, Target


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """When a candidate is the target. Seconds are those of the video."""

    min_llr: float = -1.0  # of a detection, beyond that of another object
    jump_share: float = 0.05  # of frames in which it is far from where it was expected
    min_sharpness: float = 7.0  # of a correlation peak that counts, in deviations of its sidelobes
    min_template_llr: float = -1.0  # of the appearance, where the correlation finds it
    template_seconds: float = 2.0  # unseen for longer, it is looked for by detections alone
    lost_seconds: float = 1.0  # unseen for longer, it may be anywhere
    coast_seconds: float = 0.3  # unseen for no longer, it is shown where it is expected
    camera_motion: bool = True  # compensate for the camera's motion, and for cuts
    memory: int = 24  # views of it that are remembered, beside those that were shown
    memory_step: float = 0.2  # seconds between them

    def __post_init__(self) -> None:
        if not 0 < self.jump_share < 1:
            raise ValueError("jump_share is between 0 and 1")
        if self.memory < 1:
            raise ValueError("memory is at least 1")


_NEVER = -1e6
_SURE_MARGIN = 2.0  # matches of a smaller margin teach nothing
_TAKEN_IOU = 0.6  # a correlation peak that overlaps something else by more is that
_SHOWN_IOU = 0.5  # of the detection of what is shown, at least
_PART_INSIDE = 0.8  # share of a box inside the target's, from which on it is a part of it
_SAME_IOU = 0.3  # boxes that overlap by less are at different places
_SMALLEST_AREA = 10.0  # of a frame, in sizes squared
_NEARNESS, _NEAR_IOU = 8.0, 0.3  # llr of overlap with where it is expected: 0 at this overlap
_SCORE_WEIGHT = 2.0  # of the logarithm of scores
_SHOWN_WEIGHT = 10.0  # frames that one counts like in which the target was shown
_LEFT_INSIDE = 0.3  # share of a box inside the frame, below which it is not shown


class _Kept(Protocol):
    """What can be kept."""

    def state(self) -> State:
        """What is needed to go on from it."""
        ...


class FollowTracker:
    """Tells which of a frame's boxes are the targets; their ids are 1, 2, ... in their order.

    Labels tell candidates apart: below `num_classes` they are a detector's, and label
    num_classes + k is of the candidate that target k has for itself. Tracks have the latter.

    Args:
        settings: thresholds.
        targets: what was pointed at.
        num_classes: of the detector.
        backwards: whether frames come from the last to the first; only the first pointing of each
            target counts then.

    Attributes:
        past: by the index of a frame, tracks that are known already and are given with its own.
        placed: by position of each target that the last frame shows its box there, (4,) xyxy.
    """

    def __init__(
        self,
        settings: FollowSettings,
        targets: Sequence[Target] = (),
        num_classes: int = 0,
        *,
        backwards: bool = False,
    ) -> None:
        self.settings, self.targets, self.num_classes = settings, targets, num_classes
        self.uses_camera_motion = settings.camera_motion
        self.past: Mapping[int, Tracks] = {}
        self.placed: dict[int, FloatArray] = {}
        self._backwards = backwards
        self._time, self._last_time = 0.0, math.nan  # since the first frame; of the last frame
        self._frame_size: tuple[int, int] | None = None
        self._num_shown = np.zeros(len(targets), np.int64)  # pointings that were reached, of each
        self._noise, self._similarity = MotionNoise(), SimilarityDensities()
        # Of the targets that were reached, a row each.
        self._filters = BoxFilters.start(np.empty(0, np.int64), np.empty((0, 4), np.float32), 0.0)
        self._memories: list[Memory] = []
        self._rivals = Rivals(len(targets))
        self._usual_score = 0.6

    def reached(self, time: float) -> dict[int, Pointing]:
        """By position of the target, what it is shown as in the frame of that time."""
        counts = {k: self._num_over(k, time) for k in range(len(self.targets))}
        return {
            k: self.targets[k].pointings[count - 1]
            for k, count in counts.items()
            if count > self._num_shown[k]
        }

    def expected(self, time: float) -> dict[int, FloatArray]:
        """By position of the target the box (4,) that is expected then, of those seen lately."""
        if not len(self._filters):
            return {}
        fresh = self._time - self._filters.seen <= self.settings.template_seconds
        position = self._filters.position(self._noise)
        velocity = self._filters.velocities[:, self._noise.chosen[:2], np.arange(2)]
        position[:, :2] += abs(time - self._last_time) * velocity
        boxes = corners(position)
        return {int(self._filters.ids[row]) - 1: boxes[row] for row in np.flatnonzero(fresh)}

    def is_waiting(self, time: float) -> bool:
        """Whether nothing is followed yet in the frame of that time."""
        return not len(self._filters) and not self.reached(time)

    def update(self, observation: Observation) -> FrameTracks:
        """The boxes of the targets in the next frame."""
        self._begin_frame(observation)
        found, embeddings = observation.detections, normalised(observation.embeddings)
        shown = self._start(observation.time, found, embeddings)
        numbers = np.zeros((len(found), 2), np.int64)
        is_detected = found.labels < self.num_classes
        if len(self._filters):
            detected = replace(
                observation,
                time=self._time,  # which grows, in whatever direction
                detections=found[is_detected],
                embeddings=observation.embeddings[is_detected],
            )
            numbers[is_detected] = self._rivals.update(detected)
        chosen = self._choose(found, embeddings, shown, numbers)
        tracks = self._tracks(found, chosen)
        if past := self.past.get(observation.index):
            tracks = Tracks.joined([past, tracks])
        return FrameTracks(observation.index, observation.time, tracks)

    def finish(self) -> EndedTracklets:
        """None: identities are final as they are."""
        return EndedTracklets.none()

    def state(self) -> State:
        """What `restore` needs."""
        state: State = {
            "time": np.array([self._time, self._last_time]),
            "num_shown": self._num_shown,
        }
        parts: dict[str, _Kept] = {
            "noise": self._noise,
            "similarity": self._similarity,
            "filters": self._filters,
            "rivals": self._rivals,
        }
        parts |= {f"memory{row}": memory for row, memory in enumerate(self._memories)}
        for owner, part in parts.items():
            state |= {f"{owner}.{name}": value for name, value in part.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._time, self._last_time = map(float, state["time"])
        self._num_shown = state["num_shown"].copy()
        self._noise.restore(of_owner(state, "noise"))
        self._similarity.restore(of_owner(state, "similarity"))
        self._rivals.restore(of_owner(state, "rivals"))
        self._filters = BoxFilters.from_state(of_owner(state, "filters"))
        self._memories = [
            Memory.restored(of_owner(state, f"memory{row}")) for row in range(len(self._filters))
        ]

    def _num_over(self, position: int, time: float) -> int:
        """How many pointings of a target are not after the frame of that time, in its direction."""
        times = [each.time for each in self.targets[position].pointings]
        if self._backwards:
            return int(times[0] >= time)
        return sum(each <= time for each in times)

    def _begin_frame(self, observation: Observation) -> None:
        """Move what is remembered to the time of a frame; forget where it was after a cut."""
        seconds = 0.0 if math.isnan(self._last_time) else abs(observation.time - self._last_time)
        self._time, self._last_time = self._time + seconds, observation.time
        self._frame_size = observation.frame_size
        motion = observation.motion
        if self.settings.camera_motion and motion.is_cut:
            self._filters.lose()
        elif self.settings.camera_motion and motion.moves():
            self._filters.move(motion.matrix)
        self._filters.predict(seconds)

    def _start(self, time: float, found: Detections, embeddings: FloatArray) -> dict[int, int]:
        """Begin, or begin anew, with what is shown in this frame: rows of targets and of boxes."""
        shown = {}
        for position in self.reached(time):
            own = np.flatnonzero(found.labels == self.num_classes + position)[:1]
            if not len(own):
                continue
            self._num_shown[position] = self._num_over(position, time)
            fresh = BoxFilters.start(np.array([position + 1]), found.boxes[own], self._time)
            known = np.flatnonzero(self._filters.ids == position + 1).tolist()
            if known:
                for name, column in self._filters.state().items():
                    column[known] = fresh.state()[name]
                memory = self._memories[known[0]]
                memory.shown = np.concatenate([memory.shown, embeddings[own]])
            else:
                known = [len(self._filters)]
                self._filters += fresh
                self._memories.append(Memory(embeddings[own], embeddings[:0], self._time))
            shown[known[0]] = int(own[0])
        return shown

    def _choose(
        self,
        found: Detections,
        embeddings: FloatArray,
        shown: Mapping[int, int],
        numbers: IntArray,
    ) -> dict[int, int]:
        """By row of each target that is seen the row of its box; what is sure is learned.

        Args:
            found: N boxes.
            embeddings: (N, D) of them.
            shown: rows of the targets that are shown in this frame, and of their boxes.
            numbers: (N, 2) see `Rivals`.
        """
        if not len(self._filters):
            return {}
        positions = (self._filters.ids - 1).tolist()
        similarities = np.stack([each.similarities(embeddings) for each in self._memories], axis=1)
        told = np.stack([self._rivals.llr(k, numbers) for k in positions], axis=1)
        llr = self._llr(found, similarities) + told
        candidates = llr + self._score_llr(found.scores)
        candidates[:, [*shown]] = _NEVER
        is_detected = found.labels < self.num_classes
        matches, _ = assign(candidates, [(is_detected, self.settings.min_llr)])
        chosen, sure = dict(shown), set(shown)
        for row, position in enumerate(positions):
            if row in shown:
                continue
            own = np.flatnonzero(found.labels == self.num_classes + position)
            match = np.flatnonzero(matches == row)
            over = iou(found.boxes, found.boxes[own])[:, 0] if len(own) else np.zeros(len(found))
            taken = (is_detected & (told[:, row] < -1) & (over > _TAKEN_IOU)).any()
            is_there = (
                len(own)
                and not taken
                and self._is_there(found.scores[own[0]], similarities[own[0], row])
            )
            if len(match) and not (
                is_there and over[match[0]] < _SAME_IOU and llr[own[0], row] > llr[match[0], row]
            ):
                chosen[row] = int(match[0])
                apart = iou(found.boxes, found.boxes[match])[:, 0] < _SAME_IOU
                rival = candidates[apart & is_detected, row].max(initial=-np.inf)
                if candidates[match[0], row] - rival >= _SURE_MARGIN:
                    sure.add(row)
            elif is_there:
                chosen[row] = int(own[0])
        self._learn(found, embeddings, similarities, chosen, sure)
        for row, index in chosen.items():
            if row not in sure:
                continue
            over = np.where(is_detected, iou(found.boxes, found.boxes[[index]])[:, 0], np.nan)
            # What is shown is exact: a box that differs by so much is of something else.
            limit = _SHOWN_IOU if row in shown else _SAME_IOU
            is_it = (over == np.nanmax(over, initial=limit)) & (over >= limit)
            weight = _SHOWN_WEIGHT if row in shown else 1.0
            inside = intersection(found.boxes, found.boxes[[index]])[:, 0] / np.maximum(
                area(found.boxes), 1e-6
            )
            is_other = (over < limit) & (inside < _PART_INSIDE)  # parts of it are no rivals
            self._rivals.learn(positions[row], numbers, is_it, is_other, weight)
        return chosen

    def _llr(self, found: Detections, similarities: FloatArray) -> FloatArray:
        """(N, M) log-likelihood ratio of each pair of box and target."""
        filters, later = self._filters, self._similarity.llr(similarities, later=True)
        position = filters.position(self._noise)
        smooth, jumped = filters.llr(
            centre_size(found.boxes), self._noise, self.settings.jump_share
        )
        near = iou(found.boxes, corners(position))
        for row, id_ in enumerate(filters.ids.tolist()):
            own = found.labels == self.num_classes + id_ - 1
            if own.any():
                near[:, row] = np.maximum(near[:, row], iou(found.boxes, found.boxes[own])[:, 0])
        told = _NEARNESS * (near - _NEAR_IOU)
        llr: FloatArray = np.maximum(told, jumped) + later
        lost = self._time - filters.seen > self.settings.lost_seconds
        if lost.any() and self._frame_size:
            size = sizes(position)[lost, 0]
            area = np.maximum(np.prod(self._frame_size) / size**2, _SMALLEST_AREA)
            told = self._similarity.llr(similarities[:, lost], later=True, outliers=MEAN_OUTLIERS)
            llr[:, lost] = np.maximum(smooth[:, lost], -np.log(area)) + told
        return llr

    def _score_llr(self, scores: FloatArray) -> FloatArray:
        """(N, 1) of the scores of detections: what is an object scores more than what is none."""
        told: FloatArray = np.log(np.maximum(scores, 1e-3) / self._usual_score)[:, None]
        weighted: FloatArray = (_SCORE_WEIGHT * np.minimum(told, 0)).astype(np.float32)
        return weighted

    def _is_there(self, sharpness: float, similarity: float) -> bool:
        """Whether a target is where the correlation has its peak."""
        if sharpness < self.settings.min_sharpness:
            return False
        told = self._similarity.llr(np.array([similarity], np.float32), later=True)
        return bool(told[0] >= self.settings.min_template_llr)

    def _learn(
        self,
        found: Detections,
        embeddings: FloatArray,
        similarities: FloatArray,
        chosen: Mapping[int, int],
        sure: set[int],
    ) -> None:
        """Correct the filters of targets that are seen; learn how the sure ones look."""
        rows = np.array([*chosen], np.int64)
        boxes = found.boxes[[*chosen.values()]]
        are_sure = np.array([row in sure for row in rows.tolist()], np.bool_)
        self._filters.correct(rows, boxes, self._time, self._noise, are_sure)
        if not len(rows):
            return
        apart = iou(found.boxes, boxes) < 0.1
        others = (found.labels < self.num_classes)[:, None] & apart
        for column, row in enumerate(rows.tolist()):
            if row not in sure:
                continue
            index = chosen[row]
            self._similarity.learn_impostors(similarities[others[:, column], row])
            if found.labels[index] < self.num_classes:
                self._similarity.learn_own(similarities[[index], row])
                self._similarity.learn_own(similarities[[index], row], later=True)
                self._memories[row].learn(
                    embeddings[index],
                    self._time,
                    step=self.settings.memory_step,
                    views=self.settings.memory,
                )

    def _tracks(self, found: Detections, chosen: Mapping[int, int]) -> Tracks:
        """Boxes of the targets that are seen, and those expected of targets missed just now."""
        rows = np.array([*chosen], np.int64)
        ids = self._filters.ids[rows]
        seen = found[np.array([*chosen.values()], np.int64)]
        self.placed = {int(id_) - 1: box for id_, box in zip(ids, seen.boxes, strict=True)}
        tracks = Tracks(
            seen.boxes,
            np.clip(seen.scores, 0, 1),
            self.num_classes + ids - 1,
            ids,
            masks=seen.masks,
        )
        unseen = self._time - self._filters.seen
        missed = np.flatnonzero((unseen > 0) & (unseen <= self.settings.coast_seconds))
        boxes = corners(self._filters.position(self._noise)[missed])
        visible = share_inside(boxes, self._frame_size) >= _LEFT_INSIDE
        missed, boxes = missed[visible], boxes[visible]
        ids = self._filters.ids[missed]
        coasted = Tracks(
            boxes,
            np.zeros(len(ids), np.float32),
            self.num_classes + ids - 1,
            ids,
            np.ones(len(ids), np.bool_),
        )
        return Tracks.joined([tracks, coasted])
