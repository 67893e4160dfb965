"""Tracks of any tool are split where they were lost, hidden, or became somebody else."""

import numpy as np

from masa_cli.structures import CameraMotion, FrameTracks, Tracks
from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.splitting import (
    SplittingSettings,
    TrackletSplitter,
    TracksSeen,
    find_switches,
)

DIM, SETTINGS = 16, SplittingSettings()
OBJECTS = np.random.default_rng(0).normal(size=(6, DIM))


def seen(index, rows, *, is_cut=False, noise=0.3):
    """One frame of (track, object, left) rows."""
    rng = np.random.default_rng(index)
    ids, objects, lefts = (np.array(column) for column in zip(*rows, strict=True))
    boxes = np.stack([lefts, lefts * 0 + 10, lefts + 20, lefts * 0 + 60], axis=1)
    boxes = boxes.astype(np.float32)
    count = len(rows)
    tracks = Tracks(boxes, np.ones(count, np.float32), np.zeros(count, np.int64), ids)
    vectors = OBJECTS[objects] + noise * rng.normal(size=(count, DIM))
    motion = CameraMotion.identity(is_cut=is_cut)
    frame = FrameTracks(index, index / 10, tracks)
    return TracksSeen(frame, normalised(vectors.astype(np.float32)), motion, (400, 100))


def tracklets(frames, switches=None):
    """Tracklets of each track, in their order."""
    splitter = TrackletSplitter(switches or {}, SETTINGS)
    found = {}
    for frame in splitter.split(frames):
        for id_, number in zip(
            frame.tracks.ids.tolist(), frame.record.tracklets.tolist(), strict=True
        ):
            found.setdefault(id_, {}).setdefault(number, []).append(frame.index)
    return {id_: list(each.values()) for id_, each in found.items()}, splitter


def test_a_track_that_becomes_somebody_else_is_split_there():
    frames = [
        seen(index, [(1, 0 if index < 20 else 1, 0), (2, 1 if index < 20 else 0, 50), (3, 2, 100)])
        for index in range(40)
    ]
    switches = find_switches(frames, SETTINGS)
    assert set(switches) == {1, 2}
    assert all(len(each) == 1 and abs(each[0] - 20) <= 1 for each in switches.values())
    found, _ = tracklets(frames, switches)
    assert [len(found[id_]) for id_ in (1, 2, 3)] == [2, 2, 1]


def test_a_track_that_stays_itself_is_not_split():
    frames = [seen(index, [(1, 0, 0), (2, 1, 50), (3, 2, 100)]) for index in range(40)]
    assert find_switches(frames, SETTINGS) == {}


def test_one_track_alone_is_not_split():
    assert find_switches([seen(index, [(1, 0, 0)]) for index in range(40)], SETTINGS) == {}
    assert find_switches([], SETTINGS) == {}


def test_a_track_that_was_lost_or_hidden_is_split():
    def rows(index):
        hidden = 12 <= index < 15
        own = [] if 5 <= index < 9 else [(1, 0, 0)]
        return [*own, (2, 1, 4 if hidden else 60)]

    found, splitter = tracklets([seen(index, rows(index)) for index in range(20)])
    assert found[1] == [list(range(5)), list(range(9, 15)), list(range(15, 20))]
    assert found[2] == [list(range(15)), list(range(15, 20))]
    assert splitter.owners == {1: 1, 2: 2, 3: 1, 4: 1, 5: 2}
    assert sorted(splitter.finish().numbers.tolist()) == [4, 5]


def test_a_short_gap_splits_nothing():
    frames = [
        seen(index, [(1, 0, 0), (2, 1, 60)] if index % 3 else [(2, 1, 60)]) for index in range(12)
    ]
    found, _ = tracklets(frames)
    assert [len(each) for each in found.values()] == [1, 1]


def test_a_cut_ends_all_tracklets():
    frames = [seen(index, [(1, 0, 0), (2, 1, 60)], is_cut=index == 5) for index in range(10)]
    found, _ = tracklets(frames)
    assert found == {
        1: [list(range(5)), list(range(5, 10))],
        2: [list(range(5)), list(range(5, 10))],
    }


def test_the_mean_of_a_tracklet_is_of_boxes_that_show_it():
    frames = [seen(0, [(1, 0, 0), (2, 1, 60)]), seen(1, [(1, 0, 0), (2, 1, 4)])]
    _, splitter = tracklets(frames)
    ended = splitter.finish()
    alone = normalised(frames[0].embeddings)
    assert np.allclose(ended.embeddings, alone, atol=1e-6)
