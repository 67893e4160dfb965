"""Association: which box of this frame is which object of the frames before, by appearance.

One tracker serves every published variant of MASA: what differs between them is a row of
`MasaSettings`. numpy only; the order of the steps in `Tracker.update` is the algorithm.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from masa_cli.boxes import centres, iou
from masa_cli.structures import (
    BoolArray,
    Detections,
    EndedTracklets,
    FloatArray,
    FrameTracks,
    IntArray,
    Observation,
    State,
    Tracks,
)
from masa_cli.tracking.kalman import Rows, of_owner


@dataclass(frozen=True, slots=True)
class MasaSettings:
    """When a box continues a track, starts one, or is ignored (spec sections 9.1 and 9.2).

    The defaults are the settings of the MASA demo.
    """

    birth_score: float = 0.1  # a box above this score that continues nothing starts a track
    continue_score: float = 0.01  # only boxes above this score continue a track
    match_similarity: float = 0.5  # only pairs above this similarity are joined
    memory_frames: int = 10  # a track unseen for so many frames is forgotten
    momentum: float = 0.8  # weight of the new embedding in a track's memory, 0 to 1
    # Similarity is a weighted sum of three measures of the same embeddings.
    bisoftmax_weight: float = 0.5  # mean of softmax over tracks and softmax over boxes
    softmax_weight: float = 0.0  # softmax over tracks alone
    cosine_weight: float = 0.5
    same_label: bool = False  # similarity counts only between boxes of one label
    max_distance: float = math.inf  # centres may move so far, in pixels, before similarity decays
    frame_rate: float = 30.0  # sets how fast the allowed distance grows with the gap, in 1/s
    # A box is a duplicate if it overlaps a box of higher score by more than:
    duplicate_score: float = 0.5  # the score that tells weak boxes from confident ones
    weak_duplicate_iou: float = 0.3  # IoU, for weak boxes
    confident_duplicate_iou: float = math.inf  # IoU, for confident boxes
    # A box too weak to continue the track it resembles starts none above this similarity.
    ambiguous_similarity: float = math.inf
    # Unmatched distractors still compete for similarity in the following frames.
    distractor_frames: int = 0  # how many frames they are kept
    distractor_iou: float = 0.3  # IoU with a box of higher score above which they are not kept

    # Where masa tune looks for better values; None: nowhere. Others: as jobs.search says.
    search_ranges: ClassVar[Mapping[str, tuple[float, float] | None]] = MappingProxyType(
        {
            "momentum": (0.05, 1.0),
            "memory_frames": (3, 300),
            "bisoftmax_weight": None,  # which measure it is, is a choice of method
            "softmax_weight": None,
            "cosine_weight": None,
            "frame_rate": None,
        }
    )
    former_names: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"backdrop_frames": "distractor_frames", "backdrop_iou": "distractor_iou"}
    )

    def __post_init__(self) -> None:
        if self.memory_frames < 1 or self.distractor_frames < 0:
            raise ValueError("memory_frames must be at least 1 and distractor_frames at least 0")
        if not 0 <= self.momentum <= 1 or self.frame_rate <= 0 or self.max_distance <= 0:
            raise ValueError("momentum is within 0..1, frame_rate and max_distance are positive")


PRESETS: Mapping[str, MasaSettings] = MappingProxyType(
    {
        "masa-demo": MasaSettings(max_distance=100.0),
        "masa-benchmark": MasaSettings(birth_score=0.0001, continue_score=0.0001),
        "masa-bdd": MasaSettings(
            birth_score=0.5,
            continue_score=0.3,
            match_similarity=0.6,
            bisoftmax_weight=1.0,
            cosine_weight=0.0,
            duplicate_score=0.3,
            confident_duplicate_iou=0.7,
            ambiguous_similarity=0.5,
            distractor_frames=1,
        ),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class MasaMemory(Rows):
    """What is remembered of M objects, in the order they were first seen."""

    ids: IntArray  # (M,) from 1; 0 for distractors
    embeddings: FloatArray  # (M, D)
    boxes: FloatArray  # (M, 4) last seen, xyxy in source pixels
    labels: IntArray  # (M,)
    frames: IntArray  # (M,) index of the frame last seen

    @staticmethod
    def empty(dim: int) -> MasaMemory:
        """Of nothing, for embeddings of that size."""
        none = np.empty(0, np.int64)
        return MasaMemory(
            none, np.empty((0, dim), np.float32), np.empty((0, 4), np.float32), none, none
        )


class MasaTracker:
    """Gives boxes identities by nearest neighbours among embeddings.

    All state lives in the instance: two trackers do not know of each other.

    Args:
        settings: a preset or your own.
        temperature: dot products of embeddings are divided by it before a softmax. It belongs to
            the adapter that made the embeddings; MASA's own adapters use 1.
    """

    uses_camera_motion = False  # the camera does not matter to appearance

    def __init__(self, settings: MasaSettings, *, temperature: float = 1.0) -> None:
        self.settings = settings
        self._temperature = temperature
        self._next_id = 1
        self._tracks: MasaMemory | None = None  # None until the size of embeddings is known
        self._distractors: deque[MasaMemory] = deque(
            maxlen=settings.distractor_frames
        )  # newest first

    def update(self, observation: Observation) -> FrameTracks:
        """Join the boxes of the next frame to the tracks so far.

        Time does not matter here: appearance does not care.

        Returns:
            The boxes that continue or start a track, highest score first. A frame without boxes
            leaves the memory untouched: it ages nothing, as in the original.
        """
        index = observation.index
        tracks = self._joined(index, observation.detections, observation.embeddings)
        return FrameTracks(index, observation.time, tracks)

    def finish(self) -> EndedTracklets:
        """Nothing: identities are final as they are."""
        return EndedTracklets.none()

    def state(self) -> State:
        """Everything a new tracker with the same settings needs to go on as this one would."""
        state: State = {"next_id": np.array(self._next_id)}
        if self._tracks is not None:
            for part, memory in enumerate((self._tracks, *self._distractors)):
                state |= {f"{part}.{name}": array for name, array in memory.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Continue from the `state()` of another tracker."""
        self._next_id = int(state["next_id"])
        num_parts = len({key.split(".")[0] for key in state if "." in key})
        memories = [MasaMemory.from_state(of_owner(state, str(part))) for part in range(num_parts)]
        self._tracks = memories[0] if memories else None
        self._distractors.clear()
        self._distractors.extend(memories[1:])

    def _joined(self, index: int, detections: Detections, embeddings: FloatArray) -> Tracks:
        """The steps of the algorithm, in their order."""
        if not len(detections):
            return Tracks.empty()
        rows = self._without_duplicates(detections)
        detections, embeddings = detections[rows], embeddings[rows]
        memory = self._tracks if self._tracks is not None else MasaMemory.empty(embeddings.shape[1])

        matches, ambiguous = self._match(index, detections, embeddings, memory)
        starting = (matches < 0) & ~ambiguous & (detections.scores > self.settings.birth_score)
        ids = self._name(matches, starting, memory)
        seen = MasaMemory(
            ids, embeddings, detections.boxes, detections.labels, np.full(len(ids), index, np.int64)
        )
        self._remember(index, seen, matches, starting, memory)
        self._keep_distractors(seen, (ids == 0) & ~ambiguous)

        named = ids > 0
        return detections[named].named(ids[named])

    def _without_duplicates(self, detections: Detections) -> IntArray:
        """Rows to keep, highest score first. A dropped box still drops others (spec 9.1 step 3)."""
        settings = self.settings
        order = np.argsort(-detections.scores, kind="stable")
        boxes, scores = detections.boxes[order], detections.scores[order]
        weak = scores < settings.duplicate_score
        limits = np.where(weak, settings.weak_duplicate_iou, settings.confident_duplicate_iou)
        tested = np.flatnonzero(np.isfinite(limits))
        if not len(tested):
            return order
        overlap = iou(boxes[tested], boxes)
        higher_ranked = np.arange(len(boxes))[None, :] < tested[:, None]
        keep = np.ones(len(boxes), bool)
        keep[tested] = ~((overlap > limits[tested, None]) & higher_ranked).any(axis=1)
        return order[keep]

    def _match(
        self, index: int, detections: Detections, embeddings: FloatArray, memory: MasaMemory
    ) -> tuple[IntArray, BoolArray]:
        """Greedy nearest neighbours, boxes in score order, each track taken at most once.

        Returns:
            (N,) row of `memory` that each box continues, or -1, and (N,) whether a box
            resembles a track it may not continue and must not start one either.
        """
        num_tracks = len(memory)
        matches = np.full(len(detections), -1, np.int64)
        ambiguous = np.zeros(len(detections), bool)
        if not num_tracks:
            return matches, ambiguous
        for distractor in self._distractors:
            memory = memory + distractor
        similarity = self._similarity(index, detections, embeddings, memory)
        nearest = similarity.argmax(axis=1).tolist()
        scores = detections.scores.tolist()
        free = np.ones(len(memory), np.float32)
        for row, score in enumerate(scores):
            column = nearest[row]
            if not free[column]:  # taken since: search again among what is left
                column = int((similarity[row] * free).argmax())
            closeness = similarity[row, column] * free[column]
            if closeness <= self.settings.match_similarity or column >= num_tracks:
                continue  # resembles nothing, or a distractor
            if score > self.settings.continue_score:
                matches[row] = column
                free[column] = 0
            else:
                ambiguous[row] = closeness > self.settings.ambiguous_similarity
        return matches, ambiguous

    def _similarity(
        self, index: int, detections: Detections, embeddings: FloatArray, memory: MasaMemory
    ) -> FloatArray:
        """(N, M) weighted sum of softmaxes and cosine, dimmed by distance (spec 9.1 step 4)."""
        settings = self.settings
        products = embeddings @ memory.embeddings.T
        similarity: FloatArray = np.zeros_like(products)
        if settings.cosine_weight:
            lengths = _lengths(embeddings)[:, None] * _lengths(memory.embeddings)
            np.maximum(lengths, 1e-8, out=lengths)
            np.divide(products, lengths, out=similarity)
            similarity *= settings.cosine_weight
        over_tracks = settings.bisoftmax_weight / 2 + settings.softmax_weight
        products *= 1 / self._temperature
        if over_tracks:
            similarity += over_tracks * _softmax(products, axis=1)
        if settings.bisoftmax_weight:
            similarity += settings.bisoftmax_weight / 2 * _softmax(products, axis=0)
        if settings.same_label:
            similarity *= detections.labels[:, None] == memory.labels
        if math.isfinite(settings.max_distance):
            similarity *= self._nearness(detections.boxes, index, memory)
        return similarity

    def _nearness(self, boxes: FloatArray, index: int, memory: MasaMemory) -> FloatArray:
        """(N, M) 1 within the allowed distance between centres, decaying exponentially beyond."""
        settings = self.settings
        here, there = centres(boxes), centres(memory.boxes)
        # In place, coordinate by coordinate: this is half the time of a step at 300 boxes.
        exponent: FloatArray = here[:, None, 0] - there[:, 0]
        exponent *= exponent
        down = here[:, None, 1] - there[:, 1]
        down *= down
        exponent += down
        np.sqrt(exponent, out=exponent)
        # Beyond a growth of e^80 every distance is allowed; float32 overflows soon after.
        growth = np.minimum((index - memory.frames) * (6 / settings.frame_rate), 80)
        exponent -= (settings.max_distance * np.exp(growth)).astype(np.float32)
        exponent *= -settings.frame_rate / 100
        # exp(-50) is as good as 0, and keeps denormal numbers (slow) out of the products.
        np.clip(exponent, -50, 0, out=exponent)
        return np.exp(exponent, out=exponent)

    def _name(self, matches: IntArray, starting: BoolArray, memory: MasaMemory) -> IntArray:
        """(N,) the identity of each box; 0 for none. New ones count on in score order."""
        ids = np.zeros(len(matches), np.int64)
        matched = matches >= 0
        ids[matched] = memory.ids[matches[matched]]
        num_new = int(starting.sum())
        ids[starting] = np.arange(self._next_id, self._next_id + num_new)
        self._next_id += num_new
        return ids

    def _remember(
        self,
        index: int,
        seen: MasaMemory,
        matches: IntArray,
        starting: BoolArray,
        memory: MasaMemory,
    ) -> BoolArray:
        """Blend matched boxes into their tracks, add the new ones, forget the long unseen.

        Returns:
            (M,) which tracks of `memory` are still remembered.
        """
        matched = matches >= 0
        rows, momentum = matches[matched], np.float32(self.settings.momentum)
        memory.embeddings[rows] *= 1 - momentum
        memory.embeddings[rows] += momentum * seen.embeddings[matched]
        memory.boxes[rows] = seen.boxes[matched]
        memory.labels[rows] = seen.labels[matched]
        memory.frames[rows] = index
        fresh = index - memory.frames < self.settings.memory_frames
        if not fresh.all():
            memory = memory[fresh]
        self._tracks = memory + seen[starting]
        return fresh

    def _keep_distractors(self, seen: MasaMemory, unnamed: BoolArray) -> None:
        """Store this frame's boxes without identity, less those that overlap a better box."""
        if not self.settings.distractor_frames:
            return
        rows = np.flatnonzero(unnamed)
        higher_ranked = np.arange(len(seen))[None, :] < rows[:, None]
        overlaps = iou(seen.boxes[rows], seen.boxes) > self.settings.distractor_iou
        unnamed[rows[(overlaps & higher_ranked).any(axis=1)]] = False
        self._distractors.appendleft(seen[unnamed])


def _lengths(vectors: FloatArray) -> FloatArray:
    """(N,) Euclidean length of each row."""
    squares = np.einsum("nd,nd->n", vectors, vectors)
    lengths: FloatArray = np.sqrt(squares, out=squares)
    return lengths


def _softmax(logits: FloatArray, axis: int) -> FloatArray:
    """Softmax over one axis of a matrix."""
    softmax: FloatArray = logits - logits.max(axis=axis, keepdims=True)
    np.exp(softmax, out=softmax)
    softmax /= softmax.sum(axis=axis, keepdims=True)
    return softmax
