"""Help under headings, with and without a terminal, and options by their former names."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.cli.command import Further
from masa_cli.tracking import TRACKERS
from tests.clips import write_clip

HEADINGS = ["Input", "What to track", "Detector", "Identity", "Masks", "Outputs", "Running"]
GROUP = typer.main.get_command(app)


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def on_terminal(width, *arguments, **environment):
    """What `masa` writes to a terminal of that many columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "masa_cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": str(width), "TERM": "xterm", **environment},
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65_536):
            written += chunk
    except OSError:  # how Linux tells the end of a terminal
        pass
    assert process.wait() == 0
    return written.decode().replace("\r\n", "\n")


def option_names(text):
    """The first long name of each option that a help text describes, from the first heading on."""
    start = re.search(r"^(╭|[A-Z][a-z ]+:$)", text, flags=re.MULTILINE).start()
    return re.findall(r"^(?:│ |  )(?:-\w, )?(--[\w-]+)", text[start:], flags=re.MULTILINE)


def further_options(command):
    return [p for p in command.params if isinstance(getattr(p, "rich_help_panel", None), Further)]


def test_help_has_what_most_people_need_and_names_the_rest():
    text = masa("track", "--help").stdout
    names = option_names(text)
    assert 12 <= len(names) <= 17
    assert {"--dets", "--prompt", "--output", "--help", "--help-all"} <= set(names)
    assert "--region-by" not in text
    num_further = len(further_options(GROUP.get_command(None, "track")))
    assert text.rstrip().endswith(f" track --help-all shows {num_further} more options.")


def test_help_all_has_every_option_once_and_what_follows():
    command = GROUP.get_command(None, "track")
    text = masa("track", "--help-all").stdout
    names = option_names(text)
    known = [p.opts[-1] if p.opts[-1].startswith("--") else p.opts[0] for p in command.params]
    assert sorted(names) == sorted([*(n for n in known if n[0] == "-"), "--help", "--help-all"])
    assert "more options" not in text
    assert "MOTChallenge" in text.partition("--help-all")[2]  # the rules of detections


@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_headings_come_in_order(option):
    text = masa("track", option).stdout
    assert re.findall(r"^(\S.*):$", text, flags=re.MULTILINE) == HEADINGS


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_gets_panels_that_fit(width):
    text = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(width, "track", "--help"))
    assert re.findall(r"^╭─ (.*?) ─+╮$", text, flags=re.MULTILINE) == HEADINGS
    assert max(map(len, text.splitlines())) == min(width, 100) - 2
    assert option_names(text) == option_names(masa("track", "--help").stdout)


def test_no_color_means_none():
    colours = r"\x1b\[[0-9;]*3\d"
    assert re.search(colours, on_terminal(80, "track", "--help"))
    assert not re.search(colours, on_terminal(80, "track", "--help", NO_COLOR="1"))


def test_brackets_in_help_are_no_markup():
    assert "[[x,y],[x,y],[x,y]]" in on_terminal(100, "track", "--help-all", NO_COLOR="1")


def test_a_command_of_few_options_has_no_rest():
    plain, full = masa("convert", "--help").stdout, masa("convert", "--help-all").stdout
    assert plain == full
    assert "--help-all" not in plain


@pytest.mark.parametrize("name", GROUP.list_commands(None))
def test_help_is_never_longer_than_about_fifteen_options(name):
    assert len(option_names(masa(name, "--help").stdout)) <= 17


def test_rows_of_a_table_are_choices_and_help(monkeypatch):
    text = masa("track", "--help").stdout
    for name, row in TRACKERS.items():
        assert re.search(
            rf"^ +(--association ASSOCIATION +\S.*\n +)?{name}: {row.summary[:12]}", text, re.M
        )
    refused = masa("track", "--dets", "a.txt", "--association", "toy")
    assert refused.exit_code == 2
    assert 'unknown association "toy"' in refused.stderr
    monkeypatch.setitem(TRACKERS, "toy", TRACKERS["motion"])
    context = GROUP.get_command(None, "track").make_context("track", ["--association", "toy"])
    assert context.params["association"] == "toy"


def test_names_are_never_broken_over_lines():
    for width in 60, 80, 100:
        text = CliRunner(env={"COLUMNS": str(width)}).invoke(app, ["track", "--help-all"]).stdout
        assert {"masa-benchmark:", "gdino-swint:"} <= set(text.split())


@pytest.mark.parametrize(
    ("former", "name", "parameter", "value"),
    [
        (["--relink"], "--refine", "refine", True),
        (["--no-relink"], "--no-refine", "refine", False),
        (["--tighten"], "--fit-boxes", "fit_boxes", True),
        (["--preparation", "tao"], "--preprocessing", "preprocessing", "tao"),
        (["--preparation=tao"], "--preprocessing", "preprocessing", "tao"),
    ],
    ids=str,
)
def test_a_former_option_does_its_work_and_warns(capsys, former, name, parameter, value):
    command = GROUP.get_command(None, "track")
    context = command.make_context("track", ["a.mp4", *former])
    assert context.params[parameter] == value
    old = former[0].partition("=")[0]
    assert capsys.readouterr().err == f"warning: {old} is now {name}; the old name goes in 0.3\n"
    for help_option in "--help", "--help-all":
        assert old not in masa("track", help_option).stdout


def test_former_options_are_known_only_where_the_new_ones_are():
    assert "No such option: --relink" in masa("render", "a.mp4", "b", "--relink").stderr


def test_what_follows_the_options_is_no_option():
    command = GROUP.get_command(None, "track")
    assert command.make_context("track", ["--", "--relink"]).params["sources"] == ["--relink"]


def test_several_videos_are_given_the_new_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dets").mkdir()
    for name in "ab":
        video, dets = write_clip(tmp_path, 6)
        video.rename(f"{name}.mp4")
        dets.rename(f"dets/{name}.txt")
    options = ("--no-relink", "--association", "motion", "--no-video", "-o", "out", "--json")
    result = masa("track", "a.mp4", "b.mp4", "--dets", "dets", *options)
    assert result.exit_code == 0, result.stderr
    assert [each["frames"] for each in json.loads(result.stdout)["videos"]] == [6, 6]
    assert result.stderr.count("the old name goes") == 1
