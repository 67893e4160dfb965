"""Errors, signals and what `masa --help` costs, in real processes where that matters."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import typer
from rich.progress import Progress
from typer.testing import CliRunner

from masa_cli import __version__
from masa_cli.cli.app import app
from masa_cli.cli.command import Boundary
from masa_cli.cli.console import _SLOWEST, _Rate, say, show, show_table, stops_on_signals
from masa_cli.errors import Interrupted, MasaError
from masa_cli.progress import RunProgress
from tests.clips import boxes_at


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


NUM_FRAMES = 5_000  # long enough to be interrupted on any machine


def app_that_raises(error):
    inner = typer.Typer(cls=Boundary)

    @inner.command()
    def fail() -> None:
        raise error

    @inner.command()
    def other() -> None:
        """A second command: only then is the first one called by its name."""

    return inner


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (MasaError("a[red]b", fix="do [bold]c"), 1, ["error: a[red]b", "fix: do [bold]c"]),
        (Interrupted("3 frames are kept"), 130, ["interrupted: 3 frames are kept"]),
        (KeyboardInterrupt(), 130, ["interrupted: stopped at once"]),
    ],
)
def test_errors_become_lines_and_exit_codes(error, code, lines):
    result = CliRunner().invoke(app_that_raises(error), ["fail"])
    assert (result.exit_code, result.stderr.splitlines(), result.stdout) == (code, lines, "")


def test_long_messages_stay_on_one_line():
    problem = "word " * 100 + "end"
    result = CliRunner().invoke(app_that_raises(MasaError(problem, fix="x")), ["fail"])
    assert result.stderr.splitlines() == [f"error: {problem}", "fix: x"]


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; from masa_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'scipy', 'PIL', 'av', 'imageio', 'requests',\n"
        "  'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    commands = ("track", "weights", "doctor", "demo")
    for arguments in (["--help"], ["--version"], *([command, "--help"] for command in commands)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "masa" in done.stdout


def test_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"masa {__version__}\n"


@pytest.fixture
def detections(tmp_path):
    lines = (
        f"{index + 1},-1,{left},{top},{width},{height},0.9\n"
        for index in range(NUM_FRAMES)
        for left, top, width, height in boxes_at(index % 40)
    )
    path = tmp_path / "dets.txt"
    path.write_text("".join(lines))
    return path


def start(folder, *arguments):
    """`masa track` by motion alone, once it has begun to track."""
    command = [sys.executable, "-m", "masa_cli", "track", "--dets", "dets.txt", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    spool = folder / "dets/tracks.jsonl.part"
    while process.poll() is None and not (spool.exists() and spool.stat().st_size > 20_000):
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_all_files_whole(tmp_path, detections, number):
    process = start(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert last.startswith("interrupted: the tracks of ")
    assert "--resume" in last
    lines = (tmp_path / "dets/tracks.jsonl.part").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    assert f"the tracks of {len(lines)} frames are kept" in last
    assert 0 < len(lines) < NUM_FRAMES


def test_a_killed_run_is_resumed_to_the_same_results(tmp_path, detections):
    process = start(tmp_path)
    process.kill()
    process.communicate()
    command = [sys.executable, "-m", "masa_cli", "track", "--dets", "dets.txt", "-q"]
    subprocess.run([*command, "--resume"], cwd=tmp_path, check=True)
    subprocess.run([*command, "-o", "whole"], cwd=tmp_path, check=True)
    for name in ("dets.txt", "tracks.jsonl"):
        assert (tmp_path / "dets" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(os.listdir(tmp_path / "dets")) == ["dets.txt", "run.json", "tracks.jsonl"]


def test_signals_are_handled_as_before_once_the_run_is_over():
    before = signal.getsignal(signal.SIGINT)
    with stops_on_signals(RunProgress()):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_stops_at_once():
    code = (
        "import os, signal\n"
        "from masa_cli.cli.console import stops_on_signals\n"
        "from masa_cli.progress import RunProgress\n"
        "progress = RunProgress()\n"
        "with stops_on_signals(progress):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(progress.stop_requested, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "True\n")
    assert "stopped at once" in done.stderr


def test_what_the_system_refuses_is_no_traceback(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(36, "File name too long", "x" * 300)

    monkeypatch.setattr("masa_cli.sources.open_source", refuse)
    result = CliRunner().invoke(app, ["render", "a.mp4", "t.jsonl"])
    assert result.exit_code == 1
    assert "File name too long" in result.stderr
    assert "fix: check the path" in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
