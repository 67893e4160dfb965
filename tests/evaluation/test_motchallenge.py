"""Against scores TrackEval gave for the same files (tests/data/eval), and what is refused."""

import json
from pathlib import Path

import pytest

from masa_cli.errors import SourceError
from masa_cli.evaluation import EvalSettings, evaluate

pytest.importorskip("trackeval")


DATA = Path(__file__).parents[1] / "data" / "eval"
MOT = json.loads((DATA / "mot" / "expected.json").read_text())["sequences"]
MOTS = json.loads((DATA / "mots" / "expected.json").read_text())["sequences"]
# The same additions in the same order; only the last bits may differ between versions of numpy.
EXACT = 1e-9

ROW = "{},{},10,20,30,40,{},-1,-1,-1\n"
# Of 1 x 6 pixels: none not set, 3 set, 3 not; and 3 not, 3 set.
LEFT, RIGHT = "033", "33"


def assert_row_equals(row, expected):
    fields = {name: value for name, value in expected.items() if name not in {"frames", "size"}}
    curve = fields.pop("HOTA_alpha", None)
    assert len(fields) > 40
    for name, value in fields.items():
        assert row[name] == pytest.approx(value, abs=EXACT), name
        assert type(row[name]) is float, name
    return curve


@pytest.mark.parametrize("name", MOT)
def test_boxes_score_as_trackeval_did(name, capfd):
    folder = DATA / "mot" / name
    report = evaluate(folder / "gt.txt", folder / "res.txt", protocol="mot")
    curve = assert_row_equals(report.combined, MOT[name]["trackeval"])
    assert report.sequences == {name: report.combined}
    assert report.curves["HOTA"] == pytest.approx(curve, abs=EXACT)
    assert report.alphas == pytest.approx([0.05 * step for step in range(1, 20)])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", MOTS)
def test_masks_score_as_trackeval_did(name):
    folder = DATA / "mots" / name
    report = evaluate(folder / "gt.txt", folder / "res.txt", protocol="mots")
    assert_row_equals(report.sequences[name], MOTS[name])
    row = report.combined
    assert (row["sMOTSA"], row["MOTSA"], row["MOTSP"]) == (row["sMOTA"], row["MOTA"], row["MOTP"])
    assert {"sMOTSA", "MOTSA", "MOTSP"} <= {metric.name for metric in report.metrics}


@pytest.mark.parametrize("protocol", ["mot", "mots"])
def test_each_shown_metric_is_in_every_row(protocol):
    expected = MOT if protocol == "mot" else MOTS
    folder = DATA / protocol / next(iter(expected))
    report = evaluate(folder / "gt.txt", folder / "res.txt", protocol=protocol)
    for row in (report.combined, *report.sequences.values()):
        assert {metric.name for metric in report.metrics} <= set(row)


def folders(tmp_path, truth, results, info=None):
    """{sequence: text} on both sides, as folders."""
    for name, text in truth.items():
        place = tmp_path / "gt" / name / "gt"
        place.mkdir(parents=True)
        (place / "gt.txt").write_text(text)
        if info is not None:
            (place.parent / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={info}\n")
    (tmp_path / "res").mkdir()
    for name, text in results.items():
        (tmp_path / "res" / f"{name}.txt").write_text(text)
    return tmp_path / "gt", tmp_path / "res"


def test_perfect_results_are_perfect(tmp_path):
    rows = ROW.format(1, 1, 1) + ROW.format(2, 1, 1)
    report = evaluate(*folders(tmp_path, {"a": rows}, {"a": rows}), protocol="mot")
    assert report.combined["HOTA"] == report.combined["MOTA"] == report.combined["IDF1"] == 1


def test_nothing_on_both_sides_scores_nothing(tmp_path):
    report = evaluate(*folders(tmp_path, {"a": ""}, {"a": ""}), protocol="mot")
    assert report.combined["HOTA"] == report.combined["MOTA"] == report.combined["CLR_FP"] == 0


def test_a_missing_sequence_counts_as_empty_only_when_allowed(tmp_path):
    rows = ROW.format(1, 1, 1)
    gt, results = folders(tmp_path, {"a": rows, "b": rows}, {"a": rows})
    with pytest.raises(SourceError, match=r"has no b\.txt \(1 of 2 sequences missing\)"):
        evaluate(gt, results, protocol="mot")
    report = evaluate(gt, results, protocol="mot", settings=EvalSettings(allow_missing=True))
    assert report.combined["MOTA"] == 0.5
    assert report.sequences["b"]["CLR_FN"] == 1
    assert "Scored as empty, for want of results: b." in report.notes


def test_the_length_is_of_seqinfo_and_else_the_last_frame_that_occurs(tmp_path):
    files = {"a": ROW.format(1, 1, 1)}, {"a": ROW.format(1, 1, 1) + ROW.format(4, 1, 1)}
    told = evaluate(*folders(tmp_path / "told", *files, info=10), protocol="mot")
    counted = evaluate(*folders(tmp_path / "counted", *files), protocol="mot")
    assert (told.combined["CLR_Frames"], told.combined["FP_per_frame"]) == (10, 0.1)
    assert (counted.combined["CLR_Frames"], counted.combined["FP_per_frame"]) == (4, 0.25)


def test_results_on_a_distractor_are_dropped_but_those_on_flag_0_are_wrong(tmp_path):
    truth = "1,1,0,0,10,10,1,1,1\n1,2,50,0,10,10,0,8,1\n1,3,90,0,10,10,0,1,1\n"
    result = "1,{},{},0,10,10,1,-1,-1,-1\n"
    results = "".join(result.format(*row) for row in ((1, 0), (2, 50), (3, 90)))
    row = evaluate(*folders(tmp_path, {"a": truth}, {"a": results}), protocol="mot").combined
    assert (row["CLR_TP"], row["CLR_FN"], row["CLR_FP"]) == (1, 0, 1)


@pytest.mark.parametrize(("protocol", "false"), [("mot", 1), ("mot20", 0)])
def test_vehicles_without_motor_distract_in_mot20_only(tmp_path, protocol, false):
    truth = "1,1,0,0,10,10,1,1,1\n1,2,50,0,10,10,1,6,1\n"
    results = "1,1,0,0,10,10,1,-1,-1,-1\n1,2,50,0,10,10,1,-1,-1,-1\n"
    report = evaluate(*folders(tmp_path, {"a": truth}, {"a": results}), protocol=protocol)
    assert report.combined["CLR_FP"] == false


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (ROW.format(6, 1, 1), r"a\.txt line 1: expected a frame from 1 to 5 \(of seqinfo\.ini\)"),
        (ROW.format(1, 1, 1) + ROW.format(0, 1, 1), "line 2: expected a whole frame number from 1"),
        (
            "# c\n" + ROW.format(3, 7, 1) * 2,
            "line 3: expected each id once in a frame, got 7 again",
        ),
        (ROW.format(1, 1, "nan"), "line 1: expected a finite score"),
        (ROW.format(1, "inf", 1), "line 1: expected a finite id"),
        (ROW.format(1, 1.5, 1), "line 1: expected a whole id from 0, got 1.5"),
        ("1,1,1,1,1,1,1,3\n", "line 1: expected class 1 or -1 in column 8, got 3"),
        ("1,2,3\n", "line 1: expected at least 7 columns, got 3"),
    ],
)
def test_results_that_cannot_be_scored_are_refused_by_line(tmp_path, results, message):
    gt, res = folders(tmp_path, {"a": ROW.format(1, 1, 1)}, {"a": results}, info=5)
    with pytest.raises(SourceError, match=message):
        evaluate(gt, res, protocol="mot")


def test_classes_in_results_are_refused_with_the_option_that_made_them(tmp_path):
    gt, res = folders(tmp_path, {"a": ROW.format(1, 1, 1)}, {"a": "1,1,1,1,1,1,1,3\n"})
    with pytest.raises(SourceError) as caught:
        evaluate(gt, res, protocol="mot")
    assert "without --mot-classes" in caught.value.fix


def mask_row(frame, id_, class_, mask, size="1 6"):
    return f"{frame} {id_} {class_} {size} {mask}\n"


def test_kitti_counts_frames_from_0_and_scores_both_classes(tmp_path):
    cars = mask_row(0, 1000, 1, LEFT) + mask_row(1, 1000, 1, LEFT)
    truth = cars + mask_row(0, 2000, 2, RIGHT)
    files = folders(tmp_path, {"a": truth}, {"a": cars}, info=2)
    report = evaluate(*files, protocol="kitti-mots")
    assert {name: row["MOTSA"] for name, row in report.classes.items()} == {
        "car": 1,
        "pedestrian": 0,
    }
    assert set(report.sequences) == {"a car", "a pedestrian"}
    assert report.combined["MOTSA"] == report.groups["class mean"]["MOTSA"] == 0.5
    assert report.groups["detection mean"]["MOTSA"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("side", "text", "message"),
    [
        (1, mask_row(3, 1, 2, LEFT), r"line 1: expected a frame from 1 to 2 \(of seqinfo\.ini\)"),
        (1, mask_row(1, 1, 2, LEFT) + mask_row(1, 1, 2, RIGHT), "line 2: expected each id once"),
        (1, mask_row(1, 1, 2, LEFT) + mask_row(1, 2, 2, "024"), "line 2: .*share no pixel"),
        (0, mask_row(1, 9, 10, "06") + mask_row(1, 1, 2, LEFT), "line 2: .*or on class 10"),
        (1, mask_row(1, 1, 2, "022"), "line 1: expected an RLE of 1 x 6 pixels"),
        (1, mask_row(1, 1, 2, "034", "1 7"), "expected masks of 1 x 6 pixels as in .*got 1 x 7"),
        (1, mask_row(1, 1, 2, ""), r"line 1: expected 6 columns \(frame id class.*got 5"),
    ],
)
def test_masks_that_cannot_be_scored_are_refused_by_line(tmp_path, side, text, message):
    files = [mask_row(1, 1, 2, LEFT), mask_row(1, 1, 2, LEFT)]
    files[side] = text
    gt, res = folders(tmp_path, {"a": files[0]}, {"a": files[1]}, info=2)
    with pytest.raises(SourceError, match=message):
        evaluate(gt, res, protocol="mots")


def test_ignored_regions_may_share_pixels_and_ids(tmp_path):
    truth = mask_row(1, 9, 10, RIGHT) + mask_row(1, 9, 10, "42") + mask_row(1, 1, 2, LEFT)
    report = evaluate(
        *folders(tmp_path, {"a": truth}, {"a": mask_row(1, 1, 2, "42")}), protocol="mots"
    )
    assert (report.combined["CLR_FP"], report.combined["CLR_FN"]) == (0, 1)


def test_class_10_in_results_is_a_class_that_is_not_scored(tmp_path):
    truth = mask_row(1, 1, 2, LEFT)
    files = folders(tmp_path, {"a": truth}, {"a": truth + mask_row(1, 2, 10, RIGHT)})
    row = evaluate(*files, protocol="mots").combined
    assert (row["CLR_TP"], row["CLR_FP"]) == (1, 0)


def test_missing_masks_count_as_empty_when_allowed(tmp_path):
    truth = mask_row(1, 1, 2, LEFT)
    files = folders(tmp_path, {"a": truth, "b": truth}, {"a": truth})
    assert (
        evaluate(*files, protocol="mots", settings=EvalSettings(allow_missing=True)).combined[
            "MOTSA"
        ]
        == 0.5
    )


def own_truth(tmp_path, truth, results):
    """A truth of one's own and results, as two files."""
    (tmp_path / "own.txt").write_text(truth)
    (tmp_path / "res.txt").write_text(results)
    return tmp_path / "own.txt", tmp_path / "res.txt"


def rows_of(*classes, flag="1", end=",0.5"):
    """Each class has a box of its own in frames 1 and 2."""
    return "".join(
        f"{frame},{id_},{100 * id_},0,10,10,{flag},{class_}{end}\n"
        for frame in (1, 2)
        for id_, class_ in enumerate(classes, start=1)
    )


def test_truth_that_is_not_scored_is_counted_with_the_reasons(tmp_path):
    truth = rows_of(1, 2, 3, 6) + "3,1,0,0,10,10,0.9,1,1\n3,2,50,0,10,10,0,1,1\n"
    report = evaluate(*own_truth(tmp_path, truth, rows_of(1, 1, 1, 1)), protocol="mot")
    [warning] = report.warnings
    assert "own.txt: 7 of 10 rows of the truth are not scored: " in warning
    assert "1 have a flag (column 7) between 0 and 1; 4 are of classes that are not" in warning
    assert "pedestrian, 1 (3, 6); 2 are distractors by their class" in warning
    assert warning.endswith("--all-classes")


def test_flags_of_0_and_pedestrians_alone_give_no_warning(tmp_path):
    truth = rows_of(1) + "3,2,50,0,10,10,0,8,1\n"
    assert evaluate(*own_truth(tmp_path, truth, rows_of(1)), protocol="mot").warnings == ()


def test_all_classes_of_a_truth_of_ones_own_are_scored_each(tmp_path):
    """Class 0 is found in both frames, 14 in one, 3 in none."""
    truth = rows_of(0, 14, 3, flag="0.9")
    results = rows_of(0, 14).splitlines(keepends=True)[:3]
    files = own_truth(tmp_path, truth, "".join(results))
    with pytest.raises(SourceError, match=r"expected a class from 1 to 13, got 0") as caught:
        evaluate(*files, protocol="mot")
    assert "--all-classes" in caught.value.fix
    report = evaluate(*files, protocol="mot", settings=EvalSettings(all_classes=True))
    assert {name: row["MOTA"] for name, row in report.classes.items()} == {
        "0": 1,
        "3": 0,
        "14": 0.5,
    }
    assert report.warnings == ()


def test_results_without_classes_are_scored_on_all_truth_as_one(tmp_path):
    files = own_truth(tmp_path, rows_of(1, 2, 3), rows_of(-1, -1, -1, end=",-1,-1"))
    report = evaluate(*files, protocol="mot", settings=EvalSettings(all_classes=True))
    assert (report.combined["MOTA"], report.classes) == (1, {})
    assert "have no classes, so all boxes are scored as of one." in report.notes[-1]


def test_rows_of_flag_0_stay_unscored_with_all_classes(tmp_path):
    truth = rows_of(1, 2) + "3,2,50,0,10,10,0,2,1\n"
    report = evaluate(
        *own_truth(tmp_path, truth, rows_of(1, 2)),
        protocol="mot",
        settings=EvalSettings(all_classes=True),
    )
    assert [row["MOTA"] for row in report.classes.values()] == [1, 1]
