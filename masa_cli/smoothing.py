"""Whole-video clean-up of finished tracks, as the MASA demo does it (spec section 8.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from masa_cli.boxes import area, intersection
from masa_cli.structures import BoolArray, FloatArray, IntArray, Tracks


@dataclass(frozen=True, slots=True)
class CleanUpSettings:
    """What counts as a giant box, and how boxes are smoothed."""

    giant_area: float = 10_000.0  # smaller boxes are never giants, square pixels
    neighbour_score: float = 0.2  # only boxes above this score testify against a giant
    inside: float = 0.75  # share of a neighbour's own area within the box that counts
    many_inside: int = 6  # more neighbours inside than this condemn a box
    some_inside: int = 4  # so many condemn a box that scores lower than all of them
    image_share: float = 2 / 3  # more of the image than this condemns a box
    window: int = 5  # frames of the moving average, odd


def clean_up(
    frames: IntArray, tracks: Tracks, *, width: int, height: int, settings: CleanUpSettings
) -> tuple[IntArray, Tracks]:
    """Drop tracks of giant boxes, smooth the other boxes, give each run its mean score.

    A run is a stretch of consecutive frames in which one track is seen. Boxes of runs shorter than
    the window stay as they are.

    Args:
        frames: (N,) frame index of each row, ascending.
        tracks: all rows of the video, (N,).
        width: of the image, pixels.
        height: of the image, pixels.
        settings: thresholds.

    Returns:
        The rows that remain, in the order given.
    """
    giants = _giant_ids(frames, tracks, width * height, settings)
    keep = ~np.isin(tracks.ids, giants)
    frames, tracks = frames[keep], tracks[keep]
    # Rows of one run become neighbours: by track, then by frame.
    order = np.lexsort((frames, tracks.ids))
    same_track = np.diff(tracks.ids[order]) == 0
    next_frame = np.diff(frames[order]) == 1
    ends = np.flatnonzero(~(same_track & next_frame)) + 1
    boxes, scores = tracks.boxes.copy(), tracks.scores.copy()
    for run in np.split(order, ends) if len(order) else []:
        if len(run) >= settings.window:
            boxes[run] = _moving_average(tracks.boxes[run], settings.window)
        scores[run] = tracks.scores[run].mean()
    return frames, replace(tracks, boxes=boxes, scores=scores)


def _giant_ids(
    frames: IntArray, tracks: Tracks, image_area: int, settings: CleanUpSettings
) -> IntArray:
    """Ids of tracks that are a giant in any frame."""
    giants = np.zeros(len(tracks), bool)
    starts = np.flatnonzero(np.diff(frames, prepend=-1))
    for rows in np.split(np.arange(len(frames)), starts[1:]):
        giants[rows] = _giants(tracks[rows], image_area, settings)
    return tracks.ids[giants]


def _giants(tracks: Tracks, image_area: int, settings: CleanUpSettings) -> BoolArray:
    """(N,) which boxes of one frame swallow their neighbours or the picture."""
    areas = area(tracks.boxes)
    witnesses = tracks.scores > settings.neighbour_score
    others = witnesses[None, :] & ~np.eye(len(tracks), dtype=bool)
    share = intersection(tracks.boxes, tracks.boxes) / np.maximum(areas, 1e-6)[None, :]
    num_inside = ((share > settings.inside) & others).sum(axis=1)
    lowest = np.where(others, tracks.scores[None, :], np.inf).min(axis=1, initial=np.inf)
    condemned: BoolArray = (
        ((num_inside >= settings.some_inside) & (tracks.scores < lowest))
        | (num_inside > settings.many_inside)
        | (areas > image_area * settings.image_share)
    )
    # A lone box, or one with only weak neighbours, is never a giant, however big.
    return condemned & (areas >= settings.giant_area) & others.any(axis=1)


def _moving_average(boxes: FloatArray, window: int) -> FloatArray:
    """(N, 4) each coordinate averaged over `window` rows; the ends are repeated outwards."""
    half = window // 2
    padded = np.pad(boxes.astype(np.float64), ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    averages: FloatArray = windows.mean(axis=-1).astype(np.float32)
    return averages
