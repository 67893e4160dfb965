"""What must hold of motion and appearance together, whatever the settings."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from masa_cli.structures import Detections
from masa_cli.tracking.assignment import assign
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.hybrid import HybridSettings, HybridTracker
from tests.tracking.frames import observed, update

ALL = np.ones(2, np.bool_)


def test_the_greatest_total_wins_over_the_greatest_pair():
    llr = np.array([[5, 4], [4.5, 0]], np.float32)
    matches, _ = assign(llr, [(ALL, -10)])
    assert matches.tolist() == [1, 0]


def test_a_pair_must_exceed_the_least():
    llr = np.array([[-3, -9], [-9, -5]], np.float32)
    assert assign(llr, [(ALL, -4.0)])[0].tolist() == [0, -1]


def test_a_later_pass_gets_what_is_left():
    llr = np.array([[1], [9]], np.float32)
    first, second = np.array([True, False]), np.array([False, True])
    assert assign(llr, [(first, 0.0), (second, 0.0)])[0].tolist() == [0, -1]
    assert assign(llr, [(second, 0.0), (first, 0.0)])[0].tolist() == [-1, 0]


def test_a_box_in_no_pass_is_not_joined():
    assert assign(np.ones((2, 2), np.float32), [(~ALL, 0.0)])[0].tolist() == [-1, -1]


def test_margin_is_what_any_other_identity_would_cost():
    # Alone, box 0 could be nothing (4 + 2 nats above the least), and box 1 likewise (3 + 2).
    llr = np.array([[4, -9], [-9, 3]], np.float32)
    assert assign(llr, [(ALL, -2.0)])[1].tolist() == [6, 5]
    # Swapped they would have 3 + 2 instead of 4 + 3: two nats less.
    swapped = np.array([[4, 3], [2, 3]], np.float32)
    assert assign(swapped, [(ALL, -2.0)])[1].tolist() == [2, 2]


def test_a_free_track_as_good_makes_unsure():
    llr = np.array([[4, 3.5]], np.float32)
    assert assign(llr, [(ALL[:1], 0.0)])[1].tolist() == [0.5]


def test_a_second_box_on_the_same_object_does_not_make_unsure():
    llr = np.array([[8], [7.9]], np.float32)
    matches, margins = assign(llr, [(ALL, 0.0)])
    assert matches.tolist() == [0, -1]
    assert margins.tolist() == [8, np.inf]


@pytest.mark.parametrize("seed", range(20))
def test_margin_against_every_other_joining(seed):
    """By hand: the best total in which the box is another object, its own left to nobody."""
    rng = np.random.default_rng(seed)
    llr = rng.normal(0, 3, (3, 4)).astype(np.float32)
    matches, margins = assign(llr, [(np.ones(3, np.bool_), 0.0)])

    def total(joining):
        return sum(
            max(float(llr[row, column]), 0) if column >= 0 else 0.0
            for row, column in enumerate(joining)
        )

    choices = itertools.product(range(-1, 4), repeat=3)
    valid = [c for c in choices if len({x for x in c if x >= 0}) == sum(x >= 0 for x in c)]
    assert total(matches) == pytest.approx(max(map(total, valid)), abs=1e-5)
    for box in np.flatnonzero(matches >= 0):
        # What margins embeddings at: it alone takes none or a free track, or it swaps with another.
        others = [
            c
            for c in valid
            if c[box] != matches[box]
            and all(
                c[b] == matches[b] or _swapped(c, matches, box, b) for b in range(3) if b != box
            )
        ]
        assert margins[box] == pytest.approx(total(matches) - max(map(total, others)), abs=1e-5)


def _swapped(joining, matches, box, other):
    return joining[box] == matches[other] and joining[other] == matches[box]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_join(shape):
    matches, margins = assign(np.zeros(shape, np.float32), [(np.ones(shape[0], np.bool_), 0.0)])
    assert matches.tolist() == [-1] * shape[0]
    assert np.isinf(margins).all()


DIM = 32
STEP = 1 / 25  # seconds


def embedding_of(number, noise=0.0, seed=0):
    """(DIM,) the embedding of an object; every number has its own."""
    embedding = np.random.default_rng(number).normal(size=DIM)
    return embedding + noise * np.random.default_rng((number, seed)).normal(size=DIM)


def frame_of(objects, seed=0, noise=0.05):
    """Detections and embeddings of {number: (centre x, centre y)}; boxes are 20 x 50."""
    centres = np.array(list(objects.values()), np.float32).reshape(-1, 2)
    half = np.array((10, 25))
    boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
    embeddings = [embedding_of(number, noise, seed) for number in objects]
    return (
        Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int64)),
        np.array(embeddings, np.float32).reshape(-1, DIM),
    )


def run(frames, settings=None, step=STEP, tracker=None):
    """[{number: id}] for frames of {number: centre}."""
    tracker = tracker or HybridTracker(settings or HybridSettings())
    names = []
    for index, objects in enumerate(frames):
        detections, embeddings = frame_of(objects, seed=index)
        tracks = update(tracker, index, index * step, detections, embeddings)
        tracks = tracks[~tracks.interpolated]
        rows = [np.flatnonzero((detections.boxes == box).all(axis=1))[0] for box in tracks.boxes]
        names.append({list(objects)[row]: int(i) for row, i in zip(rows, tracks.ids, strict=True)})
    return names


def crossing(num_frames=60):
    """Two objects walk through one another, a third stands apart."""
    return [
        {1: (100 + 4 * n, 100), 2: (340 - 4 * n, 105), 3: (220, 300)} for n in range(num_frames)
    ]


def ids_of(names, number):
    return {frame[number] for frame in names if number in frame}


def test_one_object_has_one_identity_in_a_scene_without_noise():
    names = run(crossing())
    assert [ids_of(names, number) for number in (1, 2, 3)] == [{1}, {2}, {3}]


def test_embeddings_keep_apart_what_motion_confuses():
    """Both turn round where they meet: by motion alone they would be taken for passing."""
    frames = [{1: (220 - 4 * abs(n - 30), 100), 2: (225 + 4 * abs(n - 30), 100)} for n in range(60)]
    names = run(frames)
    assert [ids_of(names, number) for number in (1, 2)] == [{1}, {2}]
    blind = run(frames, tracker=HybridTracker(HybridSettings(), by_motion_alone=True))
    assert ids_of(blind, 1) != {1}


def test_motion_keeps_apart_what_embeddings_confuse(monkeypatch):
    monkeypatch.setitem(globals(), "embedding_of", lambda number, noise=0, seed=0: np.ones(DIM))
    names = run([{1: (100 + 4 * n, 100), 2: (340 - 4 * n, 160)} for n in range(60)])
    assert [ids_of(names, number) for number in (1, 2)] == [{1}, {2}]


def test_an_object_that_returns_elsewhere_is_known_by_its_look():
    frames = [{1: (100, 100), 2: (300, 100)}] * 20 + [{2: (300, 100)}] * 150
    frames += [{1: (600, 400), 2: (300, 100)}] * 10
    assert ids_of(run(frames), 1) == {1}
    assert len(ids_of(run(frames, HybridSettings(reid_seconds=0)), 1)) == 2


def test_the_longer_one_was_away_the_less_it_is_believed_to_be_back():
    away = [{2: (300, 100)}]
    begin, back = [{1: (100, 100), 2: (300, 100)}] * 20, [{1: (600, 400), 2: (300, 100)}] * 10
    settings = HybridSettings(reid_llr=1)
    ids = [len(ids_of(run(begin + away * n + back, settings), 1)) for n in (50, 150, 450)]
    assert ids == [1, 1, 2]


def test_all_embeddings_follow_a_new_projection():
    """Also those of tracks that are not seen any more."""
    rng, settings = np.random.default_rng(0), HybridSettings(whitening_pairs=1)
    tracker = HybridTracker(settings)
    for index in range(60):
        objects = {n: (100 * n, 100) for n in range(1, 6) if n < 5 or index < 10}
        detections, embeddings = frame_of(objects, seed=index)
        embeddings[:, :2] += rng.normal(0, 2, (len(embeddings), 2))
        update(tracker, index, index * STEP, detections, embeddings)
    state = tracker.state()
    assert "whitening.projection" in state
    again = state["embeddings.mean"] @ state["whitening.projection"]
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    assert len(again) == 5
    assert state["embeddings.projected"] == pytest.approx(again, abs=1e-5)


def test_a_stranger_in_the_place_of_one_lost_for_long_gets_a_new_identity():
    there = {number: (100 * number, 100) for number in range(1, 8)}
    rest = {number: place for number, place in there.items() if number > 1}
    frames = [there] * 150 + [rest] * 120 + [{9: (100, 100), **rest}] * 10
    names = run(frames)
    assert ids_of(names, 9).isdisjoint(ids_of(names, 1))


def test_who_returns_is_left_open_if_two_embedding_alike(monkeypatch):
    own = embedding_of
    monkeypatch.setitem(
        globals(), "embedding_of", lambda number, noise=0, seed=0: own(min(number, 2), noise, seed)
    )
    # 2 and 3 are twins; both leave, one returns elsewhere: nobody can say which.
    frames = [{1: (50, 50), 2: (200, 100), 3: (400, 100)}] * 20 + [{1: (50, 50)}] * 150
    frames += [{1: (50, 50), 2: (700, 400)}] * 5
    names = run(frames)
    assert names[-1][2] not in {names[19][2], names[19][3]}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_detections_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    plain, shuffled = HybridTracker(HybridSettings()), HybridTracker(HybridSettings())
    for index, objects in enumerate(crossing()):
        detections, embeddings = frame_of(objects, seed=index)
        order = rng.permutation(len(detections)) if index else np.arange(len(detections))
        first = update(plain, index, index * STEP, detections, embeddings)
        second = update(shuffled, index, index * STEP, detections[order], embeddings[order])
        by_box = {tuple(b): i for b, i in zip(first.boxes.tolist(), first.ids, strict=True)}
        for box, identity in zip(second.boxes.tolist(), second.ids, strict=True):
            assert by_box[tuple(box)] == identity


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_a_scaled_video_gives_scaled_tracks(scale):
    plain, scaled = HybridTracker(HybridSettings()), HybridTracker(HybridSettings())
    for index, objects in enumerate(crossing()):
        detections, embeddings = frame_of(objects, seed=index)
        larger = replace(detections, boxes=(detections.boxes * scale).astype(np.float32))
        first = update(plain, index, index * STEP, detections, embeddings)
        second = update(scaled, index, index * STEP, larger, embeddings)
        assert first.ids.tolist() == second.ids.tolist()


def test_a_mirrored_video_gives_mirrored_tracks():
    plain, mirrored = HybridTracker(HybridSettings()), HybridTracker(HybridSettings())
    for index, objects in enumerate(crossing()):
        detections, embeddings = frame_of(objects, seed=index)
        boxes = (np.array([640, 0, 640, 0]) - detections.boxes * [1, -1, 1, -1])[:, [2, 1, 0, 3]]
        first = update(plain, index, index * STEP, detections, embeddings)
        second = update(
            mirrored,
            index,
            index * STEP,
            replace(detections, boxes=boxes.astype(np.float32)),
            embeddings,
        )
        assert first.ids.tolist() == second.ids.tolist()


def test_no_identity_appears_twice_in_a_frame_of_noise():
    rng = np.random.default_rng(0)
    tracker = HybridTracker(HybridSettings())
    for index in range(200):
        count = int(rng.integers(0, 30))
        corners = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 80, (count, 2))], axis=1)
        detections = Detections(
            boxes.astype(np.float32),
            rng.random(count).astype(np.float32),
            np.zeros(count, np.int64),
        )
        tracks = update(tracker, index, index * STEP, detections, rng.normal(size=(count, 8)))
        assert len(set(tracks.ids.tolist())) == len(tracks)
        assert (tracks.ids >= 1).all()


def test_a_box_is_no_object_until_it_lasts():
    tracker = HybridTracker(HybridSettings(birth_score=0.3, confirm_hits=3))
    shown, tentative = [], []
    for index in range(5):
        detections, embeddings = frame_of({1: (100, 100)})
        found = tracker.update(observed(index, index * STEP, detections, embeddings))
        shown.append(found.tracks.ids.tolist())
        tentative.append(found.record.tentative.ids.tolist())
    assert shown == [[], [], [1], [1], [1]]
    assert tentative == [[1], [1], [], [], []]
    assert found.record.tracklets.tolist() == [1]


def test_a_weak_box_continues_a_track_but_starts_none():
    tracker = HybridTracker(HybridSettings(confirm_hits=1))
    strong, embeddings = frame_of({1: (100, 100)})
    weak = replace(strong, scores=np.full(1, 0.4, np.float32))
    found = tracker.update(observed(0, 0.0, weak, embeddings))
    assert not len(found.record.tentative)
    update(tracker, 1, STEP, strong, embeddings)
    assert update(tracker, 2, 2 * STEP, weak, embeddings).ids.tolist() == [1]


@pytest.mark.parametrize(
    ("scores", "ids"),
    [
        ((0.9, 0.4), [1, 2]),  # of that class the detector is never surer
        ((0.9, 0.15), [1]),  # and here it sees nothing of it
        ((0.4, 0.4), [1, 2]),  # it is sure of nothing
    ],
)
def test_a_class_that_is_never_sure_has_tracks_beside_one_that_is(scores, ids):
    tracker = HybridTracker(HybridSettings())
    for index in range(6):
        detections, embeddings = frame_of({1: (100, 100), 2: (300, 100)})
        detections = replace(
            detections, scores=np.array(scores, np.float32), labels=np.array([3, 1])
        )
        tracks = update(tracker, index, index * STEP, detections, embeddings)
    assert tracks.ids.tolist() == ids


def test_within_a_class_weak_boxes_stay_weak():
    tracker = HybridTracker(HybridSettings())
    for index in range(6):
        detections, embeddings = frame_of({1: (100, 100), 2: (300, 100)})
        detections = replace(detections, scores=np.array([0.9, 0.4], np.float32))
        tracks = update(tracker, index, index * STEP, detections, embeddings)
    assert tracks.ids.tolist() == [1]


def test_a_second_box_on_a_tracked_object_starts_no_track():
    tracker = HybridTracker(HybridSettings())
    for index in range(5):
        detections, embeddings = frame_of(
            {1: (100, 100), 9: (101, 100)} if index else {1: (100, 100)}
        )
        tracks = update(
            tracker, index, index * STEP, detections, np.tile(embeddings[:1], (len(embeddings), 1))
        )
    assert tracks.ids.tolist() == [1]


@pytest.mark.parametrize("cut", [0, 1, 25])
def test_a_restored_tracker_goes_on_as_if_it_had_never_stopped(cut):
    frames = crossing()
    whole = run(frames)
    first = HybridTracker(HybridSettings())
    for index in range(cut):
        update(first, index, index * STEP, *frame_of(frames[index], seed=index))
    second = HybridTracker(HybridSettings())
    second.restore({name: np.array(value) for name, value in first.state().items()})
    for index in range(cut, len(frames)):
        detections, embeddings = frame_of(frames[index], seed=index)
        ids = update(second, index, index * STEP, detections, embeddings).ids.tolist()
        assert ids == list(whole[index].values())


def test_what_is_remembered_does_not_grow_with_the_video():
    tracker = HybridTracker(HybridSettings(memory_seconds=1, reid_seconds=1))
    for index in range(300):
        number = index // 3
        update(tracker, index, index * STEP, *frame_of({number: (50 * (number % 50), 100)}))
    assert len(tracker.state()["tracks.ids"]) < 15


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="positive"):
        HybridSettings(memory_seconds=0)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        HybridSettings(momentum=2)
    with pytest.raises(ValueError, match="at least 1"):
        HybridSettings(confirm_hits=0)


def views(offsets):
    """(120, 160, 3) views of a texture, each so many pixels further to the right."""
    texture = np.random.default_rng(0).integers(0, 255, (30, 60, 3))
    wall = np.kron(texture, np.ones((8, 8, 1))).astype(np.uint8)
    return [wall[:120, offset : offset + 160] for offset in offsets]


def watched(images, objects, settings):
    """As `run`, with the images."""
    tracker = HybridTracker(settings)
    names = []
    camera = CameraMotionEstimator()
    for index, (image, positions) in enumerate(zip(images, objects, strict=True)):
        detections, embeddings = frame_of(positions)
        motion = camera.update(image, detections.boxes)
        size = (image.shape[1], image.shape[0])
        frame = (index, index * STEP, detections, embeddings)
        ids = update(tracker, *frame, motion=motion, frame_size=size).ids.tolist()
        names.append(dict(zip(positions, ids, strict=False)))
    return names


def test_a_pan_of_the_camera_moves_what_is_expected():
    """A still object is occluded while the camera swings by more than its own width."""
    offsets = [0, 0, 0, 0, *range(8, 88, 8)]
    images = views(offsets)
    objects = [{1: (150 - offset, 60)} if offset in {0, 64, 72, 80} else {} for offset in offsets]
    settings = HybridSettings(reid_seconds=0, confirm_hits=2)
    assert ids_of(watched(images, objects, settings), 1) == {1}
    assert ids_of(watched(images, objects, replace(settings, camera_motion=False)), 1) != {1}


def test_after_a_cut_objects_are_known_by_their_embeddings():
    rng = np.random.default_rng(5)
    other = np.kron(rng.integers(0, 60, (60, 80, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    images = [*views([0] * 5), *[other] * 5]
    objects = [{1: (40, 60), 2: (120, 60)}] * 5 + [{1: (120, 60), 2: (40, 60)}] * 5
    names = watched(images, objects, HybridSettings())
    assert [ids_of(names, number) for number in (1, 2)] == [{1}, {2}]


def test_an_ambiguous_box_waits_and_no_track_begins_on_it(monkeypatch):
    """Two twins merge into one box, midway between where both are expected."""
    monkeypatch.setitem(globals(), "embedding_of", lambda number, noise=0, seed=0: np.ones(DIM))
    frames = [{1: (100, 100), 2: (140, 100)}] * 20 + [{3: (120, 100)}] * 8
    frames += [{1: (100, 100), 2: (140, 100)}] * 5
    names = run(frames, HybridSettings(defer_margin=1.0))
    assert [ids_of(names, number) for number in (1, 2, 3)] == [{1}, {2}, set()]
    assert ids_of(run(frames, HybridSettings(defer_margin=-1.0)), 3) <= {1, 2}
    assert ids_of(run(frames, HybridSettings(defer_margin=-1.0)), 3)


def test_nobody_waits_whose_place_will_not_be_known(monkeypatch):
    """The same of twins that dart about: where they will be in a moment nobody can tell."""
    monkeypatch.setitem(globals(), "embedding_of", lambda number, noise=0, seed=0: np.ones(DIM))
    darts = np.random.default_rng(4).normal([(100, 100), (200, 100)], 20, (40, 2, 2))
    frames = [{1: one, 2: other} for one, other in darts]
    frames += [{1: (130, 100), 2: (170, 100)}, *[{3: (150, 100)}] * 8]
    names = run(frames, HybridSettings(defer_margin=1.0))
    assert ids_of(names, 3)
    assert ids_of(names, 3) <= ids_of(names, 1) | ids_of(names, 2)


def test_what_was_not_sure_is_told_where_it_was(monkeypatch):
    """Twins meet and part again; one who is far off is sure throughout."""
    monkeypatch.setitem(globals(), "embedding_of", lambda number, noise=0, seed=0: np.ones(DIM))
    gaps = [*range(100, 8, -4), *[10] * 5, *range(10, 100, 4)]
    tracker, unsure = HybridTracker(HybridSettings()), {}
    for index, gap in enumerate(gaps):
        places = {1: (300, 100), 2: (300 + gap, 100), 3: (900, 700)}
        tracks = update(tracker, index, index * STEP, *frame_of(places))
        for id_, margin in zip(tracks.ids.tolist(), tracks.margins.tolist(), strict=True):
            if margin < np.inf:
                unsure.setdefault(id_, {})[gap] = margin
    assert set(unsure) == {1, 2}
    assert max(unsure[1]) < 50  # pixels; boxes are 20 wide
    assert max(unsure[1].values()) < 4


def test_a_match_that_is_not_sure_teaches_no_appearance():
    """Two boxes as near to one track as to the other, then the same far apart."""
    changes = []
    for distance in (4, 200):
        tracker = HybridTracker(HybridSettings(defer_margin=-1))
        for index in range(20):
            detections, embeddings = frame_of({1: (100, 100), 2: (100 + distance, 100)})
            if index > 10:
                embeddings = np.stack([embedding_of(1) + embedding_of(2)] * 2).astype(np.float32)
            update(tracker, index, index * STEP, detections, embeddings)
            if index == 10:
                before = tracker.state()["embeddings.mean"].copy()
        after = tracker.state()["embeddings.mean"]
        changes.append(float(1 - (before * after).sum(axis=1).min()))
    assert changes[0] < 1e-4
    assert changes[1] > 0.05


def test_what_was_shown_of_a_frame_never_changes_after_it():
    """A live run cannot take anything back."""
    tracker = HybridTracker(HybridSettings())
    shown, copies = [], []
    for index, objects in enumerate(crossing()):
        detections, embeddings = frame_of(objects, seed=index)
        tracks = update(tracker, index, index * STEP, detections, embeddings)
        shown.append(tracks)
        copies.append((tracks.boxes.copy(), tracks.ids.copy()))
    for tracks, (boxes, ids) in zip(shown, copies, strict=True):
        assert np.array_equal(tracks.boxes, boxes)
        assert np.array_equal(tracks.ids, ids)


def recorded(frames, settings=None):
    """[(shown, tentative, ended tracklets)] of each frame, and those that are open at last."""
    tracker = HybridTracker(settings or HybridSettings())
    found = []
    for index, objects in enumerate(frames):
        record = tracker.update(
            observed(index, index * STEP, *frame_of(objects, seed=index))
        ).record
        numbers = (record.tracklets, record.tentative.ids, record.ended.numbers)
        found.append(tuple(each.tolist() for each in numbers))
    return found, tracker.finish().numbers.tolist()


def test_a_tracklet_ends_where_its_track_was_out_of_sight():
    frames = [{1: (100, 100)}] * 10 + [{}] * 20 + [{1: (100, 100)}] * 3
    found, still_open = recorded(frames, HybridSettings())
    assert found[9] == ([1], [], [])
    assert found[30] == ([2], [], [1])
    assert still_open == [2]
    short = [{1: (100, 100)}] * 10 + [{}] * 10 + [{1: (100, 100)}] * 3
    assert recorded(short)[0][20] == ([1], [], [])


def test_a_tracklet_ends_where_its_object_was_hidden():
    frames = [{1: (100 + 2 * n, 100), 2: (140, 100)} for n in range(40)]
    found, _ = recorded(frames)
    first = {frame[0][0] for frame in found[4:]}
    assert len(first) > 1
    assert found[10][0] == [1, 2]


def test_every_tracklet_is_told_of_once_when_it_ends():
    rng = np.random.default_rng(1)
    frames = [
        {number: (60 * number, 100) for number in range(1, 8) if rng.random() < 0.7}
        for _ in range(100)
    ]
    found, still_open = recorded(frames)
    begun = {number for shown, tentative, _ in found for number in (*shown, *tentative)}
    ended = [number for _, _, numbers in found for number in numbers]
    assert sorted(ended + still_open) == sorted(begun)
