import re

import pytest
from rich.progress import Progress

from masa_cli.cli.console import _SLOWEST, _Rate, say, show, show_table


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


COLUMNS = ("sequence", "HOTA", "MOTA", "IDF1")
ROWS = [("one", "1.0", "2.0", "3.0"), ("two", "4.0", "5.0", "6.0")]


def test_a_file_gets_the_table_in_one_piece(capsys):
    show_table(("name", *(f"metric-{n}" for n in range(40))), [("a" * 50, *map(str, range(40)))])
    assert len(lines(capsys)) == 2


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (80, [["sequence", "HOTA", "MOTA", "IDF1"]]),
        (20, [["sequence", "HOTA", "MOTA"], ["sequence", "IDF1"]]),
        (14, [["sequence", "HOTA"], ["sequence", "MOTA"], ["sequence", "IDF1"]]),
    ],
)
def test_a_narrow_terminal_gets_it_in_blocks(capsys, monkeypatch, width, heads):
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich then takes stdout for a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    show_table(COLUMNS, ROWS)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    shown = [line.split() for line in text.splitlines()]
    assert [line for line in shown if line[0] == "sequence"] == heads
    assert sum(len(line) - 1 for line in shown if line[0] == "two") == 3


def test_brackets_are_no_markup(capsys):
    show_table(("[red]a", "b"), [("clip[red]1", "2")])
    assert "clip[red]1" in capsys.readouterr().out


def test_frames_that_take_longer_than_a_second_are_told_in_seconds_each():
    now = iter(range(0, 1000, 40)).__next__
    with Progress(get_time=now, speed_estimate_period=_SLOWEST, disable=True) as bar:
        task = bar.add_task("tracking", total=10)
        for done in (1, 2, 3):
            bar.update(task, completed=done)
        shown = bar.tasks[0]
        assert shown.time_remaining == pytest.approx(7 / shown.speed, abs=1)
        assert _Rate().render(shown).plain == f"{1 / shown.speed:.1f} s/frame"
        assert 1 / shown.speed > 30


def test_names_cannot_steer_the_terminal(capsys):
    say("error", "clip\x1b[2J\x07.mp4\nsecond line 日本")
    show("\x1b]0;title\x07name")
    show_table(("class",), [("dog\x1b[31m",)])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out
    assert "\x07" not in captured.err + captured.out
    assert "clip\ufffd[2J\ufffd.mp4\nsecond line 日本" in captured.err
