import json
import sys
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from masa_cli.errors import SettingsError, SourceError
from masa_cli.evaluation.bdd_metrics import COUNTS, METRICS, evaluate
from masa_cli.formats.bdd import CLASSES

pytest.importorskip("motmetrics", reason="pip install 'masa[eval]'")
pytest.importorskip("trackeval", reason="pip install 'masa[eval]'")

GOLDEN = Path(__file__).parents[1] / "data" / "eval" / "bdd"
SETS = {"bddmot_seed3": False, "bddmots_seed5": True}
# Sums of some hundred float64 in another order than the reference's.
CLOSE = 1e-12

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
B: Box = (100, 0, 110, 10)


def label(id_: object, box: Box = A, category: str = "car", **more: object) -> dict[str, object]:
    corners = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    return {"id": str(id_), "category": category, "box2d": corners} | more


def video(*frames: list[dict[str, object]], name: str = "a") -> list[dict[str, object]]:
    return [
        {
            "name": f"{name}-{index + 1:07d}.jpg",
            "videoName": name,
            "frameIndex": index,
            "labels": labels,
        }
        for index, labels in enumerate(frames)
    ]


def score(folder: Path, gt: list[object], results: list[object], **options: bool):
    paths = []
    for name, content in (("gt.json", gt), ("results.json", results)):
        paths.append(folder / name)
        paths[-1].write_text(json.dumps(content))
    return evaluate(*paths, **options)


@pytest.fixture(scope="module", params=SETS)
def golden(request):
    """The report on a set, and what the reference gave for it."""
    name = request.param
    report = evaluate(GOLDEN / f"{name}.gt.json", GOLDEN / f"{name}.res.json", masks=SETS[name])
    expected = json.loads((GOLDEN / "expected.json").read_text())["datasets"][name]
    # Both HOTA and TETA have a LocA; TETA's is the column.
    return report, expected["CLEAR"] | expected["HOTA"] | expected["TETA"]


def same(metric, value: float, expected: float) -> bool:
    expected = expected if metric.is_count else expected / 100
    return value == pytest.approx(expected, rel=0, abs=CLOSE, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_golden_classes_and_groups(golden, metric):
    report, expected = golden
    classes, groups, all_ = expected[metric.name]
    for name in CLASSES:
        assert same(metric, report.classes[name][metric.name], classes[name]), name
    for name, value in (groups | {"overall": all_["OVERALL"]}).items():
        assert same(metric, report.groups[name][metric.name], value), name


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_golden_means(golden, metric):
    report, expected = golden
    assert same(metric, report.combined[metric.name], expected[metric.name][2]["AVERAGE"])
    if not metric.is_count and f"m{metric.name}" in expected:
        name = f"m{metric.name}"
        assert same(metric, report.combined[name], expected[name])


def test_curves_belong_to_the_means(golden):
    report, _ = golden
    assert report.alphas == pytest.approx(np.arange(1, 20) * 0.05)
    assert {len(curve) for curve in report.curves.values()} == {19}
    assert np.mean(report.curves["HOTA"]) == pytest.approx(report.combined["HOTA"])
    # TETA is the mean over 20 thresholds: at 0 it is at least as good as at 0.05.
    assert np.mean(report.curves["TETA"]) == pytest.approx(report.combined["TETA"], abs=0.05)


def test_perfect_results(tmp_path: Path):
    frames = video([label(1), label(2, B, "bus")], [label(1), label(2, B, "bus")])
    report = score(tmp_path, frames, frames)
    for name in ("car", "bus"):
        row = report.classes[name]
        assert [row[metric] for metric in ("TETA", "HOTA", "IDF1", "MOTA", "MOTP")] == [1] * 5
        assert sum(row[metric] for metric in COUNTS) == row["MT"] == 1
    # TETA leaves out classes that are not there, the others divide by all eight.
    assert report.combined["mTETA"] == pytest.approx(1)
    for name in ("mHOTA", "mIDF1", "mMOTA", "mMOTP"):
        assert report.combined[name] == 2 / 8
    assert report.notes == ()


def test_every_row_has_every_column(tmp_path: Path):
    report = score(tmp_path, video([]), video([]))
    rows = (report.combined, *report.classes.values(), *report.groups.values())
    assert all(metric.name in row for row in rows for metric in METRICS)
    assert report.combined["mTETA"] == 0


def test_boxes_end_with_their_last_pixel_but_for_hota(tmp_path: Path):
    # 3 and 3 pixels wide of which 2 are shared: IoU 2/4. Less their last, 1 of 2 and 2: 1/3.
    report = score(tmp_path, video([label(1, (0, 0, 2, 9))]), video([label(1, (1, 0, 3, 9))]))
    car = report.classes["car"]
    assert (car["FN"], car["FP"]) == (0, 0)
    assert car["MOTP"] == pytest.approx(1 / 2)
    assert car["DetA"] == pytest.approx(6 / 19)  # 0.05 to 0.3
    assert car["LocA"] == pytest.approx(11 / 20)  # 0 to 0.5


def test_errors_are_counted(tmp_path: Path):
    gt = video(*[[label(1), label(2, B)]] * 4)
    # Object 1 changes its track once; object 2 is found in one frame of 4; one box is elsewhere.
    results = video(
        [label(1), label(3, (50, 50, 60, 60))], [label(1)], [label(2), label(5, B)], [label(2)]
    )
    car = score(tmp_path, gt, results).classes["car"]
    assert (car["IDSw"], car["FN"], car["FP"]) == (1, 3, 1)
    assert (car["MT"], car["PT"], car["ML"]) == (1, 1, 0)
    assert car["MOTA"] == pytest.approx(1 - 5 / 8)
    # 2 boxes of object 1 and 1 of object 2 carry their identity: 2 * 3 / (8 + 6).
    assert car["IDF1"] == pytest.approx(6 / 14)


def test_classes_without_objects(tmp_path: Path):
    report = score(tmp_path, video([label(1)]), video([label(1), label(2, B, "train")]))
    train, rider = report.classes["train"], report.classes["rider"]
    assert (train["MOTA"], train["IDF1"], train["HOTA"], train["TETA"]) == (-inf, 0, 0, 0)
    assert isnan(train["MOTP"])
    assert isnan(rider["MOTA"])
    assert isnan(rider["IDF1"])
    assert report.combined["mMOTA"] == 1 / 8
    assert report.combined["TETA"] == pytest.approx(1)


def test_a_video_with_false_boxes_only_does_not_hide_the_precision_of_another(tmp_path: Path):
    gt = video([label(1)]) + video([label(1, B)], name="b")
    results = video([label(1)]) + video([label(1, A)], name="b")
    assert score(tmp_path, gt, results).classes["car"]["MOTP"] == 1


def test_same_ids_in_two_videos_are_two_objects(tmp_path: Path):
    gt = video([label(1)] * 1) + video([label(1)], name="b")
    results = video([label(4)]) + video([label(5)], name="b")
    row = score(tmp_path, gt, results).classes["car"]
    assert (row["IDF1"], row["HOTA"], row["IDSw"], row["MT"]) == (1, 1, 0, 2)


@pytest.mark.parametrize(
    ("true", "called", "cls_a"),
    # A bus called truck is one error of trucks: they are counted after buses, and forget what these
    # counted. A truck called bus is two errors of buses.
    [("bus", "truck", 1 / 2), ("truck", "bus", 1 / 3)],
)
def test_teta_counts_classes_in_the_order_of_the_reference(tmp_path: Path, true, called, cls_a):
    gt = video([label(1, A, true)]) + video([label(1, A, called)], name="b")
    results = video([label(1, A, called)]) + video([label(1, A, called)], name="b")
    assert score(tmp_path, gt, results).classes[called]["ClsA"] == pytest.approx(cls_a)


CROWD = label("c", (0, 0, 100, 100), "pedestrian", attributes={"crowd": True})


def test_boxes_in_a_crowd_of_any_class_do_not_count(tmp_path: Path):
    gt = video([CROWD, label(1, (200, 0, 210, 10))])
    inside = label(2, (50, 50, 60, 60))
    report = score(tmp_path, gt, video([inside, label(1, (200, 0, 210, 10))]))
    car = report.classes["car"]
    assert (car["FP"], car["HOTA"]) == (0, 1)
    assert car["TETA"] == pytest.approx(1)
    assert report.classes["pedestrian"]["FN"] == 0


def test_boxes_half_outside_a_crowd_count(tmp_path: Path):
    gt = video([CROWD, label(1, (200, 0, 210, 10))])
    # With 20 by 11 pixels each, 10 of 20 columns and 11 of 20 are in the crowd's 0 to 100.
    half, more = label(2, (91, 0, 110, 10)), label(3, (90, 50, 109, 60))
    report = score(tmp_path, gt, video([half, more, label(1, (200, 0, 210, 10))]))
    assert report.classes["car"]["FP"] == 1


def test_boxes_in_a_crowd_that_fit_an_object_count(tmp_path: Path):
    car = score(tmp_path, video([CROWD, label(1)]), video([label(1)])).classes["car"]
    assert (car["FN"], car["MOTA"], car["HOTA"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("written", "name"),
    [("other person", "pedestrian"), ("other vehicle", "car"), ("trailer", "truck")],
)
def test_published_numbers_ignore_distractors_in_clear_alone(tmp_path: Path, written, name):
    gt, results = video([label(1, A, written)]), video([label(1, A, name)])
    as_published = score(tmp_path, gt, results).classes[name]
    assert (as_published["HOTA"], as_published["FP"], as_published["FN"]) == (1, 0, 0)
    assert as_published["TETA"] == pytest.approx(1)
    assert isnan(as_published["MOTA"])
    strict = score(tmp_path, gt, results, strict=True)
    row = strict.classes[name]
    assert (row["HOTA"], row["TETA"], row["FP"], row["FN"]) == (0, 0, 0, 0)
    assert strict.combined["TETA"] == 0


def test_results_marked_as_crowd_are_left_out(tmp_path: Path):
    gt = video([CROWD, label(1, B)])
    report = score(tmp_path, gt, gt)
    assert report.classes["pedestrian"]["FP"] == 0
    assert report.notes == ("1 results marked crowd or ignored were left out",)


def test_missing_frames_are_an_error_unless_allowed(tmp_path: Path):
    gt = video([label(1)], [label(1)]) + video([label(1)], name="b")
    with pytest.raises(SourceError, match=r"results.json lacks 2 frames \(the first is a-0000002"):
        score(tmp_path, gt, gt[:1])
    with pytest.raises(SourceError, match=r"lacks frame b-0000001.jpg of .*gt.json"):
        score(tmp_path, gt, gt[:2])
    report = score(tmp_path, gt, gt[:1], allow_missing=True)
    assert report.classes["car"]["FN"] == 2
    assert "2 frames (the first is a-0000002.jpg)" in report.notes[0]


def test_results_of_other_videos_are_refused(tmp_path: Path):
    gt = video([label(1)])
    with pytest.raises(SourceError, match=r'frame b-0000001.jpg: .*gt.json has no videoName "b"'):
        score(tmp_path, gt, gt + video([], name="b"))
    with pytest.raises(SourceError, match=r"frame a-0000002.jpg: .* has no frameIndex 1 of"):
        score(tmp_path, gt, video([], []), allow_missing=True)


def test_a_truth_without_frames_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match=r"gt.json has no frames"):
        score(tmp_path, [], [])


@pytest.mark.parametrize("module", ["motmetrics", "trackeval"])
def test_a_missing_library_is_named(tmp_path: Path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError) as error:
        score(tmp_path, video([]), video([]))
    assert "pip install 'masa[eval]'" in error.value.fix


def test_nothing_is_printed(tmp_path: Path, capfd):
    score(tmp_path, video([label(1)]), video([label(1)]))
    assert capfd.readouterr().out == ""


class TestMasks:
    @pytest.fixture
    def mask(self):
        def labelled(id_: int, columns: slice, *, width: int = 20, **more: object):
            pixels = np.zeros((10, width), np.uint8, order="F")
            pixels[:, columns] = 1
            rle = coco.encode(pixels)
            rle["counts"] = rle["counts"].decode()
            return {"id": str(id_), "category": "car", "rle": rle} | more

        return labelled

    def test_masks_are_compared_in_place_of_boxes(self, tmp_path: Path, mask):
        report = score(
            tmp_path,
            video([mask(1, slice(0, 10))]),
            video([mask(1, slice(0, 8), box2d=None)]),
            masks=True,
        )
        car = report.classes["car"]
        assert car["MOTP"] == pytest.approx(0.8)
        assert car["DetA"] == pytest.approx(16 / 19)
        assert report.notes == ()

    def test_a_shared_pixel_goes_to_the_higher_score(self, tmp_path: Path, mask):
        gt = video([mask(1, slice(0, 10)), mask(2, slice(10, 20))])
        results = video(
            [
                mask(1, slice(0, 12), score=0.5),
                mask(2, slice(10, 20), score=0.9),
                mask(3, slice(3, 9), score=0.1),  # nothing is left of it
            ]
        )
        report = score(tmp_path, gt, results, masks=True)
        car = report.classes["car"]
        assert (car["MOTP"], car["FP"], car["FN"], car["HOTA"]) == (1, 0, 0, 1)
        assert "masks overlapped in 1 of the frames" in report.notes[0]

    def test_of_equal_scores_the_first_wins(self, tmp_path: Path, mask):
        gt = video([mask(1, slice(0, 10))])
        results = video([mask(1, slice(0, 10)), mask(2, slice(0, 20))])
        car = score(tmp_path, gt, results, masks=True).classes["car"]
        assert (car["MOTP"], car["FP"]) == (1, 1)

    def test_an_ignored_mask_takes_what_lies_in_it(self, tmp_path: Path, mask):
        gt = video([mask(1, slice(0, 5)), mask(2, slice(10, 20), attributes={"crowd": True})])
        results = video([mask(1, slice(0, 5)), mask(2, slice(12, 15))])
        car = score(tmp_path, gt, results, masks=True).classes["car"]
        assert (car["FP"], car["MOTA"], car["HOTA"]) == (0, 1, 1)

    def test_hota_and_teta_unite_ignored_masks_and_clear_does_not(self, tmp_path: Path, mask):
        crowd = {"attributes": {"crowd": True}}
        gt = video([mask(1, slice(6, 8), **crowd), mask(2, slice(8, 10), **crowd)])
        results = video([mask(1, slice(6, 11))])  # 2/5 in each, 4/5 in both
        car = score(tmp_path, gt, results, masks=True).classes["car"]
        assert car["FP"] == 1
        with_object = [*gt, *video([mask(1, slice(0, 5))], name="b")]
        results = [*results, *video([mask(1, slice(0, 5))], name="b")]
        car = score(tmp_path, with_object, results, masks=True).classes["car"]
        assert car["HOTA"] == 1
        assert car["TETA"] == pytest.approx(1)

    def test_masks_asked_for_but_absent(self, tmp_path: Path):
        with pytest.raises(SourceError, match=r'frame a-0000001.jpg id "1": no "rle"'):
            score(tmp_path, video([label(1)]), video([]), masks=True)

    def test_masks_of_another_size_are_refused(self, tmp_path: Path, mask):
        gt, results = video([mask(1, slice(0, 5))]), video([mask(1, slice(0, 5), width=30)])
        with pytest.raises(SourceError, match=r"results.json frame a-0000001.jpg .*\[10, 30\]"):
            score(tmp_path, gt, results, masks=True)

    def test_no_mask_on_either_side(self, tmp_path: Path, mask):
        gt = video([mask(1, slice(0, 5))])
        assert score(tmp_path, gt, video([]), masks=True).classes["car"]["FN"] == 1
        assert score(tmp_path, video([]), gt, masks=True).classes["car"]["FP"] == 1
        report = score(tmp_path, video([]), video([]), masks=True)
        assert report.combined["HOTA"] == 0
        assert report.classes["car"]["MOTA"] == pytest.approx(nan, nan_ok=True)
