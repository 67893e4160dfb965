"""Observations and tracked frames in few words."""

from __future__ import annotations

import numpy as np

from masa_cli.structures import (
    CameraMotion,
    EndedTracklets,
    FrameTracks,
    Observation,
    TrackletRecord,
    Tracks,
)

RATE = 10.0  # frames per second
NO_IDS = np.empty(0, np.int64)


def observed(index, time, detections, embeddings=None, **more):
    """One observation; without embeddings, as trackers that need none are given it."""
    if embeddings is None:
        embeddings = np.empty((len(detections), 0), np.float32)
    return Observation(index, time, detections, embeddings, **more)


def update(tracker, *frame, **more):
    """The tracks that a tracker gives the next frame."""
    return tracker.update(observed(*frame, **more)).tracks


def tracks_at(centres, score=0.9, size=(20.0, 40.0)):
    """Boxes of one size with their centres at {id: (x, y)}."""
    middles = np.array(list(centres.values()), np.float32).reshape(-1, 2)
    half = np.array(size, np.float32) / 2
    boxes = np.concatenate([middles - half, middles + half], axis=1)
    count = len(boxes)
    return Tracks(
        boxes,
        np.full(count, score, np.float32),
        np.zeros(count, np.int64),
        np.array([*centres], int),
    )


def tracked(index, shown, *, tracklets=None, tentative=None, ended=None, camera=None, is_cut=False):
    """One frame as the first pass leaves it.

    Args:
        index: of the frame.
        shown: {identity: centre} of the live tracks.
        tracklets: their tracklets in the same order; the identities themselves by default.
        tentative: {tracklet: centre}.
        ended: {tracklet: embedding}.
        camera: (2, 3) its motion.
        is_cut: whether the scene changes.
    """
    record = TrackletRecord(
        tracklets=np.array([*shown] if tracklets is None else tracklets, np.int64),
        tentative=tracks_at(tentative or {}, score=0.7),
        ended=tracklets_with(ended or {}),
        motion=CameraMotion(
            np.eye(2, 3) if camera is None else np.array(camera, np.float64), is_cut
        ),
    )
    return FrameTracks(index, index / RATE, tracks_at(shown), record)


def tracklets_with(embeddings):
    """Tracklets that are over, by {number: embedding}."""
    if not embeddings:
        return EndedTracklets.none()
    return EndedTracklets(
        np.array([*embeddings], np.int64), np.array([*embeddings.values()], np.float32)
    )
