import json
from pathlib import Path

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.evaluation.tao_metrics import (
    METRICS,
    THRESHOLDS,
    evaluate,
    teta_videos,
    track_ap,
    track_numbers,
    vote_classes,
)
from masa_cli.evaluation.teta import ALPHAS
from masa_cli.formats.tao import read_annotations, read_results

pytest.importorskip("trackeval", reason="Track mAP needs trackeval: pip install 'masa[eval]'")

DATA = Path(__file__).parents[1] / "data" / "eval"
TETA = json.loads((DATA / "teta" / "expected.json").read_text())["datasets"]
TRACK_MAP = json.loads((DATA / "trackmap" / "expected.json").read_text())["datasets"]
CAT, DOG, OWL = 1, 2, 3
BOX, ELSEWHERE = (10, 10, 20, 20), (300, 300, 20, 20)


def golden(name):
    return DATA / "teta" / f"{name}.gt.json", DATA / "teta" / f"{name}.res.json"


def truth(*annotations, videos=1, **lists):
    """Videos 1, 2, … of 3 images each (11, 12, 13, 21, …); annotations as of `box`."""
    lists = {"neg_category_ids": [], "not_exhaustive_category_ids": []} | lists
    numbers = range(1, videos + 1)
    return {
        "categories": [
            {"id": CAT, "name": "cat", "frequency": "f"},
            {"id": DOG, "name": "dog", "frequency": "c"},
            {"id": OWL, "name": "owl", "frequency": "r"},
        ],
        "videos": [{"id": number, "name": f"val/{number}", **lists} for number in numbers],
        "images": [
            {"id": 10 * number + frame, "video_id": number, "frame_index": 30 * frame}
            for number in numbers
            for frame in (1, 2, 3)
        ],
        "annotations": list(annotations),
    }


def box(image, track, kind=CAT, bbox=BOX, score=0.5):
    entry = {"image_id": image, "track_id": track, "category_id": kind, "bbox": list(bbox)}
    return entry | {"score": score}


def track(number, kind=CAT, bbox=BOX, score=0.5, video=1):
    """The same box in all images of a video."""
    return [box(10 * video + frame, number, kind, bbox, score) for frame in (1, 2, 3)]


@pytest.fixture
def files(tmp_path):
    """Writes ground truth and results; gives their paths."""

    def write(gt, results):
        paths = tmp_path / "gt.json", tmp_path / "res.json"
        for path, content in zip(paths, (gt, results), strict=True):
            path.write_text(json.dumps(content))
        return paths

    return write


@pytest.fixture
def precision(files):
    """Average precision at IoU 0.5 by class."""

    def measure(gt, results):
        gt, results = files(gt, results)
        tao = read_annotations(gt)
        scores = track_ap(tao, read_results(results, tao))
        # TrackEval divides by a little more than there is: 1 comes out as 0.9999999999999999.
        return {number: round(float(row[0]), 9) for number, row in scores.items()}

    return measure


@pytest.mark.parametrize("name", TETA)
@pytest.mark.parametrize("class_vote", [True, False])  # no track of these sets has two classes
class TestAgainstTheReferences:
    def test_scores_are_equal(self, name, class_vote):
        report = evaluate(*golden(name), class_vote=class_vote, allow_missing=True)
        expected = TETA[name]
        fields = ("TETA", "LocA", "AssocA", "ClsA")
        # Sums in another order differ in the last digits.
        close = {"rel": 0, "abs": 1e-9}
        assert set(report.classes) == set(expected["per_class"])
        for field in fields:
            assert report.combined[field] == pytest.approx(expected["average"][field], **close)
            printed = format(report.combined[field], METRICS[0].printed)
            assert printed == expected["printed_row_COMBINED"][field]
            for kind, row in expected["per_class"].items():
                assert report.classes[kind][field] == pytest.approx(row[field], **close)
            for group, means in expected["open_vocab"].items():
                rounded = means["masa_rounded"][field]
                assert report.groups[group][field] == pytest.approx(rounded, **close)

    def test_track_map_is_equal(self, name, class_vote):
        report = evaluate(*golden(name), class_vote=class_vote, allow_missing=True)
        toolkit = TRACK_MAP[name]["tao_toolkit"]
        means = toolkit["results_50_95"]
        close = {"rel": 0, "abs": 1e-9}
        for field, key in (("TrackAP", "AP"), ("AP50", "AP50"), ("AP75", "AP75")):
            assert report.combined[field] == pytest.approx(means[key], **close)
        assert set(report.classes) == set(toolkit["per_class"])
        for kind, row in toolkit["per_class"].items():
            assert report.classes[kind]["TrackAP"] == pytest.approx(np.mean(row["AP"]), **close)


@pytest.mark.parametrize("name", TRACK_MAP)
def test_precision_is_equal_at_each_threshold(name):
    gt, results = golden(name)
    tao = read_annotations(gt)
    found = track_ap(tao, read_results(results, tao))
    expected = TRACK_MAP[name]["tao_toolkit"]
    assert pytest.approx(expected["iou_thrs"]) == THRESHOLDS
    assert {tao.names[number] for number in found} == set(expected["per_class"])
    for number, row in found.items():
        precision = expected["per_class"][tao.names[number]]["AP"]
        assert row == pytest.approx(precision, rel=0, abs=1e-9)


class TestTrackMap:
    def test_object_found_by_track_zero_is_not_found_again(self, precision):
        gt = truth(*track(0), *track(1, bbox=ELSEWHERE))
        results = [*track(0, score=0.9), *track(1)]  # both on the first
        # Half of the objects: 51 of the 101 recalls from 0 to 1 are reached.
        assert precision(gt, results) == {CAT: round(51 / 101, 9)}

    def test_perfect_boxes_of_any_decimals_are_found(self, precision):
        random = np.random.default_rng(0)
        boxes = np.round(random.uniform(1, 500, (200, 4)), 2).tolist()
        gt = [row for number, bbox in enumerate(boxes) for row in track(number, bbox=bbox)]
        assert precision(truth(*gt), gt) == {CAT: 1.0}

    def test_class_that_nobody_looked_for_is_no_error(self, precision):
        gt = truth(*track(1), *track(2, DOG, video=2), videos=2)
        results = [*track(1), *track(2, DOG, score=0.9), *track(2, DOG, video=2)]
        assert precision(gt, results) == {CAT: 1.0, DOG: 1.0}

    def test_class_known_to_be_absent_is_an_error(self, precision):
        gt = truth(*track(1), *track(2, DOG, video=2), videos=2, neg_category_ids=[DOG])
        results = [*track(1), *track(2, DOG, score=0.9), *track(2, DOG, video=2)]
        assert precision(gt, results) == {CAT: 1.0, DOG: 0.5}

    @pytest.mark.parametrize(("partial", "expected"), [([], 0.5), ([CAT], 1.0)])
    def test_unmatched_track_counts_if_all_objects_are_named(self, precision, partial, expected):
        gt = truth(*track(1), not_exhaustive_category_ids=partial)
        results = [*track(1), *track(2, bbox=ELSEWHERE, score=0.9)]
        assert precision(gt, results) == {CAT: expected}

    def test_score_of_a_track_is_the_mean_of_its_boxes(self, precision):
        # The best box is of the wrong track, whose mean of 0.4 is behind 0.5.
        wrong = [box(11, 2, bbox=ELSEWHERE, score=0.9), *track(2, bbox=ELSEWHERE, score=0.15)[1:]]
        assert precision(truth(*track(1)), [*wrong, *track(1)]) == {CAT: 1.0}

    @pytest.mark.parametrize(("others", "expected"), [(299, 1.0), (300, 0.0)])
    def test_best_300_boxes_of_an_image_count(self, precision, others, expected):
        gt = truth(*track(1), not_exhaustive_category_ids=[CAT])
        noise = [
            box(i, n + 2, bbox=ELSEWHERE, score=0.9) for i in (11, 12, 13) for n in range(others)
        ]
        assert precision(gt, [*track(1), *noise]) == {CAT: expected}

    def test_number_used_in_two_videos_is_two_tracks(self, precision):
        gt = truth(*track(1), *track(2, DOG, video=2), videos=2)
        assert precision(gt, [*track(1), *track(1, DOG, video=2)]) == {CAT: 1.0, DOG: 1.0}

    def test_overlap_is_over_all_images_of_both_tracks(self, precision):
        # 2 of 3 images: IoU 2/3 reaches 0.5; 1 of 3 does not.
        assert precision(truth(*track(1)), track(1)[:2]) == {CAT: 1.0}
        assert precision(truth(*track(1)), track(1)[:1]) == {CAT: 0.0}


class TestVote:
    def vote(self, files, *kinds):
        images = (11, 12, 13, 21)
        results = [box(image, 1, kind) for image, kind in zip(images, kinds, strict=False)]
        gt, results = files(truth(*track(1), videos=2), results)
        tao = read_annotations(gt)
        found = read_results(results, tao)
        return vote_classes(found, track_numbers(tao, found)).classes.tolist()

    def test_class_of_most_boxes_wins(self, files):
        assert self.vote(files, CAT, DOG, DOG) == [DOG] * 3

    def test_smallest_id_wins_among_equals(self, files):
        assert self.vote(files, OWL, DOG) == [DOG] * 2

    def test_same_number_in_another_video_has_no_say(self, files):
        assert self.vote(files, CAT, CAT, DOG, DOG) == [CAT] * 3 + [DOG]

    def test_no_boxes_have_no_class(self, files):
        assert self.vote(files) == []

    def test_vote_decides_for_teta_unless_it_is_off(self, files):
        results = [*track(1)[:2], box(13, 1, DOG)]
        paths = files(truth(*track(1)), results)
        voted, as_written = evaluate(*paths), evaluate(*paths, class_vote=False)
        assert voted.combined["ClsA"] == 100.0
        assert as_written.combined["ClsA"] == pytest.approx(200 / 3)
        assert as_written.combined["AP50"] == voted.combined["AP50"] == pytest.approx(1)
        assert not voted.notes
        assert "one class per track" in as_written.notes[0]


class TestReport:
    def test_groups_are_means_of_rounded_rows(self, files):
        gt = truth(*track(1), *track(2, DOG, ELSEWHERE), *track(3, OWL, (600, 10, 20, 20)))
        results = [*track(1), *track(2, OWL, ELSEWHERE), *track(3, OWL, (600, 10, 20, 20))]
        report = evaluate(*files(gt, results))
        # The dog was found as an owl: 66.667 (printed), and an owl too many: ClsA 50.
        assert report.classes["dog"]["TETA"] == pytest.approx(200 / 3)
        assert report.groups["base"]["TETA"] == (100 + 66.667) / 2
        assert report.groups["novel"]["TETA"] == pytest.approx(83.333, abs=1e-12)
        assert report.combined["TETA"] == pytest.approx((100 + 200 / 3 + 250 / 3) / 3)

    def test_group_without_classes_has_no_row(self, files):
        assert set(evaluate(*files(truth(*track(1)), track(1))).groups) == {"base"}

    def test_file_without_frequencies_has_no_groups(self, files):
        gt = truth(*track(1))
        for category in gt["categories"]:
            del category["frequency"]
        assert evaluate(*files(gt, track(1))).groups == {}

    def test_classes_of_one_name_have_a_row_each(self, files):
        gt = truth(*track(1), *track(2, DOG, ELSEWHERE))
        gt["categories"][1]["name"] = "cat"
        report = evaluate(*files(gt, track(1)))
        assert {name: row["LocA"] for name, row in report.classes.items()} == {
            "cat (1)": 100.0,
            "cat (2)": 0.0,
        }

    def test_curves_are_in_the_unit_of_their_column(self, files):
        report = evaluate(*files(truth(*track(1)), track(1)))
        assert report.alphas == ALPHAS
        assert report.curves["TETA"] == (100.0,) * 20
        assert set(report.curves) <= set(report.combined)

    def test_rows_have_all_columns(self, files):
        report = evaluate(*files(truth(*track(1)), track(1)))
        names = [metric.name for metric in METRICS]
        rows = (report.combined, *report.classes.values(), *report.groups.values())
        assert all(list(row) == names for row in rows)

    def test_images_without_truth_are_no_steps_of_teta(self, files):
        gt, results = files(truth(*track(1)[:2]), track(1))
        tao = read_annotations(gt)
        (video,) = teta_videos(tao, read_results(results, tao))
        assert len(video.gt_ids) == 2
        assert evaluate(gt, results).combined["TETA"] == 100.0


class TestMissingVideos:
    def test_video_without_results_is_an_error(self, files):
        gt, results = files(truth(*track(1), *track(2, video=2), videos=2), track(1))
        with pytest.raises(SourceError, match=r"no results for 1 of 2 videos: val/2") as error:
            evaluate(gt, results)
        assert "--allow-missing" in error.value.fix

    def test_it_counts_as_empty_and_is_noted_if_allowed(self, files):
        gt, results = files(truth(*track(1), *track(2, video=2), videos=2), track(1))
        report = evaluate(gt, results, allow_missing=True)
        assert report.combined["LocA"] == 50.0
        assert "no results for 1 of 2 videos: val/2; they count as empty" in report.notes[0]

    def test_video_without_truth_may_lack_results(self, files):
        report = evaluate(*files(truth(*track(1), videos=2), track(1)))
        assert report.notes == ()

    def test_empty_results_score_zero_if_allowed(self, files):
        report = evaluate(*files(truth(*track(1)), []), allow_missing=True)
        assert set(report.combined.values()) == {0.0}

    def test_ground_truth_without_annotations_is_an_error(self, files):
        with pytest.raises(SourceError, match="has no annotations"):
            evaluate(*files(truth(), []))
