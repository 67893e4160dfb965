"""Frames as the first pass leaves them, in few words."""

from __future__ import annotations

import numpy as np

from masa_cli.structures import Trace, Tracks

RATE = 10.0  # frames per second
NO_IDS = np.empty(0, np.int64)


def tracks_at(places, score=0.9, size=(20.0, 40.0)):
    """Boxes of one size with their centres at {id: (x, y)}."""
    centres = np.array(list(places.values()), np.float32).reshape(-1, 2)
    half = np.array(size, np.float32) / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    count = len(boxes)
    return Tracks(
        boxes,
        np.full(count, score, np.float32),
        np.zeros(count, np.int64),
        np.array([*places], int),
    )


def line(index, shown, *, tracklets=None, tentative=None, ended=None, camera=None, is_cut=False):
    """One frame.

    Args:
        index: of the frame.
        shown: {identity: centre} of the live tracks.
        tracklets: their tracklets in the same order; the identities themselves by default.
        tentative: {tracklet: centre}.
        ended: {tracklet: look}.
        camera: (2, 3) its motion.
        is_cut: whether the scene changes.
    """
    looks = np.array(list((ended or {}).values()), np.float32)
    trace = Trace(
        tracklets=np.array([*shown] if tracklets is None else tracklets, np.int64),
        tentative=tracks_at(tentative or {}, score=0.7),
        ended=np.array([*(ended or {})], np.int64),
        looks=looks.reshape(len(ended or {}), -1) if ended else np.empty((0, 0), np.float32),
        camera=np.eye(2, 3) if camera is None else np.array(camera, np.float64),
        is_cut=is_cut,
    )
    return index, index / RATE, tracks_at(shown), trace
