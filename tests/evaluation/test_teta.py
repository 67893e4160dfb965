import json
from pathlib import Path

import numpy as np
import pytest

from masa_cli.evaluation.tao_metrics import teta_videos
from masa_cli.evaluation.teta import (
    ALPHAS,
    ClassCounts,
    TetaVideo,
    count_video,
    mean_scores,
    scores,
    total,
)
from masa_cli.formats.tao import read_annotations, read_results

GOLDEN = Path(__file__).parents[1] / "data" / "eval" / "teta"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())["datasets"]
FIELDS = {
    "TETA": "teta",
    "LocA": "loc_a",
    "AssocA": "assoc_a",
    "ClsA": "cls_a",
    "LocRe": "loc_re",
    "LocPr": "loc_pr",
    "AssocRe": "assoc_re",
    "AssocPr": "assoc_pr",
    "ClsRe": "cls_re",
    "ClsPr": "cls_pr",
}
CAT, DOG, CAR = 1, 2, 3
# Sums over classes and alphas in another order than the reference's differ in the last digits.
CLOSE = {"rel": 0, "abs": 1e-9}


def video(*steps):
    """Steps of (objects [(id, class)], boxes [(id, class)], similarity)."""

    def column(side, place):
        return [np.array([pair[place] for pair in step[side]], np.int64) for step in steps]

    similarity = [
        np.array(near, np.float64).reshape(len(objects), len(boxes))
        for objects, boxes, near in steps
    ]
    return TetaVideo(column(0, 0), column(0, 1), column(1, 0), column(1, 1), similarity)


def golden_counts(name):
    tao = read_annotations(GOLDEN / f"{name}.gt.json")
    results = read_results(GOLDEN / f"{name}.res.json", tao)
    evaluated = np.unique(tao.truth.classes).tolist()
    counts = total(count_video(each, evaluated) for each in teta_videos(tao, results))
    return {tao.names[number]: counted for number, counted in counts.items()}, tao


def row_of(result):
    return {name: getattr(result, field) for name, field in FIELDS.items()}


@pytest.mark.parametrize("name", EXPECTED)
class TestAgainstTheReference:
    def test_counts_of_each_class_are_equal(self, name):
        counts, _ = golden_counts(name)
        for kind, expected in EXPECTED[name]["per_class_counts"].items():
            for field, values in expected.items():
                assert getattr(counts[kind], field.lower()).tolist() == values, (kind, field)

    def test_scores_of_each_class_are_equal(self, name):
        counts, _ = golden_counts(name)
        counted = {kind for kind, each in counts.items() if each.has_boxes}
        assert counted == set(EXPECTED[name]["per_class"])
        for kind, expected in EXPECTED[name]["per_class"].items():
            assert row_of(scores(counts[kind])) == pytest.approx(expected, **CLOSE), kind

    def test_mean_and_curves_are_equal(self, name):
        counts, _ = golden_counts(name)
        mean = mean_scores([scores(each) for each in counts.values() if each.has_boxes])
        expected = EXPECTED[name]
        assert row_of(mean) == pytest.approx(expected["average"], **CLOSE)
        for field, key in (("loc_a", "average_LocA_curve"), ("assoc_a", "average_AssocA_curve")):
            percent = 100 * np.array(expected[key])
            assert getattr(mean, f"{field}_curve") == pytest.approx(percent, **CLOSE)

    def test_base_and_novel_classes_are_equal(self, name):
        counts, tao = golden_counts(name)
        frequency = {tao.names[number]: tao.frequencies[number] for number in tao.names}
        for group, expected in EXPECTED[name]["open_vocab"].items():
            own = [
                scores(each)
                for kind, each in counts.items()
                if (frequency[kind] == "r") == (group == "novel")
            ]
            assert len(own) == expected["n_classes"]
            assert row_of(mean_scores(own)) == pytest.approx(expected["full"], **CLOSE)


def test_perfect_tracks_score_100():
    step = ([(1, CAT)], [(7, CAT)], [[1.0]])
    result = scores(count_video(video(step, step), [CAT])[CAT])
    assert set(row_of(result).values()) == {100.0}


def test_changed_id_halves_association_alone():
    first = ([(1, CAT)], [(7, CAT)], [[1.0]])
    second = ([(1, CAT)], [(8, CAT)], [[1.0]])
    result = scores(count_video(video(first, second), [CAT])[CAT])
    # Each of 2 boxes shares 1 of the 2 frames that either its object or its track has.
    assert (result.loc_a, result.assoc_a, result.cls_a) == (100.0, 50.0, 100.0)
    assert result.teta == pytest.approx(250 / 3)
    assert (result.assoc_re, result.assoc_pr) == (50.0, 100.0)


def test_iou_at_a_threshold_is_enough_for_it():
    result = count_video(video(([(1, CAT)], [(7, CAT)], [[0.55]])), [CAT])[CAT]
    assert result.loc_tp.tolist() == [1.0] * 12 + [0.0] * 8  # 0, 0.05 … 0.55
    assert result.loc_fn.tolist() == [0.0] * 12 + [1.0] * 8
    assert result.cls_tp.tolist() == [1.0] * 2 + [0.0] * 8
    assert scores(result).loc_a == pytest.approx(60)


def test_wrong_class_is_an_error_of_both_classes_and_of_classification_alone():
    step = ([(1, CAT)], [(7, DOG)], [[1.0]])
    counts = count_video(video(step), [CAT, DOG])
    assert counts[CAT].loc_tp.tolist() == [1.0] * 20
    assert counts[CAT].cls_fn.tolist() == [1.0] * 10
    assert counts[DOG].cls_fp.tolist() == [1.0] * 10
    assert not counts[DOG].has_boxes
    assert set(count_video(video(step), [CAT])) == {CAT}  # nothing to tell of dogs


def test_box_far_from_all_objects_is_no_error():
    step = ([(1, CAT)], [(7, CAT), (8, CAT)], [[1.0, 0.4]])
    assert scores(count_video(video(step), [CAT])[CAT]).teta == 100.0


def test_second_box_on_an_object_is_an_error_of_localisation():
    step = ([(1, CAT)], [(7, CAT), (8, CAT)], [[1.0, 0.5]])
    result = count_video(video(step), [CAT])[CAT]
    assert result.loc_fp.tolist() == [1.0] * 20


def test_box_that_belongs_to_an_object_of_another_class_is_no_error():
    # Box 8 overlaps the cat, but it is the dog's.
    step = ([(1, CAT), (2, DOG)], [(7, CAT), (8, DOG)], [[1.0, 0.6], [0.6, 1.0]])
    counts = count_video(video(step), [CAT, DOG])
    assert scores(counts[CAT]).teta == scores(counts[DOG]).teta == 100.0


def test_pair_without_overlap_counts_at_alpha_zero_only():
    near = ([(1, CAT)], [(7, CAT)], [[1.0]])
    far = ([(1, CAT)], [(7, CAT)], [[0.0]])
    result = count_video(video(near, far), [CAT])[CAT]
    assert result.loc_tp.tolist() == [2.0] + [1.0] * 19
    assert result.loc_fp.tolist() == [0.0] * 20


def test_track_that_stays_is_preferred_to_a_better_box_of_one_frame():
    stay = ([(1, CAT)], [(7, CAT)], [[0.9]])
    both = ([(1, CAT)], [(7, CAT), (8, CAT)], [[0.8, 0.9]])
    result = count_video(video(stay, stay, both), [CAT])[CAT]
    # With box 8, of 0.9, there would be three at 0.85 and 0.9 too.
    assert result.loc_tp.tolist() == [3.0] * 17 + [2.0] * 2 + [0.0]
    assert result.assoc_a[0] == 3 * 3 / (3 + 3 - 3)


def test_objects_without_any_box_are_missed():
    counts = count_video(video(([(1, CAT), (2, CAT)], [], [])), [CAT, DOG])
    assert counts[CAT].loc_fn.tolist() == [2.0] * 20
    assert DOG not in counts
    assert set(row_of(scores(counts[CAT])).values()) == {0.0}


def test_video_without_steps_counts_nothing():
    assert count_video(video(), [CAT]) == {}
    assert total([{}, {}]) == {}


def test_steps_without_objects_change_lengths_of_tracks_only():
    near = ([(1, CAT)], [(7, CAT)], [[1.0]])
    result = scores(count_video(video(near, ([], [(7, CAT)], [])), [CAT])[CAT])
    assert (result.loc_a, result.assoc_a, result.assoc_pr) == (100.0, 50.0, 50.0)


def test_exhaustive_box_far_from_objects_is_an_error_of_classification():
    step = ([(1, CAT)], [(7, CAT), (8, CAT)], [[1.0, 0.0]])
    empty = ([], [(8, CAT), (9, DOG)], [])
    counts = count_video(video(step, empty), [CAT, DOG], exhaustive=True)
    assert counts[CAT].cls_fp.tolist() == [2.0] * 10
    assert counts[CAT].loc_fp.tolist() == [0.0] * 20
    assert counts[DOG].cls_fp.tolist() == [1.0] * 10


def test_exhaustive_class_without_overlap_forgets_what_was_counted_before_it():
    step = ([(1, CAT)], [(7, DOG)], [[1.0]])
    after = count_video(video(step), [CAT, DOG], exhaustive=True)[DOG]
    before = count_video(video(step), [DOG, CAT], exhaustive=True)[DOG]
    assert after.cls_fp.tolist() == [1.0] * 10
    assert before.cls_fp.tolist() == [2.0] * 10


def test_videos_add_up_and_association_is_weighted_by_boxes():
    near = ([(1, CAT)], [(7, CAT)], [[1.0]])
    changed = ([(1, CAT)], [(8, CAT)], [[1.0]])
    good = count_video(video(*[near] * 6), [CAT])
    bad = count_video(video(near, changed), [CAT])
    assert scores(total([good, bad])[CAT]).assoc_a == pytest.approx((6 * 100 + 2 * 50) / 8)


def test_curves_are_over_all_alphas():
    result = scores(ClassCounts.zero())
    curves = (result.teta_curve, result.loc_a_curve, result.assoc_a_curve)
    assert {len(curve) for curve in curves} == {len(ALPHAS)} == {20}
    assert len(result.cls_a_curve) == 10


def test_mean_of_no_class_is_refused():
    with pytest.raises(ValueError, match="at least one class"):
        mean_scores([])


def test_shapes_that_do_not_fit_are_refused():
    one = [np.zeros(1, np.int64)]
    with pytest.raises(ValueError, match="step 0: similarity must be \\(1, 1\\)"):
        TetaVideo(one, one, one, one, [np.zeros((1, 2))])
    with pytest.raises(ValueError, match="equally many steps"):
        TetaVideo(one, one, one, [], [np.zeros((1, 1))])
