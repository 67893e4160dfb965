"""`masa review` and `masa edit` as they are typed."""

import json
import os
import signal
import subprocess
import sys
from urllib.request import Request, urlopen

from typer.testing import CliRunner

from masa_cli import formats
from masa_cli.cli.app import app
from tests.review.conftest import clip  # noqa: F401 - a fixture
from tests.review.tables import shown
from tests.review.test_log import DELETE, write


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def begun(clip, *arguments):  # noqa: F811
    command = [
        sys.executable,
        "-m",
        "masa_cli",
        "review",
        *map(str, clip),
        "--no-browser",
        *arguments,
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ)


def test_review_prints_its_address_and_ends_with_ctrl_c(clip):  # noqa: F811
    with begun(clip) as process:
        address = process.stdout.readline().strip()
        with urlopen(address) as answer:
            assert b"masa review" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()


def test_edits_that_were_confirmed_survive_a_kill(clip):  # noqa: F811
    with begun(clip) as process:
        address = process.stdout.readline().strip()
        host = address.split("/")[2]
        body = json.dumps({"record": {"edit": "delete", "id": 2}, "revision": 0}).encode()
        headers = {"Content-Type": "application/json", "Origin": f"http://{host}"}
        with urlopen(Request(f"{address}api/edit", body, headers)) as answer:
            assert json.load(answer)["done"] == 1
        process.kill()
    log = clip[1].with_name("tracks.edits.jsonl")
    target = clip[1].with_name("mended.jsonl")
    result = run("edit", clip[1], log, "-o", target)
    assert result.exit_code == 0
    assert "1 edits, 1 tracks" in result.stdout
    assert set(shown(formats.read_tracks(target))) == {1}


def test_edit_says_as_json_what_it_wrote(clip, tmp_path):  # noqa: F811
    from masa_cli.review.log import LogWriter
    from masa_cli.review.tracks import digest_of

    log = tmp_path / "mine.jsonl"
    with LogWriter(log, clip[1], digest_of(formats.read_tracks(clip[1])), 0) as writer:
        writer.append(DELETE)
    result = run("edit", clip[1], log, "-o", tmp_path / "out.txt", "--json")
    assert json.loads(result.stdout) == {
        "edits": 1,
        "frames": 30,
        "boxes": 30,
        "tracks": 1,
        "written": [str(tmp_path / "out.txt")],
    }


def test_edit_refuses_edits_of_other_tracks(clip, tmp_path):  # noqa: F811
    log = tmp_path / "other.jsonl"
    write(log, DELETE)
    result = run("edit", clip[1], log, "-o", tmp_path / "out.txt")
    assert result.exit_code == 1
    assert "edits of other tracks" in result.stderr
    assert not (tmp_path / "out.txt").exists()


def test_edit_replaces_neither_tracks_nor_edits(clip, tmp_path):  # noqa: F811
    from masa_cli.review.log import LogWriter
    from masa_cli.review.tracks import digest_of

    log = tmp_path / "mine.jsonl"
    with LogWriter(log, clip[1], digest_of(formats.read_tracks(clip[1])), 0) as writer:
        writer.append(DELETE)
    for target in (clip[1], log):
        result = run("edit", clip[1], log, "-o", target, "--overwrite")
        assert result.exit_code == 1
        assert "is an input" in result.stderr


def test_review_refuses_tracks_as_their_own_edits(clip):  # noqa: F811
    result = run("review", *clip, "--edits", clip[1])
    assert result.exit_code == 2
    assert "are the tracks, not their edits" in result.stderr


def test_review_of_no_tracks_is_an_error_of_one_line(clip, tmp_path):  # noqa: F811
    result = run("review", clip[0], tmp_path / "none.jsonl")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
