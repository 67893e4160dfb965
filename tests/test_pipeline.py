import threading
from fractions import Fraction

import numpy as np
import pytest

from masa_cli.pipeline import NoEmbeddings, Refinement, observe, refine, with_images, without_images
from masa_cli.progress import RunProgress
from masa_cli.sources.excerpt import Timeline
from masa_cli.structures import Detections, EndedTracklets, Frame, FrameTracks, Tracks


def tracks_of(*ids):
    boxes = np.array([[10 * i, 0, 10 * i + 8, 8] for i in ids], np.float32).reshape(-1, 4)
    return Tracks(
        boxes,
        np.ones(len(ids), np.float32),
        np.zeros(len(ids), np.int64),
        np.array(ids, np.int64),
    )


def joined(num_frames, lines):
    source = Timeline("clip", num_frames, Fraction(25))
    return [
        (frame.index, tracks.ids.tolist())
        for frame, tracks in with_images(source, lines, progress=RunProgress())
    ]


def test_each_frame_meets_its_tracks():
    lines = [FrameTracks(0, 0.0, tracks_of(1)), FrameTracks(2, 0.08, tracks_of(2, 3))]
    assert joined(4, lines) == [(0, [1]), (1, []), (2, [2, 3]), (3, [])]


def test_a_video_without_any_line_of_tracks_is_shown_whole():
    assert joined(2, []) == [(0, []), (1, [])]


@pytest.mark.parametrize("last", [1, 2, 5])
def test_tracks_past_the_end_of_the_video_are_counted(caplog, last):
    lines = [FrameTracks(index, 0.0, tracks_of(1)) for index in range(last + 1)]
    assert joined(2, lines) == [(0, [1]), (1, [1])]
    assert ("past the end" in caplog.text) == (last > 1)
    if last > 1:
        assert f"{last - 1} frames of the tracks" in caplog.text


def test_without_images_frames_have_their_times():
    [(frame, tracks)] = without_images([FrameTracks(3, 0.5, tracks_of(1))])
    assert (frame.index, float(frame.time), frame.image.shape) == (3, 0.5, (0, 0, 3))
    assert tracks.ids.tolist() == [1]


def cleaned(frames):
    refinement = Refinement(clean_up=True)
    return list(refine(frames, refinement, EndedTracklets.none(), (640, 480)))


def test_clean_up_keeps_every_frame_and_its_time():
    lines = [
        FrameTracks(0, 0.0, tracks_of(1)),
        FrameTracks(1, 0.1, tracks_of()),
        FrameTracks(2, 0.2, tracks_of(1, 2)),
    ]
    result = cleaned(lines)
    assert [(frame.index, frame.time) for frame in result] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert result[2].tracks.ids.tolist() == [1, 2]


def test_clean_up_of_nothing_is_nothing():
    assert cleaned([]) == []


class Numbering:
    """Finds a box in each frame, and takes down which frames it was given, and in which thread."""

    def __init__(self, broken_at=-1):
        self.seen, self.threads, self.broken_at = [], set(), broken_at
        self.is_at = [threading.Event() for _ in range(9)]

    def detect(self, frames):
        self.threads.add(threading.get_ident())
        for frame in frames:
            if frame.index == self.broken_at:
                raise ValueError("broken")
            self.seen.append(frame.index)
            self.is_at[frame.index].set()
        boxes = [np.array([[each.index, 0, each.index + 4, 4]], np.float32) for each in frames]
        return [Detections(rows, np.ones(1, np.float32), np.zeros(1, np.int64)) for rows in boxes]


def numbered(count, closed=None):
    try:
        for index in range(count):
            yield Frame(index, Fraction(index), np.zeros((8, 16, 3), np.uint8))
    finally:
        if closed is not None:
            closed.append(threading.get_ident())


def observed(detector, ahead, frames, **more):
    return observe(
        frames, detector, NoEmbeddings(), None, progress=RunProgress(), ahead=ahead, **more
    )


@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_is_detected_ahead_is_the_same(batch_size):
    found = [
        [
            (frame.index, seen.index, seen.detections.boxes.tolist())
            for frame, seen in observed(Numbering(), ahead, numbered(5), batch_size=batch_size)
        ]
        for ahead in (0, 1, 2)
    ]
    assert found[0] == found[1] == found[2]
    assert [index for index, *_ in found[1]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ahead", [1, 2])
def test_the_next_frames_are_looked_at_meanwhile_and_no_others(ahead):
    detector = Numbering()
    for frame, _ in observed(detector, ahead, numbered(6)):
        for index in range(frame.index + 1, min(frame.index + ahead, 5) + 1):
            assert detector.is_at[index].wait(timeout=60)
        assert len(detector.seen) <= frame.index + 1 + ahead
        if frame.index == 0:
            assert detector.threads - {threading.get_ident()}
            detector.threads.clear()
    assert detector.threads.isdisjoint({threading.get_ident()})


def test_a_detector_that_waits_for_the_frame_before_is_not_asked_ahead():
    detector = Numbering()
    for frame, _ in observed(detector, 0, numbered(3)):
        assert detector.seen[-1] == frame.index
    assert detector.threads == {threading.get_ident()}


@pytest.mark.parametrize("ahead", [1, 2])
def test_an_error_ahead_comes_after_the_frames_before_it(ahead):
    given, detector = [], Numbering(broken_at=2)
    with pytest.raises(ValueError, match="broken"):
        given.extend(frame.index for frame, _ in observed(detector, ahead, numbered(4)))
    assert given == [0, 1]


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_frames_are_closed_when_observing_ends_early(ahead):
    closed = []
    observations = observed(Numbering(), ahead, numbered(6, closed))
    next(observations)
    observations.close()
    assert len(closed) == 1
