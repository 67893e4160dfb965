"""Of the boxes of a frame, the target; targets are told by label, see FollowTracker."""

import numpy as np
import pytest

from masa_cli.structures import CameraMotion, Detections, Tracks
from masa_cli.tracking.follow import FollowSettings, FollowTracker
from masa_cli.tracking.targets import Memory, Pointing, Target
from tests.tracking.frames import observed

RED, BLUE = np.eye(8, dtype=np.float32)[:2]
SIZE = (400, 300)
CLASSES = 1  # of the detector; labels from here on are targets


def box_at(x, y=100.0, width=40.0, height=60.0):
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def target(name="it", time=0.0, x=100.0):
    return Target(name, (Pointing(time, box_at(x)),))


def frame(index, boxes, embeddings, labels=None, scores=None, motion=None):
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.9] * len(boxes), np.float32),
        np.array(labels or [0] * len(boxes), np.int64),
    )
    return observed(
        index,
        index / 10,
        found,
        np.array(embeddings, np.float32).reshape(len(boxes), 8),
        motion=motion or CameraMotion.identity(),
        frame_size=SIZE,
    )


def shown(x=100.0, label=CLASSES):
    """The first frame: the target as it is pointed at."""
    return frame(0, [box_at(x)], [RED], [label], [np.inf])


def begin(settings=None, **more):
    tracker = FollowTracker(settings or FollowSettings(), [target()], CLASSES, **more)
    tracker.update(shown())
    return tracker


def middles(tracks):
    return {
        int(id_): (box[0] + box[2]) / 2 for id_, box in zip(tracks.ids, tracks.boxes, strict=True)
    }


def test_what_is_shown_is_track_one_under_its_name():
    tracker = FollowTracker(FollowSettings(), [target()], CLASSES)
    tracks = tracker.update(shown()).tracks
    assert tracks.ids.tolist() == [1]
    assert tracks.labels.tolist() == [CLASSES]
    assert tracks.boxes[0].tolist() == list(box_at(100))
    assert tracks.scores.tolist() == [1]


def test_nothing_is_tracked_before_anything_is_shown():
    tracker = FollowTracker(FollowSettings(), [target(time=0.2)], CLASSES)
    assert tracker.is_waiting(0.1)
    assert not tracker.is_waiting(0.2)
    assert len(tracker.update(frame(1, [box_at(100)], [RED])).tracks) == 0


def test_of_two_boxes_that_cross_the_one_that_looks_like_it_is_followed():
    tracker = begin()
    for index in range(1, 30):
        x, other = 100 + 5 * index, 250 - 5 * index
        boxes = [box_at(other), box_at(x)]
        tracks = tracker.update(frame(index, boxes, [BLUE, RED])).tracks
    assert middles(tracks) == {1: 245}


def test_a_box_that_does_not_fit_is_not_taken():
    tracker = begin()
    for index in range(1, 20):
        tracks = tracker.update(frame(index, [box_at(350)], [BLUE])).tracks
    assert len(tracks) == 0


def test_what_the_correlation_finds_counts_where_no_detection_is():
    tracker = begin()
    for index in range(1, 10):
        tracks = tracker.update(
            frame(index, [box_at(100 + 3 * index)], [RED], [CLASSES], [20.0])
        ).tracks
    assert middles(tracks) == {1: 127}
    assert not tracks.interpolated.any()


def test_a_dull_peak_of_the_correlation_is_nothing():
    tracker = begin()
    tracks = tracker.update(frame(1, [box_at(140)], [RED], [CLASSES], [3.0])).tracks
    assert tracks.interpolated.tolist() == [True]  # bridged where it is expected
    assert middles(tracks)[1] == pytest.approx(100)


def test_a_short_gap_is_bridged_and_a_long_one_is_not():
    tracker = begin()
    for index in range(1, 6):
        tracker.update(frame(index, [box_at(100 + 5 * index)], [RED]))
    first = tracker.update(frame(6, [], [])).tracks
    assert first.interpolated.tolist() == [True]
    assert middles(first)[1] == pytest.approx(130, abs=3)
    for index in range(7, 12):
        last = tracker.update(frame(index, [], [])).tracks
    assert len(last) == 0


def test_after_a_long_absence_it_is_found_elsewhere_by_its_looks():
    tracker = begin()
    for index in range(1, 10):
        tracker.update(frame(index, [box_at(100), box_at(300)], [RED, BLUE]))
    for index in range(10, 40):
        tracks = tracker.update(frame(index, [box_at(300)], [BLUE])).tracks
    assert len(tracks) == 0
    tracks = tracker.update(frame(40, [box_at(300), box_at(200)], [BLUE, RED])).tracks
    assert middles(tracks) == {1: 200}


def test_a_camera_that_pans_takes_the_expected_place_along():
    tracker = begin()
    pan = CameraMotion(np.array([[1, 0, 60], [0, 1, 0]], np.float64))
    tracks = tracker.update(frame(1, [], [], motion=pan)).tracks
    assert middles(tracks)[1] == pytest.approx(160)


def test_two_targets_are_never_one_box():
    targets = [target("a", x=100), target("b", x=160)]
    tracker = FollowTracker(FollowSettings(), targets, CLASSES)
    first = frame(0, [box_at(100), box_at(160)], [RED, BLUE], [1, 2], [np.inf, np.inf])
    tracker.update(first)
    for index in range(1, 10):
        tracks = tracker.update(frame(index, [box_at(100), box_at(160)], [RED, BLUE])).tracks
        assert middles(tracks) == {1: 100, 2: 160}
    tracks = tracker.update(frame(10, [box_at(160)], [BLUE])).tracks
    assert middles(tracks)[2] == 160
    assert middles(tracks).get(1, 100) == pytest.approx(100, abs=1)  # bridged, not the same


def test_shown_again_it_goes_on_from_there():
    pointings = (Pointing(0.0, box_at(100)), Pointing(0.5, box_at(300)))
    tracker = FollowTracker(FollowSettings(), [Target("it", pointings)], CLASSES)
    tracker.update(shown())
    for index in range(1, 5):
        tracker.update(frame(index, [box_at(100), box_at(300)], [BLUE, RED]))
    assert list(tracker.reached(0.5)) == [0]
    tracks = tracker.update(frame(5, [box_at(300)], [RED], [CLASSES], [np.inf])).tracks
    assert middles(tracks) == {1: 300}
    assert not tracker.reached(0.6)


def test_backwards_it_begins_at_the_first_time_it_was_shown():
    pointings = (Pointing(0.5, box_at(100)), Pointing(0.8, box_at(300)))
    tracker = FollowTracker(FollowSettings(), [Target("it", pointings)], CLASSES, backwards=True)
    assert tracker.is_waiting(0.8)
    assert tracker.reached(0.5)[0] == pointings[0]
    tracker.update(frame(5, [box_at(100)], [RED], [CLASSES], [np.inf]))
    for index in (4, 3, 2):
        tracks = tracker.update(frame(index, [box_at(100 + 5 * (5 - index))], [RED])).tracks
    assert middles(tracks) == {1: 115}


def test_tracks_that_are_known_already_come_with_their_frame():
    tracker = FollowTracker(FollowSettings(), [target(time=0.5)], CLASSES)
    one, number = np.array([box_at(50)], np.float32), np.array([1])
    tracker.past = {2: Tracks(one, np.array([0.5], np.float32), number, number)}
    assert len(tracker.update(frame(1, [], [])).tracks) == 0
    assert middles(tracker.update(frame(2, [], [])).tracks) == {1: 50}


def test_it_goes_on_from_a_state_as_if_nothing_had_been():
    frames = [
        frame(index, [box_at(250 - 5 * index), box_at(100 + 5 * index)], [BLUE, RED])
        for index in range(1, 30)
    ]
    whole, part = begin(), begin()
    for each in frames[:15]:
        whole.update(each)
        part.update(each)
    resumed = FollowTracker(FollowSettings(), [target()], CLASSES)
    resumed.restore({name: value.copy() for name, value in part.state().items()})
    for each in frames[15:]:
        first, second = whole.update(each).tracks, resumed.update(each).tracks
        assert np.array_equal(first.boxes, second.boxes)
        assert np.array_equal(first.scores, second.scores)


def test_a_memory_keeps_what_was_shown_and_forgets_the_oldest_view():
    settings = {"step": 0.1, "views": 1}
    memory = Memory(RED[None], RED[None][:0], 0.0)
    memory.learn(BLUE, 0.05, **settings)  # too soon
    assert memory.similarities(BLUE[None]).tolist() == [0]
    memory.learn(BLUE, 0.1, **settings)
    memory.learn(np.eye(8, dtype=np.float32)[2], 0.3, **settings)
    assert memory.similarities(np.stack([RED, BLUE])).tolist() == [1, 0]


@pytest.mark.parametrize("change", [{"jump_share": 0.0}, {"memory": 0}])
def test_settings_that_cannot_work_are_refused(change):
    with pytest.raises(ValueError, match=r"jump_share|memory"):
        FollowSettings(**change)
