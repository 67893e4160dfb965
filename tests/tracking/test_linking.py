"""Which tracklets are one object."""

from itertools import permutations

import numpy as np
import pytest

from masa_cli.tracking.linking import (
    End,
    LinkingSettings,
    Tracklet,
    collect_tracklets,
    link_tracklets,
)
from tests.tracking.frames import tracked, tracklets_with

FRAME = (640, 480)
A, B, NONE = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
OTHER = -np.ones(3, np.float32) / np.sqrt(3)
ALMOST_A = np.array([0.95, 0, np.sqrt(1 - 0.95**2)], np.float32)


def tracklet(number, start, stop, *, at=(100, 100), to=None, embedding=A, **changes):
    """From `start` to `stop` seconds, from one position to another; of its own identity."""
    velocity = np.array(changes.get("velocity", (0, 0)), np.float64)
    ends = [
        End(float(time), np.array(position, np.float64), 50.0, velocity)
        for time, position in ((start, at), (stop, to or at))
    ]
    identity = changes.get("identity", number)
    return Tracklet(number, identity, *ends, changes.get("shot", 0), embedding, {0: 1.0})


def of(*tracklets, **settings):
    return link_tracklets(tracklets, LinkingSettings(**settings), FRAME)


@pytest.fixture
def impostors():
    """Two that stand far off all the time: what different objects embedding like here."""
    return (
        tracklet(8, 0, 60, at=(500, 20), embedding=OTHER),
        tracklet(9, 0, 60, at=(600, 20), embedding=np.array([0, 0, 1], np.float32)),
    )


def test_a_gap_is_bridged_where_place_and_embedding_agree(impostors):
    before, after = tracklet(1, 1, 5), tracklet(2, 6, 9, at=(110, 100), embedding=ALMOST_A)
    assert of(*impostors, before, after) == {8: 1, 9: 2, 1: 3, 2: 3}


def test_another_embedding_in_the_same_place_is_another_object(impostors):
    before, after = tracklet(1, 1, 5), tracklet(2, 8, 9, embedding=B)
    assert of(*impostors, before, after, min_llr=3) == {8: 1, 9: 2, 1: 3, 2: 4}


def test_what_exists_at_the_same_time_is_never_one_object():
    together = tracklet(1, 0, 5, embedding=A), tracklet(2, 5, 9, embedding=A)
    assert of(*together) == {1: 1, 2: 2}


def test_a_gap_beyond_the_setting_is_not_bridged():
    pair = tracklet(1, 0, 5), tracklet(2, 8, 9)
    assert of(*pair) == {1: 1, 2: 1}
    assert of(*pair, seconds=2.5) == {1: 1, 2: 2}


def test_speed_is_followed_into_the_gap():
    before = tracklet(1, 0, 2, at=(100, 100), velocity=(100, 0))
    ahead = tracklet(2, 2.5, 4, at=(150, 100), velocity=(100, 0), embedding=NONE)
    behind = tracklet(3, 2.5, 4, at=(50, 100), velocity=(100, 0), embedding=NONE)
    names = of(before, ahead, behind)
    assert names[2] == names[1] != names[3]


def test_the_best_total_wins_over_the_best_pair():
    """1 would rather go on as 4, but then 2 could not go on at all."""
    one, two = tracklet(1, 0, 1, at=(100, 100)), tracklet(2, 0, 1, at=(150, 100))
    three = tracklet(3, 1.5, 3, at=(85, 100))
    four = tracklet(4, 1.5, 3, at=(112, 100))
    names = of(one, two, three, four, min_llr=0)
    assert (names[3], names[4]) == (names[1], names[2])


def test_after_a_cut_only_embeddings_count(impostors):
    before = tracklet(1, 1, 5)
    after = tracklet(2, 5.1, 9, at=(600, 400), embedding=ALMOST_A, shot=1)
    stranger = tracklet(3, 5.1, 9, at=(100, 100), embedding=B, shot=1)
    names = of(*impostors, before, after, stranger, min_llr=-3)
    assert names[2] == names[1] != names[3]


def test_the_tracker_is_trusted_where_nothing_else_is_known():
    pair = tracklet(1, 0, 5, embedding=NONE), tracklet(2, 8, 9, embedding=NONE, identity=1)
    assert of(*pair) == {1: 1, 2: 1}
    assert of(*pair, tracker_llr=0, min_llr=3) == {1: 1, 2: 2}


def test_the_tracker_is_overruled_where_embeddings_say_so():
    """Two met and the tracker swapped them; others show what embeddings say in this video."""
    looks = np.eye(8, dtype=np.float32)
    one, two = tracklet(1, 0, 5, embedding=looks[0]), tracklet(2, 0, 5, embedding=looks[1])
    three = tracklet(3, 5.5, 9, at=(130, 100), embedding=looks[0], identity=2)
    four = tracklet(4, 5.5, 9, at=(130, 100), embedding=looks[1], identity=1)
    others = [
        tracklet(10 * who + n, n, n + 0.9, at=(90 * who, 400), embedding=looks[who], identity=who)
        for who in range(3, 8)
        for n in range(9)
    ]
    together = sorted([one, two, three, four, *others], key=lambda each: each.first.time)
    names = of(*together)
    assert (names[3], names[4]) == (names[1], names[2])
    assert of(*together, tracker_llr=100)[3] == of(*together, tracker_llr=100)[2]


def test_identities_count_from_1_as_they_appear_and_chains_have_one():
    chain = [tracklet(n + 5, n, n + 0.8) for n in range(4)]
    assert of(*chain) == {5: 1, 6: 1, 7: 1, 8: 1}


def test_no_identity_is_in_two_places_at_once():
    rng = np.random.default_rng(0)
    tracklets = []
    for number in range(1, 120):
        start, position = rng.uniform(0, 30), rng.uniform(0, 400, 2)
        embedding = rng.normal(size=3).astype(np.float32)
        stop = start + rng.uniform(0, 4)
        embedding /= np.linalg.norm(embedding)
        tracklets.append(tracklet(number, start, stop, at=position, embedding=embedding))
    tracklets.sort(key=lambda found: found.first.time)
    names = of(*tracklets, min_llr=-20)
    assert len(set(names.values())) < 100
    for one, two in permutations(tracklets, 2):
        if names[one.number] == names[two.number] and one.first.time <= two.first.time:
            assert one.last.time < two.first.time


def test_nothing_is_joined_to_nothing():
    assert of() == {}
    assert of(tracklet(4, 0, 1)) == {4: 1}


EMBEDDING = np.array([1, 0], np.float32)


def test_a_tracklet_tells_where_and_when_it_began_and_ended():
    frames = [tracked(n, {7: (100 + 3 * n, 50)}) for n in range(12)]
    frames.append(tracked(12, {}, ended={7: EMBEDDING}))
    (found,), _ = collect_tracklets(frames, tracklets_with({}))
    assert (found.number, found.identity, found.shot) == (7, 7, 0)
    assert (found.first.time, found.last.time) == (0, 1.1)
    assert found.first.position == pytest.approx([100, 50])
    assert found.last.position == pytest.approx([133, 50])
    # 3 pixels a frame at 10 frames a second.
    assert found.first.velocity == pytest.approx([30, 0])
    assert found.last.velocity == pytest.approx([30, 0])
    assert found.last.size == pytest.approx(np.sqrt(20 * 40))
    assert found.embedding.tolist() == EMBEDDING.tolist()


def test_the_speed_of_an_end_is_that_of_its_last_half_second():
    frames = [tracked(n, {1: (10 * max(n - 20, 0), 50)}) for n in range(30)]
    (found,), _ = collect_tracklets(frames, tracklets_with({1: EMBEDDING}))
    assert found.first.velocity == pytest.approx([0, 0])
    assert found.last.velocity == pytest.approx([100, 0])


def test_boxes_before_the_confirmation_belong_to_it():
    frames = [tracked(n, {}, tentative={3: (50, 50)}) for n in range(3)]
    frames += [tracked(n, {1: (50, 50)}, tracklets=[3]) for n in range(3, 6)]
    (found,), _ = collect_tracklets(frames, tracklets_with({3: EMBEDDING}))
    assert (found.number, found.identity, found.first.time) == (3, 1, 0)


def test_what_was_never_confirmed_is_none():
    frames = [tracked(0, {}, tentative={3: (50, 50)}), tracked(1, {}, ended={3: EMBEDDING})]
    assert collect_tracklets(frames, tracklets_with({})) == ([], [])


def test_an_identity_has_a_tracklet_for_each_stretch():
    frames = [tracked(0, {1: (0, 0)}, tracklets=[5]), tracked(1, {}, ended={5: EMBEDDING})]
    frames += [tracked(2, {1: (0, 0)}, tracklets=[9])]
    found, _ = collect_tracklets(frames, tracklets_with({9: -EMBEDDING}))
    assert [(t.number, t.identity) for t in found] == [(5, 1), (9, 1)]
    assert [t.embedding[0] for t in found] == [1, -1]


def test_the_camera_is_taken_back():
    """The object stands still; the image moves to the left by 5 pixels a frame."""
    frames = [
        tracked(n, {1: (200 - 5 * n, 50)}, camera=[[1, 0, -5 if n else 0], [0, 1, 0]])
        for n in range(10)
    ]
    (found,), _ = collect_tracklets(frames, tracklets_with({1: EMBEDDING}))
    assert found.last.position == pytest.approx([200, 50])
    assert found.last.velocity == pytest.approx([0, 0], abs=1e-9)


def test_a_zoom_is_taken_back_from_sizes_too():
    frames = [
        tracked(n, {1: (100 * 2**n, 0)}, camera=[[2 if n else 1, 0, 0], [0, 2 if n else 1, 0]])
        for n in range(3)
    ]
    (found,), _ = collect_tracklets(frames, tracklets_with({1: EMBEDDING}))
    assert found.last.position == pytest.approx([100, 0])
    assert found.last.size == pytest.approx(np.sqrt(20 * 40) / 4)


def test_shots_are_counted_and_each_has_its_own_ground():
    frames = [tracked(0, {1: (9, 9)}), tracked(1, {1: (4, 9)}, camera=[[1, 0, -5], [0, 1, 0]])]
    frames.append(tracked(2, {2: (30, 9)}, is_cut=True, ended={1: EMBEDDING}))
    (first, second), _ = collect_tracklets(frames, tracklets_with({2: EMBEDDING}))
    assert (first.shot, second.shot) == (0, 1)
    assert second.first.position == pytest.approx([30, 9])


def test_the_scores_of_its_boxes_are_added_up_by_label():
    frames = [tracked(0, {}, tentative={1: (0, 0)}), *(tracked(n, {1: (0, 0)}) for n in (1, 2))]
    frames[2].tracks.labels[:] = 4
    (found,), _ = collect_tracklets(frames, tracklets_with({1: EMBEDDING}))
    assert found.scores == {0: pytest.approx(0.7 + 0.9), 4: pytest.approx(0.9)}


def test_no_frame_gives_no_tracklet():
    assert collect_tracklets([], tracklets_with({})) == ([], [])
