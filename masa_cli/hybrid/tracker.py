"""Tracking by motion and appearance together: evidence from both, added up.

Every pair of a box and a track gets a number of nats: how much likelier the box is if it is that
object than if it is another. Motion and looks are separate witnesses, so their evidence is a sum;
an optimal assignment (scipy's) maximises the total, confident boxes first. A new track that is
confirmed may be one that was lost for longer: it is known by its look, if no other looks like it.
"""

from __future__ import annotations

import math

import numpy as np

from masa_cli.boxes import centres, iou
from masa_cli.camera import CameraMotion, CameraWatch
from masa_cli.hybrid.assignment import assign
from masa_cli.hybrid.fisher import Fisher
from masa_cli.hybrid.likeness import Likeness, of_length_one
from masa_cli.hybrid.looks import Looks
from masa_cli.hybrid.pieces import Ended, Pieces
from masa_cli.hybrid.settings import HybridSettings
from masa_cli.hybrid.visibility import are_hidden, are_whole, share_inside
from masa_cli.kalman import BoxFilters, centre_size, corners
from masa_cli.rows import of_owner
from masa_cli.structures import BoolArray, Detections, FloatArray, Image, IntArray, State, Tracks
from masa_cli.trace import Trace

_NEVER = -1e6  # nats of a pair that must not be joined
_REPLACED = -1  # the id of a track whose object goes on as another one


class HybridTracker:
    """Gives boxes identities by where they were expected and how they look.

    Args:
        settings: thresholds, noise and weights.
    """

    def __init__(self, settings: HybridSettings) -> None:
        self.settings = settings
        self._next_id = 1
        self._time = 0.0
        self._frame_size: tuple[int, int] | None = None  # width, height; of the last picture seen
        self._likeness = Likeness()
        self._fisher = Fisher(settings.fisher_pairs)
        self._camera = CameraWatch()
        self._moved = CameraMotion.identity()
        self._next_number = 1  # of tracklets
        self.trace: Trace | None = None  # of the last frame
        self._remember_nothing(0)

    def see(self, image: Image, boxes: FloatArray) -> None:
        """Look at the next frame itself, before its `update`: did the camera move?

        Args:
            image: (H, W, 3) uint8 RGB; nothing happens where it is empty.
            boxes: (N, 4) xyxy of what may move by itself.
        """
        if not image.size:
            return
        follows = self.settings.follow_camera
        motion = self._camera.update(image, boxes) if follows else CameraMotion.identity()
        self.follow(motion, (image.shape[1], image.shape[0]))

    def follow(self, motion: CameraMotion, frame_size: tuple[int, int]) -> None:
        """What `see` does with what it has seen, for those who know it from elsewhere.

        Args:
            motion: of the camera since the frame before.
            frame_size: width and height, pixels.
        """
        self._frame_size = frame_size
        if not self.settings.follow_camera:
            return
        self._moved = motion
        if self._moved.is_cut:
            self._tracks.lose()
            self._pieces.lose()
        elif self._moved.moves():
            self._tracks.move(self._moved.matrix)
            self._pieces.move(self._moved)

    def update(
        self, index: int, time: float, detections: Detections, embeddings: FloatArray
    ) -> Tracks:
        """Join the boxes of the next frame to the tracks so far.

        Args:
            index: frame index; not used, time is what motion needs.
            time: seconds, growing from call to call.
            detections: N boxes.
            embeddings: (N, D) float32, one row per box.

        Returns:
            The boxes that belong to confirmed tracks, in the order given; `trace` tells more.
        """
        del index
        settings, boxes, scores = self.settings, detections.boxes, detections.scores
        looks = of_length_one(embeddings)
        if not len(self._tracks):
            self._remember_nothing(looks.shape[1])
        self._tracks.predict(time - self._time, settings)
        self._time = time
        confident = scores > settings.confident_score
        weak = ~confident & (scores > settings.continue_score)
        projected = self._fisher.project(looks)
        overlap = iou(boxes, boxes)
        apart = overlap[np.ix_(confident, confident)] < settings.clear_iou
        self._likeness.learn(projected[confident], apart)

        evidence = self._evidence(boxes, projected)
        passes = [(confident, settings.least_nats), (weak, settings.weak_nats)]
        matches, sureness = assign(evidence, passes)
        waits = sureness < settings.wait_nats
        matches[waits] = -1
        hidden = are_hidden(overlap, settings.clear_iou)
        clear = ~hidden & are_whole(boxes, self._frame_size, settings.edge_gap)
        ended = self._continue(matches, boxes, hidden)
        self._learn(matches, looks, clear & (sureness >= settings.learn_nats))
        self._confirm()
        born = (matches < 0) & ~waits & (scores > settings.birth_score)
        born &= ~(overlap[:, matches >= 0] > settings.duplicate_iou).any(axis=1)
        ids, numbers = np.zeros((2, len(boxes)), np.int64)
        ids[matches >= 0] = self._tracks.ids[matches[matches >= 0]]
        numbers[matches >= 0] = self._pieces.numbers[matches[matches >= 0]]
        ended += self._forget()
        numbers[born] = self._start(boxes[born], looks[born], hidden[born], clear[born])
        self.trace = self._traced(detections, ids, numbers, ended)
        return detections[ids > 0].named(ids[ids > 0])

    def open_tracklets(self) -> Ended:
        """Those that have not ended; with them, all tracklets of the traces are told of."""
        return self._pieces.ended(np.arange(len(self._tracks)))

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        state: State = {
            "next": np.array([self._next_id, self._next_number]),
            "time": np.array(self._time),
            "frame_size": np.array(self._frame_size or (0, 0)),
        }
        for owner, part in (*self._parts.items(), *self._rows.items()):
            state |= {f"{owner}.{name}": value for name, value in part.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id, self._next_number = map(int, state["next"])
        self._time = float(state["time"])
        width, height = map(int, state["frame_size"])
        self._frame_size = (width, height) if width else None
        for owner, part in self._parts.items():
            part.restore(of_owner(state, owner))
        self._tracks = BoxFilters.from_state(of_owner(state, "tracks"))
        self._pieces = Pieces.from_state(of_owner(state, "pieces"))
        self._looks = Looks.from_state(of_owner(state, "looks"))

    @property
    def _parts(self) -> dict[str, Likeness | Fisher | CameraWatch]:
        """What learns from the video as a whole."""
        return {"likeness": self._likeness, "fisher": self._fisher, "camera": self._camera}

    @property
    def _rows(self) -> dict[str, BoxFilters | Pieces | Looks]:
        """What is remembered of the tracks, a row each."""
        return {"tracks": self._tracks, "pieces": self._pieces, "looks": self._looks}

    def _remember_nothing(self, dim: int) -> None:
        """No tracks; `dim` numbers are in an embedding."""
        none = np.empty(0, np.int64)
        no_looks = np.empty((0, dim), np.float32)
        # Tentative tracks have the id 0.
        self._tracks = BoxFilters.start(none, np.empty((0, 4), np.float32), 0.0, self.settings)
        self._pieces = Pieces(none, none.astype(np.bool_), np.empty((0, 2)), no_looks)
        self._looks = Looks.start(no_looks, self._fisher)

    def _evidence(self, boxes: FloatArray, projected: FloatArray) -> FloatArray:
        """(N, M) nats for each pair of box and track."""
        settings, tracks = self.settings, self._tracks
        measured = centre_size(boxes)[:, :, None]  # (N, 4, 1)
        height = np.maximum(measured[:, 3], 1)  # (N, 1)
        noise = (settings.position_noise * height) ** 2
        # One coordinate at a time: numpy is slow with sums over so short an axis.
        variances = [column + noise for column in tracks.position_variance.T]  # (N, M) each
        squares = [
            (measured[:, place] - tracks.position[:, place]) ** 2 / variance
            for place, variance in enumerate(variances)
        ]
        place, size = squares[0] + squares[1], squares[2] + squares[3]
        # Of the place, also how sharp the expectation is: a vague one explains any box, poorly.
        spread = np.log(variances[0] * variances[1] * (2 * math.pi / height**2) ** 2)
        evidence: FloatArray = -0.5 * (place + spread + settings.size_weight * size)
        likeness = self._likeness.of(projected @ self._looks.projected.T)
        evidence += settings.look_nats * (likeness - settings.neutral_likeness)
        evidence[place + size > settings.gate**2] = _NEVER
        evidence[:, self._time - tracks.seen > settings.memory_seconds] = _NEVER
        has_left = share_inside(corners(tracks.position), self._frame_size) < settings.edge_share
        evidence[has_left & (likeness < settings.return_likeness)] = _NEVER
        return evidence

    def _continue(self, matches: IntArray, boxes: FloatArray, hidden: BoolArray) -> Ended:
        """Correct the filters of matched tracks; those that were out of sight begin tracklets."""
        matched = matches >= 0
        rows, boxes, hidden = matches[matched], boxes[matched], hidden[matched]
        unseen = self._time - self._tracks.seen[rows]
        again = self._pieces.hidden[rows] & ~hidden | (unseen > self.settings.tracklet_seconds)
        ended = self._pieces.ended(rows[again])
        self._pieces.begin(rows[again], self._new_numbers(int(again.sum())))
        self._pieces.see(rows, centres(boxes), hidden)
        self._tracks.correct(rows, boxes, self._time, self.settings)
        return ended

    def _learn(self, matches: IntArray, looks: FloatArray, clear: BoolArray) -> None:
        """Take in the looks of matched boxes that are seen clearly and are surely theirs."""
        settings, clear = self.settings, clear & (matches >= 0)
        rows, looks = matches[clear], looks[clear]
        old = self._tracks.hits[rows] > settings.confirm_hits
        is_new = self._fisher.learn(looks[old] - self._looks.mean[rows[old]])
        self._looks.learn(rows, looks, self._fisher, settings.momentum)
        self._pieces.sums[rows] += looks
        if is_new:
            self._looks.project_again(self._fisher)

    def _confirm(self) -> None:
        """Name the tracks that have been found often enough, as ones that return if alike."""
        settings, tracks = self.settings, self._tracks
        rows = np.flatnonzero((tracks.ids == 0) & (tracks.hits >= settings.confirm_hits))
        for row, lost in self._returns(rows):
            tracks.ids[row], tracks.ids[lost] = tracks.ids[lost], _REPLACED
        rows = rows[tracks.ids[rows] == 0]
        tracks.ids[rows] = np.arange(self._next_id, self._next_id + len(rows))
        self._next_id += len(rows)

    def _returns(self, rows: IntArray) -> list[tuple[int, int]]:
        """Which of these rows are which lost ones, the most alike first."""
        settings, tracks = self.settings, self._tracks
        unseen = self._time - tracks.seen
        is_lost = (tracks.ids > 0) & (unseen > 0) & (unseen <= settings.return_seconds)
        lost = np.flatnonzero(is_lost)
        likeness = self._likeness.of(self._looks.projected[rows] @ self._looks.projected[lost].T)
        way = np.linalg.norm(self._pieces.place[rows, None] - self._pieces.place[lost], axis=2)
        reach = tracks.position[rows, None, 3] * (1 + settings.return_speed * unseen[lost])
        likeness[way > reach] = -np.inf  # never where a place is unknown: NaN
        found = []
        while likeness.size and likeness.max() > settings.return_likeness:
            row, column = np.unravel_index(likeness.argmax(), likeness.shape)
            rivals = np.append(
                np.delete(likeness[row], column), np.delete(likeness[:, column], row)
            )
            if likeness[row, column] - rivals.max(initial=-np.inf) > settings.return_margin:
                found.append((int(rows[row]), int(lost[column])))
            likeness[row] = likeness[:, column] = -np.inf
        return found

    def _forget(self) -> Ended:
        """Drop tracks unseen for too long, tentative ones unseen at all, and those replaced."""
        settings, tracks = self.settings, self._tracks
        unseen = self._time - tracks.seen
        longest = max(settings.memory_seconds, settings.return_seconds)
        kept = (unseen <= longest) & (tracks.ids >= 0) & ((tracks.ids > 0) | (unseen == 0))
        ended = self._pieces.ended(~kept)
        self._tracks, self._pieces = tracks[kept], self._pieces[kept]
        self._looks = self._looks[kept]
        return ended

    def _start(
        self, boxes: FloatArray, looks: FloatArray, hidden: BoolArray, clear: BoolArray
    ) -> IntArray:
        """Begin tentative tracks on boxes; returns the numbers of their tracklets."""
        none = np.zeros(len(boxes), np.int64)
        numbers = self._new_numbers(len(boxes))
        self._tracks += BoxFilters.start(none, boxes, self._time, self.settings)
        self._pieces += Pieces(
            numbers, hidden, centres(boxes).astype(np.float64), looks * clear[:, None]
        )
        self._looks += Looks.start(looks, self._fisher)
        return numbers

    def _traced(
        self, detections: Detections, ids: IntArray, numbers: IntArray, ended: Ended
    ) -> Trace:
        tentative = (ids == 0) & (numbers > 0)
        return Trace(
            tracklets=numbers[ids > 0],
            tentative=detections[tentative].named(numbers[tentative]),
            ended=ended.numbers,
            looks=ended.looks,
            camera=self._moved.matrix,
            is_cut=self._moved.is_cut,
        )

    def _new_numbers(self, count: int) -> IntArray:
        first, self._next_number = self._next_number, self._next_number + count
        return np.arange(first, self._next_number)
