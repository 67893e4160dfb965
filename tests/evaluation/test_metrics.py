import numpy as np
import pytest

from masa_cli.boxes import iou
from masa_cli.evaluation.metrics import identity_scores

LEFT, RIGHT = (0, 0, 10, 10), (100, 0, 110, 10)


def frame(**boxes):
    """One frame: frame(_1=box, _7=box)."""
    ids = np.array([int(name[1:]) for name in boxes], np.int64)
    return np.array(list(boxes.values()), np.float32).reshape(-1, 4), ids


def test_perfect_tracks_score_one_whatever_their_ids():
    truth = [frame(_1=LEFT, _2=RIGHT)] * 3
    scores = identity_scores(truth, [frame(_8=RIGHT, _5=LEFT)] * 3)
    assert (scores.idf1, scores.idp, scores.idr) == (1, 1, 1)
    assert (scores.num_switches, scores.recall, scores.mota) == (0, 1, 1)


def test_swapped_ids_halfway():
    truth = [frame(_1=LEFT, _2=RIGHT)] * 4
    results = [frame(_1=LEFT, _2=RIGHT)] * 2 + [frame(_1=RIGHT, _2=LEFT)] * 2
    scores = identity_scores(truth, results)
    # 8 boxes each; every pairing of ids is right in 4 of them.
    assert (scores.idf1, scores.idp, scores.idr) == (0.5, 0.5, 0.5)
    assert scores.num_switches == 2
    assert scores.mota == pytest.approx(1 - 2 / 8)


def test_return_with_a_new_id_is_one_switch():
    truth = [frame(_1=LEFT), frame(), frame(), frame(_1=LEFT), frame(_1=LEFT)]
    results = [frame(_1=LEFT), frame(), frame(_9=RIGHT), frame(_2=LEFT), frame(_2=LEFT)]
    scores = identity_scores(truth, results)
    assert scores.num_switches == 1
    # id 2 is right twice; 3 true boxes, 4 given.
    assert (scores.idr, scores.idp, scores.idf1) == (2 / 3, 2 / 4, 4 / 7)
    assert scores.mota == pytest.approx(1 - (0 + 1 + 1) / 3)


def test_return_with_the_old_id_is_no_switch():
    truth = [frame(_1=LEFT), frame(), frame(_1=LEFT)]
    assert identity_scores(truth, truth).num_switches == 0


def test_missed_and_false_boxes():
    truth = [frame(_1=LEFT, _2=RIGHT)] * 2
    scores = identity_scores(truth, [frame(_1=LEFT), frame(_1=LEFT, _3=(50, 50, 60, 60))])
    assert (scores.idp, scores.idr, scores.recall) == (2 / 3, 2 / 4, 2 / 4)
    assert scores.mota == pytest.approx(1 - (2 + 1) / 4)


def test_overlap_of_exactly_the_threshold_counts():
    truth, results = [frame(_1=(0, 0, 10, 10))], [frame(_1=(0, 0, 10, 5))]
    assert identity_scores(truth, results).idf1 == 1
    assert identity_scores(truth, results, 0.51).idf1 == 0
    assert identity_scores(truth, results, 0.51).recall == 0


def test_who_was_joined_stays_joined_though_another_overlaps_more():
    truth = [frame(_1=LEFT)] * 2
    results = [frame(_1=LEFT), frame(_2=LEFT, _1=(0, 0, 10, 8))]
    assert identity_scores(truth, results).num_switches == 0


def test_after_a_frame_without_the_object_the_better_overlap_wins():
    truth = [frame(_1=LEFT), frame(_2=RIGHT), frame(_1=LEFT)]
    results = [frame(_1=LEFT), frame(_5=RIGHT), frame(_2=LEFT, _1=(0, 0, 10, 8))]
    assert identity_scores(truth, results).num_switches == 1


@pytest.mark.parametrize(
    ("truth", "results"),
    [
        ([], []),
        ([frame()], [frame()]),
        ([frame(_1=LEFT)], [frame()]),
        ([frame()], [frame(_1=LEFT)]),
    ],
)
def test_where_there_is_nothing_all_is_zero(truth, results):
    scores = identity_scores(truth, results)
    assert (scores.idf1, scores.idp, scores.idr, scores.recall, scores.mota) == (0,) * 5
    assert scores.num_switches == 0


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"2 frames .* got 1"):
        identity_scores([frame(), frame()], [frame()])


def random_case(seed):
    """Random walks close together, found badly: shifted, missed, swapped, invented."""
    rng = np.random.default_rng(seed)
    num_objects, num_frames = rng.integers(1, 7), rng.integers(1, 40)
    corners = rng.uniform(0, 25, (num_objects, 2))
    names = rng.permutation(num_objects) + 1
    truth, results = [], []
    for _ in range(num_frames):
        corners += rng.normal(0, 2, corners.shape)
        boxes = np.concatenate([corners, corners + 20], axis=1)
        there = rng.random(num_objects) < 0.8
        if rng.random() < 0.2:
            rng.shuffle(names)
        noisy = boxes + rng.normal(0, 2, boxes.shape)
        given = np.concatenate([noisy[rng.random(num_objects) < 0.7], noisy[:1] + 3])
        ids = np.append(rng.permutation(names)[: len(given) - 1], 50 + rng.integers(3))
        kept = rng.random(len(given)) < (0 if rng.random() < 0.1 else 0.9)
        truth.append((boxes[there].astype(np.float32), np.flatnonzero(there) + 1))
        results.append((given[kept].astype(np.float32), ids[kept]))
    return truth, results


def as_trackeval(truth, results):
    """The dict that TrackEval's metrics take: ids from 0 without gaps."""
    known = [np.unique(np.concatenate([ids for _, ids in side])) for side in (truth, results)]
    true_ids, ids = (
        [np.searchsorted(names, ids) for _, ids in side]
        for names, side in zip(known, (truth, results), strict=True)
    )
    return {
        "gt_ids": true_ids,
        "tracker_ids": ids,
        "num_gt_ids": len(known[0]),
        "num_tracker_ids": len(known[1]),
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "num_timesteps": len(truth),
        "similarity_scores": [
            iou(one, other) for (one, _), (other, _) in zip(truth, results, strict=True)
        ],
    }


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_same_numbers_as_trackeval(threshold):
    trackeval = pytest.importorskip("trackeval", reason="needs trackeval as the oracle")
    config = {"THRESHOLD": threshold, "PRINT_CONFIG": False}
    identity, clear = trackeval.metrics.Identity(config), trackeval.metrics.CLEAR(config)
    switches = 0
    for seed in range(60):
        truth, results = random_case(seed)
        data = as_trackeval(truth, results)
        expected = {**identity.eval_sequence(data), **clear.eval_sequence(data)}
        scores = identity_scores(truth, results, threshold)
        assert scores.num_switches == expected["IDSW"]
        for ours, theirs in (
            (scores.idf1, "IDF1"),
            (scores.idp, "IDP"),
            (scores.idr, "IDR"),
            (scores.recall, "CLR_Re"),
            (scores.mota, "MOTA"),
        ):
            assert ours == pytest.approx(expected[theirs], abs=1e-12)
        switches += scores.num_switches
    assert switches > 100  # the cases are worth comparing
