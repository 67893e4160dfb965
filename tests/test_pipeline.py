from fractions import Fraction

import numpy as np
import pytest

from masa_cli.pipeline import Refinement, refine, with_images, without_images
from masa_cli.progress import RunProgress
from masa_cli.sources.excerpt import Timeline
from masa_cli.structures import EndedTracklets, FrameTracks, Tracks


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
