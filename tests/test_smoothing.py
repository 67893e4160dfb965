"""Whole-video clean-up against the reference's output, and its rules one by one."""

from pathlib import Path

import numpy as np

from masa_cli.smoothing import CleanUpSettings, clean_up
from masa_cli.structures import Tracks

GOLDEN = Path(__file__).parent / "data" / "demo_postprocess.npz"


def make_tracks(rows):
    """Frames and tracks from (frame, id, score, x1, y1, x2, y2) rows."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    return table[:, 0].astype(np.int64), Tracks(
        table[:, 3:].astype(np.float32),
        table[:, 2].astype(np.float32),
        np.zeros(len(table), np.int64),
        table[:, 1].astype(np.int64),
    )


def clean(rows, width=640, height=360):
    frames, tracks = make_tracks(rows)
    return clean_up(frames, tracks, width=width, height=height, settings=CleanUpSettings())


def test_output_equals_the_reference():
    with np.load(GOLDEN) as golden:
        frames = np.repeat(np.arange(len(golden["in_num"])), golden["in_num"])
        tracks = Tracks(
            golden["in_boxes"],
            golden["in_scores"],
            np.zeros(len(frames), np.int64),
            golden["in_ids"].astype(np.int64),
        )
        width, height = golden["image_size"].tolist()
        frames, tracks = clean_up(
            frames, tracks, width=width, height=height, settings=CleanUpSettings()
        )
        np.testing.assert_array_equal(
            frames, np.repeat(np.arange(len(golden["out_num"])), golden["out_num"])
        )
        np.testing.assert_array_equal(tracks.ids, golden["out_ids"])
        # The reference averages in float32: half a unit in the last place of 640 is 3e-5.
        np.testing.assert_allclose(tracks.boxes, golden["out_boxes"], atol=1e-4)
        np.testing.assert_allclose(tracks.scores, golden["out_scores"], atol=1e-6)


def test_a_video_without_tracks_stays_empty():
    frames, tracks = clean([])
    assert len(frames) == len(tracks) == 0


def test_boxes_of_a_run_are_averaged_and_scores_too():
    rows = [(frame, 1, 0.5 + 0.1 * frame, 10 * frame, 0, 10 * frame + 20, 30) for frame in range(5)]
    _, tracks = clean(rows)
    # Window 5 with repeated ends: (0+0+0+10+20)/5, (0+0+10+20+30)/5, then the mean of all.
    np.testing.assert_allclose(tracks.boxes[:3, 0], [6, 12, 20])
    np.testing.assert_allclose(tracks.scores, 0.7, rtol=1e-6)


def test_a_gap_ends_a_run_and_short_runs_stay_as_they_are():
    rows = [(frame, 1, 0.5, 10 * frame, 0, 10 * frame + 20, 30) for frame in (0, 1, 2, 3, 5, 6)]
    _, tracks = clean(rows)
    np.testing.assert_allclose(tracks.boxes[:, 0], [0, 10, 20, 30, 50, 60])


def test_a_box_over_most_of_the_picture_goes_with_its_whole_track():
    giant, small = (0, 0, 640, 300), (10, 10, 60, 60)
    rows = [(0, 1, 0.9, *giant), (0, 2, 0.9, *small), (1, 1, 0.9, *small), (1, 2, 0.9, *small)]
    assert clean(rows)[1].ids.tolist() == [2, 2]


def test_a_lone_giant_stays():
    assert clean([(0, 1, 0.9, 0, 0, 640, 360)])[1].ids.tolist() == [1]
    weak_neighbour = (0, 2, 0.2, 0, 0, 20, 20)
    assert len(clean([(0, 1, 0.9, 0, 0, 640, 360), weak_neighbour])[1]) == 2


def test_four_better_boxes_inside_condemn_a_box():
    inside = [(0, 2 + place, 0.6, 30 * place, 0, 30 * place + 20, 20) for place in range(4)]
    assert clean([(0, 1, 0.5, 0, 0, 120, 100), *inside])[1].ids.tolist() == [2, 3, 4, 5]
    # A better score saves it.
    assert len(clean([(0, 1, 0.7, 0, 0, 120, 100), *inside])[1]) == 5
    # So does an area below 10,000 square pixels.
    assert len(clean([(0, 1, 0.5, 0, 0, 120, 80), *inside])[1]) == 5
