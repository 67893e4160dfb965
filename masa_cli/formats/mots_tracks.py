"""Tracks with masks as MOTS text: overlaps given to the higher score, classes numbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np

from masa_cli.formats.detection_table import NAMELESS
from masa_cli.formats.mots import IGNORE, MotsWriter, read_masks
from masa_cli.formats.track_table import TrackTable, numbered
from masa_cli.masks import as_array, frames_of, without_overlaps
from masa_cli.structures import Frame, IntArray, Mask, Tracks

# MOTSChallenge and KITTI MOTS have these two; the former has pedestrians only and names none.
_NUMBERS: Mapping[str, int] = MappingProxyType(
    {"car": 1, "pedestrian": 2, "person": 2, NAMELESS: 2}
)


def class_numbers(classes: Sequence[str]) -> list[int]:
    """The number of each class: those of the benchmarks, and from 11 on for all others."""
    return [_NUMBERS.get(name, IGNORE + 1 + label) for label, name in enumerate(classes)]


def read_table(path: Path) -> TrackTable:
    """Read masks as tracks: boxes are those around them, ignore regions are left out.

    Class numbers become names as they are, but for car and pedestrian; all scores are 1.

    Raises:
        SourceError: a line is malformed.
    """
    rows = read_masks(path)
    kept = np.flatnonzero(rows.classes != IGNORE)
    masks = [Mask((int(h), int(w)), rows.masks[row]) for row, (h, w) in _sized(kept, rows.sizes)]
    names = {1: "car", 2: "pedestrian"}
    numbers = rows.classes[kept].tolist()
    labels, classes = numbered([names.get(number, str(number)) for number in numbers])
    tracks = Tracks(
        frames_of(masks),
        np.ones(len(kept), np.float32),
        labels,
        rows.ids[kept],
        masks=as_array(masks),
    )
    return TrackTable.from_rows(path, rows.frames[kept], tracks, classes or (NAMELESS,))


def _sized(rows: IntArray, sizes: IntArray) -> list[tuple[int, list[int]]]:
    """Each row with its height and width."""
    return list(zip(rows.tolist(), sizes[rows].tolist(), strict=True))


class MotsTracksWriter:
    """A sink that writes a line for each mask; boxes without a mask are left out.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, classes: Sequence[str]) -> None:
        self._writer = MotsWriter(path)
        self._numbers = np.array(class_numbers(classes), np.int64)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame."""
        apart = without_overlaps(tracks)
        apart = apart[apart.has_mask]
        if not len(apart):
            return
        self._writer.write(
            frame.index,
            apart.ids,
            self._numbers[apart.labels],
            apart.masks[0].size,
            [mask.counts for mask in apart.masks],
        )

    def __enter__(self) -> MotsTracksWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)
