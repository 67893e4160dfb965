import csv
import json
import math

from masa_cli.evaluation.report import Metric, Report
from masa_cli.evaluation.score_files import rows_of, write_csv, write_json

REPORT = Report(
    metrics=(Metric("HOTA", is_fraction=True), Metric("IDSW", is_count=True)),
    combined={"HOTA": 1 / 3, "IDSW": 4, "hidden": 7.0},
    sequences={"a": {"HOTA": 0.5, "IDSW": 1}, "b": {"HOTA": math.nan, "IDSW": 3}},
    curves={"HOTA": (0.4, 0.2)},
    alphas=(0.05, 0.5),
)


def test_json_holds_full_values_and_null_for_what_is_no_number(tmp_path):
    write_json(tmp_path / "scores.json", {"mine": REPORT})
    back = json.loads((tmp_path / "scores.json").read_text())["mine"]
    assert back["combined"] == {"HOTA": 1 / 3, "IDSW": 4, "hidden": 7.0}
    assert back["sequences"]["b"]["HOTA"] is None
    assert (back["alphas"], back["curves"]) == ([0.05, 0.5], {"HOTA": [0.4, 0.2]})


def test_csv_has_a_line_for_each_row_of_each_result(tmp_path):
    write_csv(tmp_path / "scores.csv", {"mine": REPORT, "yours": REPORT})
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["results"], line["kind"], line["name"]) for line in lines[:3]] == [
        ("mine", "sequence", "a"),
        ("mine", "sequence", "b"),
        ("mine", "combined", "all"),
    ]
    assert len(lines) == 6
    assert float(lines[2]["HOTA"]) == 1 / 3


def test_rows_come_with_the_combined_one_last():
    assert [name for _, name, _ in rows_of(REPORT)] == ["a", "b", "all"]
