"""All detections of a file at once, as columns: what every reader of detections gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from masa_cli.boxes import wholly_outside
from masa_cli.structures import BoolArray, Detections, FloatArray, IntArray, MaskArray

# Readers refuse numbers of this size and above: float32 would tell pixels apart no finer than 64.
LARGEST = 1e9

# The class of boxes in files that name none.
NAMELESS = "object"


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTable:
    """The detections of a whole video, sorted by frame.

    Attributes:
        frames: (M,) int64 from 0, never decreasing.
        boxes: (M, 4) float32 xyxy in source pixels.
        scores: (M,) float32.
        labels: (M,) int64, indices into `classes`.
        classes: names of the classes.
        masks: (M,) of Mask or None. All are None, where it is left out.
        num_empty: boxes without area that were in the file and are not here.
    """

    frames: IntArray
    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    classes: tuple[str, ...]
    masks: MaskArray = None  # type: ignore[assignment] # never None once made
    num_empty: int = 0

    def __post_init__(self) -> None:
        if self.masks is None:
            object.__setattr__(self, "masks", np.full(len(self.boxes), None))
        if self.frames.shape != (len(self.boxes),) or np.any(np.diff(self.frames) < 0):
            raise ValueError(f"frames must be ({len(self.boxes)},) and sorted, got {self.frames}")
        Detections(
            self.boxes, self.scores, self.labels, self.masks
        )  # checks the shapes of the others

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def from_rows(
        frames: IntArray,
        boxes: FloatArray,
        scores: FloatArray,
        labels: IntArray,
        classes: tuple[str, ...],
        masks: MaskArray | None = None,
    ) -> DetectionTable:
        """Sort rows of any order by frame, equal frames as they come; drop boxes without area."""
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        order = np.flatnonzero(solid)
        order = order[np.argsort(frames[order], kind="stable")]
        return DetectionTable(
            frames[order],
            boxes[order],
            scores[order],
            labels[order],
            classes,
            np.full(len(order), None) if masks is None else masks[order],
            num_empty=len(boxes) - len(order),
        )

    @property
    def num_frames(self) -> int:
        """The least length of the video: one more than the last frame with a box."""
        return int(self.frames[-1]) + 1 if len(self) else 0

    def of_frame(self, index: int) -> Detections:
        """The detections of one frame, in the order of the file; none where it has none."""
        start, stop = np.searchsorted(self.frames, [index, index + 1])
        rows = slice(start, stop)
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows], self.masks[rows])

    def inside(self, width: int, height: int) -> tuple[DetectionTable, int]:
        """The boxes that share area with an image of this size, and how many were dropped.

        Boxes partly outside stay as they are.
        """
        return self._where(~wholly_outside(self.boxes, width, height))

    def before(self, num_frames: int) -> tuple[DetectionTable, int]:
        """The boxes of the first `num_frames` frames, and how many were dropped."""
        return self._where(self.frames < num_frames)

    def scored(self, min_score: float) -> tuple[DetectionTable, int]:
        """The boxes of at least this score, and how many were dropped."""
        return self._where(self.scores >= min_score)

    def _where(self, kept: BoolArray) -> tuple[DetectionTable, int]:
        table = replace(
            self,
            frames=self.frames[kept],
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            labels=self.labels[kept],
            masks=self.masks[kept],
        )
        return table, len(self) - len(table)
