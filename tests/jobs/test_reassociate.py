"""Gaps of given tracks are closed where the track itself shows that this hits."""

import numpy as np
import pytest

from masa_cli.formats.tables import TrackTable
from masa_cli.jobs.reassociate import decided_on
from masa_cli.structures import Detections, Observation, Tracks
from masa_cli.tracking.linking import LinkingSettings
from masa_cli.tracking.recognition import RecognitionSettings

NUM_FRAMES = 30


def decided(lefts, missing):
    """Tracks of these positions, of which some frames are missing."""
    rows, observations = [], []
    for frame in range(NUM_FRAMES):
        here = [row for row in range(len(lefts)) if (row, frame) not in missing]
        left = np.array([lefts[row][frame] for row in here])
        boxes = np.stack([left, 0 * left + 100, left + 40, 0 * left + 180], axis=1)
        boxes = boxes.astype(np.float32).reshape(-1, 4)
        ones, zeros = np.ones(len(here), np.float32), np.zeros(len(here), np.int64)
        rows.append(Tracks(boxes, ones, zeros, np.array(here, np.int64) + 1))
        nothing = np.zeros((len(here), 8), np.float32)
        found = Detections(boxes, ones, zeros)
        observations.append(Observation(frame, frame / 10, found, nothing))
    frames = np.repeat(np.arange(NUM_FRAMES), [len(each) for each in rows])
    table = TrackTable(frames, Tracks.joined(rows), ("person",), NUM_FRAMES)
    settings = LinkingSettings(), RecognitionSettings()
    return decided_on(table, observations, None, *settings, (640, 480))


def put_in(found):
    return {
        (found.names[id_], frame.index)
        for frame in found.refined()
        for id_, is_interpolated in zip(
            frame.tracks.ids.tolist(), frame.tracks.interpolated.tolist(), strict=True
        )
        if is_interpolated
    }


@pytest.mark.parametrize("length", [1, 3])
def test_gaps_of_tracks_that_move_unevenly_are_left(length):
    steps = np.arange(NUM_FRAMES)
    even = 20.0 + 3 * steps
    uneven = 400.0 + 25 * (steps // 2 % 2)  # there and back by more than half its width
    gap = range(12, 12 + length)
    found = decided([even, uneven], {(row, frame) for row in (0, 1) for frame in gap})
    assert put_in(found) == {(1, frame) for frame in gap}


def test_a_gap_longer_than_anything_that_was_seen_is_left():
    even = [20.0 + 3 * np.arange(NUM_FRAMES)]
    seen = {*range(10, 14), *range(22, 26)}
    found = decided(even, {(0, frame) for frame in range(NUM_FRAMES) if frame not in seen})
    assert put_in(found) == set()
