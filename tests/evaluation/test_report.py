import csv
import json
import math

import imageio.v3 as imageio
import pytest

from masa_cli.evaluation.report import Metric, Report, draw_charts, rows_of, write_csv, write_json

pytest.importorskip("matplotlib")


def report(height, num_sequences):
    return Report(
        metrics=(Metric("HOTA", is_fraction=True),),
        combined={"HOTA": height},
        sequences={f"s{n}": {"HOTA": height / (n + 1)} for n in range(num_sequences)},
        curves={"HOTA": (height, height / 2)},
        alphas=(0.05, 0.95),
    )


def test_curve_and_bars_are_drawn_and_depend_on_the_scores(tmp_path):
    pictures = []
    for height in (0.9, 0.3):
        curve, bars = draw_charts(tmp_path, {"a": report(height, 3), "b": report(0.5, 3)})
        assert (curve.name, bars.name) == ("HOTA_over_alpha.png", "HOTA_per_sequence.png")
        pictures.append([imageio.imread(path).tobytes() for path in (curve, bars)])
    assert pictures[0][0] != pictures[1][0]
    assert pictures[0][1] != pictures[1][1]


def test_one_sequence_needs_no_bars(tmp_path):
    assert [path.name for path in draw_charts(tmp_path, {"a": report(0.5, 1)})] == [
        "HOTA_over_alpha.png"
    ]


def test_scores_that_are_no_numbers_can_be_drawn(tmp_path):
    assert draw_charts(tmp_path, {"a": report(float("nan"), 2)})


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
