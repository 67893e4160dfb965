"""Where masks come from: every segmenter has `segment`, nothing else is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from masa_cli.masks import tightened
from masa_cli.structures import FloatArray, Frame, Mask, Tracks


class Segmenter(Protocol):
    """Finds the pixels of the objects that boxes are drawn around."""

    def segment(self, frame: Frame, boxes: FloatArray) -> Sequence[Mask | None]:
        """For each of (N, 4) boxes xyxy in source pixels its mask; None where it finds none."""
        ...


class Outliner:
    """Gives masks to the tracks of a frame, where they have none yet.

    Args:
        segmenter: finds masks; None where detections bring their own.
        tightens: whether boxes are drawn closely around the masks.
    """

    def __init__(self, segmenter: Segmenter | None, *, tightens: bool = False) -> None:
        self._segmenter, self._tightens = segmenter, tightens

    def outline(self, frame: Frame, tracks: Tracks) -> Tracks:
        """The same tracks with masks."""
        rows = np.flatnonzero(~tracks.has_mask)
        if self._segmenter and len(rows):
            masks = tracks.masks.copy()
            masks[rows] = self._segmenter.segment(frame, tracks.boxes[rows])
            tracks = replace(tracks, masks=masks)
        return tightened(tracks) if self._tightens else tracks
