"""Final identities, boxes before the confirmation, and boxes in short gaps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masa_cli.masks import as_array, frames_of, pack
from masa_cli.structures import Tracks
from masa_cli.tracking.linking import End, Tracklet
from masa_cli.tracking.postprocess import (
    CleanUpSettings,
    apply_identities,
    clean_up,
    majority_labels,
)
from tests.tracking.frames import tracked


def run(lines, identities, max_gap=0.7, labels=None):
    return list(apply_identities(lines, identities, labels or {}, max_gap))


def positions(tracks):
    return {
        identity: tuple((box[:2] + box[2:]) / 2)
        for identity, box in zip(tracks.ids.tolist(), tracks.boxes, strict=True)
    }


def test_boxes_get_the_identities_of_their_tracklets():
    lines = [tracked(0, {1: (0, 0), 2: (90, 0)}, tracklets=[11, 12])]
    (frame,) = run(lines, {11: 5, 12: 4})
    tracks = frame.tracks
    assert (frame.index, frame.time) == (0, 0.0)
    assert positions(tracks) == {5: (0, 0), 4: (90, 0)}
    assert not tracks.interpolated.any()


def test_a_confirmed_track_has_the_boxes_from_before():
    lines = [tracked(n, {}, tentative={3: (n, 0), 4: (90, 0)}) for n in range(2)]
    lines.append(tracked(2, {1: (2, 0)}, tracklets=[3]))
    found = run(lines, {3: 1})
    assert [positions(frame.tracks) for frame in found] == [{1: (0, 0)}, {1: (1, 0)}, {1: (2, 0)}]
    assert not any(frame.tracks.interpolated.any() for frame in found)
    assert found[0].tracks.scores.tolist() == [np.float32(0.7)]


def test_a_short_gap_is_filled_on_the_straight_line_and_marked():
    lines = [tracked(0, {1: (0, 10)}), tracked(1, {}), tracked(2, {}), tracked(3, {1: (30, 40)})]
    found = [frame.tracks for frame in run(lines, {1: 1})]
    assert [positions(tracks)[1] for tracks in found] == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert [tracks.interpolated.tolist() for tracks in found] == [[False], [True], [True], [False]]


def test_the_line_is_in_time_not_in_frames():
    lines = [tracked(0, {1: (0, 0)}), tracked(1, {}), tracked(2, {1: (40, 0)})]
    lines[1] = replace(lines[1], time=0.05)
    _, between, _ = run(lines, {1: 1})
    assert positions(between.tracks)[1] == pytest.approx((10, 0))


@pytest.mark.parametrize(("frames", "is_filled"), [(7, True), (8, False)])
def test_a_gap_beyond_the_bound_stays_open(frames, is_filled):
    """The bound is 0.7 seconds, from the last box before to the first one after."""
    lines = [tracked(0, {1: (0, 0)}), *(tracked(n, {}) for n in range(1, frames))]
    lines.append(tracked(frames, {1: (70, 0)}))
    found = run(lines, {1: 1}, max_gap=0.7000001)
    assert [len(frame.tracks) for frame in found[1:-1]] == [int(is_filled)] * (frames - 1)


def test_no_gap_is_filled_across_a_cut():
    lines = [tracked(0, {1: (0, 0)}), tracked(1, {}, is_cut=True), tracked(2, {1: (20, 0)})]
    assert [len(frame.tracks) for frame in run(lines, {1: 1})] == [1, 0, 1]


def test_a_gap_between_joined_tracklets_is_filled_too():
    lines = [tracked(0, {1: (0, 0)}), tracked(1, {}), tracked(2, {2: (20, 0)})]
    found = run(lines, {1: 1, 2: 1})
    assert [positions(frame.tracks) for frame in found] == [{1: (0, 0)}, {1: (10, 0)}, {1: (20, 0)}]


def test_a_lost_box_beside_others_is_filled_among_them():
    lines = [tracked(n, {1: (n, 0), **({2: (50, n)} if n != 1 else {})}) for n in range(3)]
    middle = run(lines, {1: 1, 2: 2})[1].tracks
    assert positions(middle) == {1: (1, 0), 2: (50, 1)}
    assert dict(zip(middle.ids.tolist(), middle.interpolated.tolist(), strict=True)) == {
        1: False,
        2: True,
    }


def test_frames_are_held_no_longer_than_a_gap_may_last():
    taken = 0

    def counted():
        nonlocal taken
        for index in range(1000):
            taken = index
            yield tracked(index, {1: (index, 0)})

    for frame in apply_identities(counted(), {1: 1}, {}, 0.5):
        assert taken - frame.index <= 7


def test_every_frame_comes_out_once_in_order():
    rng = np.random.default_rng(0)
    lines = [
        tracked(n, {i: (i * 50, n) for i in range(1, 5) if rng.random() < 0.6}) for n in range(600)
    ]
    found = run(lines, {i: i for i in range(1, 5)})
    assert [frame.index for frame in found] == list(range(600))
    for frame in found:
        assert len(set(frame.tracks.ids.tolist())) == len(frame.tracks)
    # Every frame has all four but for gaps longer than 7 frames, which chance nearly never makes.
    assert sum(len(frame.tracks) for frame in found) > 0.98 * 2400


def test_boxes_get_the_label_of_their_identity():
    lines = [tracked(0, {1: (0, 0), 2: (90, 0)}), tracked(1, {2: (90, 0)}), tracked(2, {1: (0, 0)})]
    found = [frame.tracks for frame in run(lines, {1: 1, 2: 2}, labels={1: 7})]
    names = [dict(zip(t.ids.tolist(), t.labels.tolist(), strict=True)) for t in found]
    assert names == [{1: 7, 2: 0}, {1: 7, 2: 0}, {1: 7}]


def test_no_frame_is_no_frame():
    assert run([], {}) == []


def with_mask(frame, corner, size=(200, 300)):
    """The frame with a mask of 8 x 6 pixels at `corner` for its only box."""
    mask = pack(np.ones((6, 8), bool), corner, size)
    return replace(frame, tracks=replace(frame.tracks, masks=as_array([mask])))


def test_a_box_in_a_gap_has_the_mask_of_the_nearer_sight_moved_along():
    first = with_mask(tracked(0, {1: (50, 50)}), (46, 40))
    last = with_mask(tracked(4, {1: (90, 50)}), (88, 55))
    lines = [first, *(tracked(n, {}) for n in (1, 2, 3)), last]
    corners = [frames_of(frame.tracks.masks)[0][:2].tolist() for frame in run(lines, {1: 1})]
    assert corners == [[46, 40], [56, 40], [68, 55], [78, 55], [88, 55]]


def test_a_box_in_a_gap_between_boxes_without_masks_has_none():
    lines = [tracked(0, {1: (50, 50)}), tracked(1, {}), tracked(2, {1: (70, 50)})]
    assert not any(frame.tracks.has_mask.any() for frame in run(lines, {1: 1}))


HERE = End(0.0, np.zeros(2), 1.0, np.zeros(2))


def tracklet(number, scores):
    return Tracklet(number, number, HERE, HERE, 0, np.zeros(1, np.float32), scores)


def test_the_most_score_wins_over_all_tracklets_of_an_identity():
    tracklets = [tracklet(1, {3: 5.0, 4: 1.0}), tracklet(2, {4: 4.5}), tracklet(3, {3: 1.0})]
    assert majority_labels(tracklets, {1: 1, 2: 1, 3: 2}) == {1: 4, 2: 3}


def test_of_equal_scores_the_smaller_label_wins():
    assert majority_labels([tracklet(1, {9: 1.0, 2: 1.0})], {1: 1}) == {1: 2}


def test_nothing_has_no_label():
    assert majority_labels([], {}) == {}


GOLDEN = Path(__file__).parents[1] / "data" / "demo_postprocess.npz"


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
        # The reference averages in float32: half a unit in the last position of 640 is 3e-5.
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
    inside = [
        (0, 2 + position, 0.6, 30 * position, 0, 30 * position + 20, 20) for position in range(4)
    ]
    assert clean([(0, 1, 0.5, 0, 0, 120, 100), *inside])[1].ids.tolist() == [2, 3, 4, 5]
    # A better score saves it.
    assert len(clean([(0, 1, 0.7, 0, 0, 120, 100), *inside])[1]) == 5
    # So does an area below 10,000 square pixels.
    assert len(clean([(0, 1, 0.5, 0, 0, 120, 80), *inside])[1]) == 5
