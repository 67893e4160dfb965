import imageio.v3 as imageio
import pytest

from masa_cli.evaluation.charts import draw_charts
from masa_cli.evaluation.report import Metric, Report

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
