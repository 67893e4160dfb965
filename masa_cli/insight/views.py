"""The best views of each track: large, whole, unhidden, surely found, and spread over its life."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masa_cli.boxes import area, intersection
from masa_cli.formats.track_table import TrackTable
from masa_cli.insight.lifetimes import rows_by_track
from masa_cli.structures import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """Which views are worth a picture."""

    per_track: int = 5  # at most
    least_side: float = 16.0  # shorter side of a box, pixels
    margin: float = 0.1  # of the box's size that is shown around it


def best_views(table: TrackTable, size: tuple[int, int], settings: ViewSettings) -> IntArray:
    """Rows of the table, at most `per_track` of each track; tracks too small have none.

    Args:
        table: the tracks; interpolated boxes are never chosen.
        size: width and height of the video, pixels.
        settings: see there.
    """
    quality = _quality(table, size, settings)
    chosen = []
    for rows in rows_by_track(table):
        good = rows[quality[rows] > 0]
        if len(good):
            chosen.append(_spread(table.frames, quality, good, settings.per_track))
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def crop_box(box: FloatArray, size: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the pixels to cut out, within the picture and of at least one."""
    width, height = size
    around = margin * (box[2:] - box[:2])
    x1, y1 = np.floor(box[:2] - around).astype(int).tolist()
    x2, y2 = np.ceil(box[2:] + around).astype(int).tolist()
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, max(min(x2, width), x1 + 1), max(min(y2, height), y1 + 1)


def _quality(
    table: TrackTable, size: tuple[int, int], settings: ViewSettings
) -> NDArray[np.float64]:
    """(M,) how good each view is; 0 for what must not be chosen."""
    tracks = table.tracks
    boxes = tracks.boxes.astype(np.float64)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    areas = area(boxes)
    frame = np.array([[0, 0, *size]], np.float64)
    inside = intersection(boxes, frame)[:, 0] / np.maximum(areas, 1e-6)
    quality = np.sqrt(np.maximum(areas, 0)) * inside**2 * (1 - _hidden(table, boxes)) ** 2
    quality *= np.clip(tracks.scores, 0.01, None)
    quality[(sides < settings.least_side) | tracks.interpolated | (inside <= 0)] = 0
    return quality


def _hidden(table: TrackTable, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) share of each box that the box most in its way covers, if that is nearer (lower)."""
    hidden = np.zeros(len(boxes))
    starts = np.flatnonzero(np.diff(table.frames, prepend=-1))
    for rows in np.split(np.arange(len(boxes)), starts[1:]) if len(boxes) else []:
        own = boxes[rows]
        share = intersection(own, own) / np.maximum(area(own), 1e-6)[:, None]
        nearer = own[None, :, 3] > own[:, None, 3]  # its foot is lower in the picture
        hidden[rows] = np.where(nearer, share, 0).max(axis=1, initial=0)
    return np.clip(hidden, 0, 1)


def _spread(frames: IntArray, quality: NDArray[np.float64], rows: IntArray, count: int) -> IntArray:
    """The best rows, no two of them nearer in time than half of an even spacing."""
    apart = (frames[rows[-1]] - frames[rows[0]]) / (2 * count)
    chosen: list[int] = []
    for row in rows[np.argsort(-quality[rows], kind="stable")].tolist():
        if all(abs(frames[row] - frames[other]) > apart for other in chosen):
            chosen.append(row)
        if len(chosen) == count:
            break
    return np.array(chosen, np.int64)
