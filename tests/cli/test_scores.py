from masa_cli.cli.scores import show_reports
from masa_cli.evaluation.report import Metric, Report

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
