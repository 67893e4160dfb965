import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.cli.eval import show_reports
from masa_cli.evaluation.report import Metric, Report

pytest.importorskip("trackeval")
DATA = Path(__file__).parent.parent / "data/eval"
SEQUENCES = ("TUD-Campus", "TUD-Stadtmitte")


def masa(*arguments):
    return CliRunner().invoke(app, ["eval", *(str(argument) for argument in arguments)])


@pytest.fixture
def folders(tmp_path):
    """Truth and results of two sequences, in the layout of MOTChallenge."""
    for name in SEQUENCES:
        (tmp_path / "gt" / name / "gt").mkdir(parents=True)
        shutil.copy(DATA / "mot" / name / "gt.txt", tmp_path / "gt" / name / "gt/gt.txt")
        (tmp_path / "mine").mkdir(exist_ok=True)
        shutil.copy(DATA / "mot" / name / "res.txt", tmp_path / "mine" / f"{name}.txt")
    return tmp_path / "gt", tmp_path / "mine"


def expected(name):
    return json.loads((DATA / "mot/expected.json").read_text())[name]


def test_one_sequence_is_scored(folders):
    gt = folders[0] / "TUD-Campus/gt/gt.txt"
    result = masa("--gt", gt, "--results", folders[1] / "TUD-Campus.txt", "--json")
    assert result.exit_code == 0, result.output
    [report] = json.loads(result.stdout)["results"].values()
    assert 0.3 < report["combined"]["HOTA"] < 0.6
    table = masa("--gt", gt, "--results", folders[1] / "TUD-Campus.txt")
    assert f"{report['combined']['HOTA'] * 100:.1f}" in table.stdout


def test_a_folder_is_scored_sequence_by_sequence(folders):
    result = masa("--gt", folders[0], "--results", folders[1], "--per-sequence")
    assert result.exit_code == 0, result.output
    for name in (*SEQUENCES, "combined", "HOTA", "IDF1"):
        assert name in result.stdout


def test_results_side_by_side_have_the_best_marked(folders):
    worse = folders[1].with_name("worse")
    shutil.copytree(folders[1], worse)
    path = worse / "TUD-Campus.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    result = masa("--gt", folders[0], "--results", folders[1], worse, "--json")
    mine, other = json.loads(result.stdout)["results"].values()
    assert mine["combined"]["HOTA"] > other["combined"]["HOTA"]
    shown = masa("--gt", folders[0], "--results", folders[1], worse).stdout
    repeated = masa("--gt", folders[0], "--results", folders[1], "--results", worse, "--json")
    assert repeated.stdout == result.stdout
    assert f"{mine['combined']['HOTA'] * 100:.1f}*" in shown


def test_out_writes_full_values_and_charts(folders, tmp_path):
    out = tmp_path / "report"
    result = masa("--gt", folders[0], "--results", folders[1], "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {
        "scores.json",
        "scores.csv",
        "HOTA_over_alpha.png",
        "HOTA_per_sequence.png",
    }
    again = masa("--gt", folders[0], "--results", folders[1], "--out", out)
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_a_missing_sequence_is_an_error_unless_allowed(folders):
    (folders[1] / "TUD-Campus.txt").unlink()
    result = masa("--gt", folders[0], "--results", folders[1])
    assert result.exit_code == 1
    assert "TUD-Campus" in result.stderr
    allowed = masa("--gt", folders[0], "--results", folders[1], "--allow-missing")
    assert allowed.exit_code == 0
    assert "TUD-Campus" in allowed.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1,1,0,0,10,10,1,-1,-1,-1\n" * 2, "line 2"),
        ("1,1,0,0,nan,10,1,-1,-1,-1\n", "line 1"),
        ("1,1,0,0\n", "line 1"),
        ("100000,1,0,0,10,10,1,-1,-1,-1\n", "line 1"),
        ("0,1,0,0,10,10,1,-1,-1,-1\n", "line 1"),
    ],
)
def test_bad_results_are_one_error_that_names_the_line(folders, line, words):
    info = folders[0] / "TUD-Campus/seqinfo.ini"
    info.write_text("[Sequence]\nname=TUD-Campus\nseqLength=71\n")
    (folders[1] / "TUD-Campus.txt").write_text(line)
    result = masa("--gt", folders[0], "--results", folders[1])
    assert result.exit_code == 1
    errors = result.stderr.splitlines()
    assert [text.split(":")[0] for text in errors] == ["error", "fix"]
    assert "TUD-Campus.txt" in errors[0]
    assert words in errors[0]


@pytest.mark.parametrize(
    ("format_", "gt", "results"),
    [
        ("mots", "mots/mots_seed41/gt.txt", "mots/mots_seed41/res.txt"),
        ("tao", "teta/tao_mixed_seed7.gt.json", "teta/tao_mixed_seed7.res.json"),
        ("bdd", "bdd/bddmot_seed3.gt.json", "bdd/bddmot_seed3.res.json"),
        ("bdd-mots", "bdd/bddmots_seed5.gt.json", "bdd/bddmots_seed5.res.json"),
    ],
)
def test_every_other_protocol_prints_its_table(format_, gt, results):
    arguments = ["--format", format_, "--gt", DATA / gt, "--results", DATA / results]
    result = masa(*arguments, "--per-class", "--per-sequence")
    assert (result.exit_code, result.stderr) == (0, "")
    [report] = json.loads(masa(*arguments, "--json").stdout)["results"].values()
    metric = "TETA" if format_ == "tao" else "HOTA"
    assert metric in result.stdout
    assert np.isfinite(list(report["combined"].values())).all()


def test_results_of_the_tracker_itself_score_full_marks(tmp_path):
    """What masa track writes is what masa eval reads: the truth against itself."""
    rows = [f"{n},{i},{10 * i + n},5,8,20,1,-1,-1,-1\n" for n in range(1, 9) for i in (1, 2)]
    (tmp_path / "gt.txt").write_text("".join(rows))
    result = masa("--gt", tmp_path / "gt.txt", "--results", tmp_path / "gt.txt", "--json")
    [report] = json.loads(result.stdout)["results"].values()
    assert report["combined"]["HOTA"] == pytest.approx(1)
    assert report["combined"]["IDSW"] == 0


METRICS = (
    Metric("HOTA", is_fraction=True),
    Metric("IDSW", more_is_better=False, is_count=True),
    Metric("TETA", printed="1.5g"),
)


def report(hota, switches, teta=12.3456789):
    row = {"HOTA": hota, "IDSW": switches, "TETA": teta}
    return Report(METRICS, row, sequences={"one": row}, classes={"car": row})


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_fractions_are_percent_counts_whole_and_others_as_the_reference_prints(capsys):
    show_reports({"a": report(0.51239, 7)})
    assert lines(capsys)[:2] == [
        ["combined", "HOTA", "IDSW", "TETA"],
        ["all", "51.2", "7", "12.346"],
    ]


def test_the_best_of_several_results_is_marked(capsys):
    show_reports({"a": report(0.5, 7), "b": report(0.6, 3), "c": report(0.1, 3)})
    shown = lines(capsys)
    assert shown[1] == ["a", "50.0", "7", "12.346"]
    assert shown[2] == ["b", "60.0*", "3*", "12.346"]
    assert shown[3] == ["c", "10.0", "3*", "12.346"]


def test_rows_are_shown_where_asked_for(capsys):
    show_reports({"a": report(0.5, 7)})
    assert "one" not in [line[0] for line in lines(capsys) if line]
    show_reports({"a": report(0.5, 7)}, per_sequence=True, per_class=True)
    assert {"one", "car", "all"} <= {line[0] for line in lines(capsys) if line}


def test_what_is_no_number_is_a_dash_and_never_the_best(capsys):
    show_reports({"a": report(float("nan"), 7), "b": report(0.5, 8)})
    shown = lines(capsys)
    assert shown[1][1] == "-"
    assert shown[2][1] == "50.0"
