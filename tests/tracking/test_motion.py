"""Motion alone: straight lines, crossings and gaps worked out by hand."""

import numpy as np

from masa_cli.structures import Detections
from masa_cli.tracking.hybrid import HybridSettings, HybridTracker
from tests.tracking.frames import update


def frame_of(*rows):
    """Detections from (centre x, centre y, score) rows, boxes of 20 x 40."""
    centre = np.array(rows, np.float32).reshape(-1, 3)
    half = np.array([10, 20], np.float32)
    boxes = np.concatenate([centre[:, :2] - half, centre[:, :2] + half], axis=1)
    return Detections(boxes, centre[:, 2], np.zeros(len(rows), np.int64))


def moving_alone(**changes):
    """A tracker that believes a box at once and shows what was seen alone."""
    settings = HybridSettings(confirm_hits=1, coast_seconds=0, **changes)
    return HybridTracker(settings, by_motion_alone=True)


def run(tracker, frames, *, rate=10.0, start=0):
    return [
        update(tracker, index, index / rate, frame_of(*rows)).ids.tolist()
        for index, rows in enumerate(frames, start=start)
    ]


def test_boxes_that_cross_keep_their_ids():
    frames = [[(x, 100, 0.9), (400 - x, 104, 0.9)] for x in range(100, 301, 8)]
    assert all(ids == [1, 2] for ids in run(moving_alone(), frames))


def test_a_track_is_found_where_its_speed_brings_it():
    moving = [[(100 + 10 * step, 100, 0.9)] for step in range(30)]
    moving[15:20] = [[]] * 5  # 50 px of a 20 px wide box pass unseen: IoU without motion is 0
    ids = run(moving_alone(), moving)
    assert ids[14] == [1]
    assert ids[20] == [1]


def test_speed_is_in_seconds_not_in_frames():
    tracker = moving_alone()
    for index, time in enumerate([0.0, 0.1, 0.2, 0.3, 0.4, 0.9, 1.4, 1.5]):
        detections = frame_of((100 + 100 * time, 100, 0.9))
        assert update(tracker, index, time, detections).ids.tolist() == [1], f"at {time} s"


def test_a_weak_box_continues_a_track_but_starts_none():
    frames = [[(100, 100, 0.9)], [(101, 100, 0.9)], [(102, 100, 0.4), (300, 100, 0.4)]]
    assert run(moving_alone(), frames)[2] == [1]


def test_a_track_is_forgotten_after_its_memory():
    frames = [[(100, 100, 0.9)]] * 3 + [[]] * 9 + [[(100, 100, 0.9)]]
    assert run(moving_alone(memory_seconds=0.5, reid_seconds=0), frames)[-1] == [2]


def test_no_boxes_ever_is_fine():
    assert run(moving_alone(), [[], []]) == [[], []]


def test_a_restored_tracker_goes_on_as_if_it_had_never_stopped():
    generator = np.random.default_rng(1)
    frames = [
        [(100 + 5 * step + 60 * who, 100 + generator.normal(), 0.9) for who in range(4)]
        for step in range(20)
    ]
    straight, before, after = (moving_alone() for _ in range(3))
    expected = run(straight, frames)
    run(before, frames[:9])
    after.restore(before.state())
    assert run(after, frames[9:], start=9) == expected[9:]
    for key, array in straight.state().items():
        np.testing.assert_array_equal(array, after.state()[key], key)


def test_embeddings_do_not_count():
    frames = [frame_of((100 + n, 100, 0.9), (160 + n, 100, 0.9)) for n in range(8)]
    rng = np.random.default_rng(0)
    plain, told = moving_alone(), moving_alone()
    for index, detections in enumerate(frames):
        embeddings = rng.normal(size=(2, 8)).astype(np.float32)
        first = update(plain, index, index / 10, detections)
        second = update(told, index, index / 10, detections, embeddings)
        assert first.ids.tolist() == second.ids.tolist() == [1, 2]
