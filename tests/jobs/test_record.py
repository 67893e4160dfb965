"""run.json says what a run was: what it read and loaded, with which settings, and what came out."""

import json
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli import __version__
from masa_cli.cli.app import app
from masa_cli.errors import Interrupted
from masa_cli.jobs import record
from masa_cli.jobs.plan import Options, plan_job
from masa_cli.jobs.record import describe_weights, traced
from masa_cli.progress import RunProgress
from tests.clips import HEIGHT, WIDTH, write_clip
from tests.lite_file import write_lite

NUM_FRAMES = 6
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # sha256 of "abc"


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_clip(tmp_path, NUM_FRAMES)
    return ("street.mp4", "--dets", "dets.txt", "--association", "motion", "--no-video")


def read(folder="street"):
    return json.loads(Path(folder, "run.json").read_text())


def test_it_says_what_was_read_and_done(clip):
    result = masa("track", *clip, "--set", "birth_score=0.6", "--every", 2)
    assert result.exit_code == 0, result.output
    run = read()
    assert run["masa"] == __version__
    assert run["command"] == sys.argv
    assert run["versions"]["numpy"]
    source = run["source"]
    assert (source["path"], source["width"], source["height"]) == ("street.mp4", WIDTH, HEIGHT)
    assert run["facts"]["part"] == "None to None, every 2"
    assert run["files"] == ["dets.txt"]
    assert run["association"]["name"] == "motion"
    assert run["association"]["settings"]["birth_score"] == 0.6
    assert run["detector"]["name"] == "file"
    assert run["adapter"] is None
    assert run["weights"] == []
    assert run["counts"] == {"frames": 3, "boxes": 6, "tracks": 2, "masks": 0}
    assert run["seconds"]["associate"] >= 0
    assert run["written"] == ["street/street.txt", "street/tracks.jsonl"]


def test_it_names_the_weights_that_were_loaded(clip, tmp_path):
    file = write_lite(tmp_path / "own.safetensors", with_masks=True)
    given = ("--prompt", "person:0.3", "--detector", file, "--masks", "--segmenter", file)
    assert masa("track", clip[0], *given, "--no-video", "--runtime", "torch").exit_code == 0
    run = read()
    [weights] = run["weights"]
    assert (weights["path"], weights["bytes"]) == (str(file), file.stat().st_size)
    assert len(weights["sha256"]) == 64
    assert (run["detector"]["name"], run["detector"]["prompt"]) == ("lite", "person:0.3")
    assert run["detector"]["settings"]["max_overlap"] == 0.5
    assert run["segmenter"] == "lite"
    assert run["association"]["refinement"]["linking"]["seconds"] > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "bfloat16"),
        ({"adapter": "lite"}, "bfloat16"),
        ({"precision": "float32"}, "float32"),
        ({"runtime": "torch"}, "float32"),
        ({"association": "motion"}, "float32"),  # no network at all
    ],
    ids=str,
)
def test_auto_takes_the_precision_that_suits_all_networks(clip, monkeypatch, options, expected):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr("masa_cli.models.device.computes_bfloat16", lambda: True)
    asked = {"source": "street.mp4", "dets": Path("dets.txt"), "runtime": "auto", **options}
    assert plan_job(Options(**asked)).precision == expected


@pytest.mark.parametrize(("asked", "told"), [("auto", "float32"), ("bfloat16", "bfloat16")])
def test_it_names_the_precision_that_was_taken(clip, asked, told):
    assert masa("track", *clip, "--precision", asked).exit_code == 0
    assert read()["networks"]["precision"] == told


def test_a_run_is_not_resumed_in_another_precision(clip, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    told = []
    for is_able in (True, False):
        monkeypatch.setattr("masa_cli.models.device.computes_bfloat16", lambda able=is_able: able)
        job = plan_job(Options(source="street.mp4", dets=Path("dets.txt"), runtime="auto"))
        told.append(job.conditions)
    assert {name for name in told[0] if told[0][name] != told[1][name]} == {"precision"}


def test_it_is_a_result_that_is_not_replaced_unasked(clip):
    assert masa("track", *clip, "--no-jsonl").exit_code == 0
    refused = masa("track", *clip, "--no-mot")
    assert refused.exit_code == 1
    assert "run.json exists already" in refused.stderr
    assert masa("track", *clip, "--no-mot", "--overwrite").exit_code == 0
    assert read()["written"] == ["street/tracks.jsonl"]


def test_a_file_is_hashed_but_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "w.pth"
    file.write_text("abc")
    assert describe_weights([file]) == [{"path": str(file), "bytes": 3, "sha256": ABC}]
    hashed = []
    monkeypatch.setattr(record, "sha256_of", lambda path: hashed.append(path) or "new")
    assert describe_weights([file])[0]["sha256"] == ABC
    assert not hashed
    file.write_text("abcd")
    assert describe_weights([file])[0]["sha256"] == "new"
    assert hashed == [file]


def test_a_cache_that_cannot_be_used_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "w.pth"
    file.write_text("abc")
    assert describe_weights([file])[0]["sha256"] == ABC


def trace_of(path):
    """Slices (name, begin, end) of each row, by the name of the row; and all events."""
    events = json.loads(Path(path).read_text())
    rows = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    slices = {name: [] for name in rows.values()}
    for each in events:
        if each["ph"] == "X":
            own = (each["name"], each["ts"], each["ts"] + each["dur"])
            slices[rows[each["tid"]]].append(own)
    return slices, events


def run_traced(work, path, **more):
    progress = RunProgress()
    return traced(work, path, **more)(progress), progress


def test_a_trace_has_every_stage_of_every_thread(tmp_path):
    def work(progress):
        progress.on_pass("tracking", 0)
        with progress.stage("detect"), progress.stage("load"):
            pass
        thread = threading.Thread(target=lambda: list(progress.timed("decode", [1])), name="ahead")
        thread.start()
        thread.join()
        progress.on_frame(1, 7)
        progress.on_pass("writing", 0)
        return "done"

    path = tmp_path / "new" / "trace.json"
    summary, _ = run_traced(work, path)
    assert summary == "done"
    slices, events = trace_of(path)
    (inner, *inside), (outer, *around) = slices["main"]
    assert (inner, outer) == ("load", "detect")
    assert 0 <= around[0] <= inside[0] <= inside[1] <= around[1] + 0.002  # they are rounded
    assert [name for name, *_ in slices["ahead"]] == ["decode"] * 2  # and finding that it ends
    (tracking, _, end), (writing, begin, _) = slices["passes"]
    assert (tracking, writing) == ("tracking", "writing")
    assert end <= begin
    counts = {e["name"]: e["args"]["number"] for e in events if e["ph"] == "C"}
    assert counts == {"frames done": 1, "tracks in a frame": 7}
    assert [each.name for each in path.parent.iterdir()] == ["trace.json"]


def test_a_trace_tells_others_as_before(tmp_path):
    told = []

    def work(progress):
        progress.on_pass("tracking", 0)
        progress.on_frame(1, 7)
        return "done"

    progress = RunProgress()
    progress.on_pass = lambda *facts: told.append(facts)
    progress.on_frame = progress.on_pass
    listeners = progress.on_pass, progress.on_frame, progress.on_stage
    traced(work, tmp_path / "trace.json")(progress)
    assert told == [("tracking", 0), (1, 7)]
    assert (progress.on_pass, progress.on_frame, progress.on_stage) == listeners


def test_a_long_trace_is_written_as_it_grows(tmp_path):
    part = tmp_path / "trace.json.part"

    def work(progress):
        for _ in range(5000):
            with progress.stage("detect"):
                pass
        begun = part.read_text()
        assert begun.count("detect") > 4000
        json.loads(f"{begun.rstrip().rstrip(',')}]")  # as of a run that was killed
        return "done"

    run_traced(work, tmp_path / "trace.json")
    slices, _ = trace_of(tmp_path / "trace.json")
    assert len(slices["main"]) == 5000
    assert not part.exists()


def test_threads_that_nobody_waits_for_do_not_disturb_the_end(tmp_path):
    late = []

    def work(progress):
        late.append(progress.on_stage)
        return "done"

    run_traced(work, tmp_path / "trace.json")
    late[0]("decode", 1.0, 2.0)
    assert "decode" not in (tmp_path / "trace.json").read_text()


@pytest.mark.parametrize(("error", "is_kept"), [(Interrupted("stop"), True), (OSError(), False)])
def test_an_interrupted_run_has_a_trace_and_one_that_failed_has_none(tmp_path, error, is_kept):
    def work(progress):
        with progress.stage("detect"):
            raise error

    with pytest.raises(type(error)):
        run_traced(work, tmp_path / "trace.json")
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"] * is_kept
    if is_kept:
        assert [name for name, *_ in trace_of(tmp_path / "trace.json")[0]["main"]] == ["detect"]


def test_a_trace_replaces_nothing_of_the_user(clip, tmp_path):
    Path("old.json").write_text("old")
    for name, problem in {
        "old.json": "exists already",
        "dets.txt": "is an input",
        "street/street.txt": "is a result",
        "street/tracks.jsonl": "is a result",
    }.items():
        result = masa("track", *clip, "--trace", name)
        assert result.exit_code == 1
        assert problem in result.stderr
    assert masa("track", *clip, "--trace", "dets.txt", "--overwrite").exit_code == 1
    assert not Path("street").exists()
    assert Path("old.json").read_text() == "old"
    assert masa("track", *clip, "--trace", "old.json", "--overwrite").exit_code == 0
    assert trace_of("old.json")


def test_a_run_can_be_traced_and_its_results_are_the_same(clip):
    given = [each for each in clip if each != "--no-video"]
    assert masa("track", *given, "-o", "plain").exit_code == 0
    result = masa("track", *given, "-o", "own", "--trace", "own/trace.json")
    assert result.exit_code == 0, result.stderr
    for name in ("street.mp4", "street.txt", "tracks.jsonl"):
        assert Path("own", name).read_bytes() == Path("plain", name).read_bytes()
    slices, events = trace_of("own/trace.json")
    stages = {name for name, *_ in slices["main"]}
    assert stages >= {"load", "associate", "write tracks", "draw", "encode", "write results"}
    assert stages >= {"refine", "wait for frames"}
    assert {name for name, *_ in slices["prefetch"]} == {"decode"}
    assert [name for name, *_ in slices["passes"]] == ["tracking", "writing"]
    assert max(e["args"]["number"] for e in events if e["name"] == "frames done") == NUM_FRAMES


def test_other_commands_and_live_runs_can_be_traced_too(clip):
    assert masa("track", *clip).exit_code == 0
    for command in (
        ("track", *clip, "--jsonl", "-", "-o", "live"),
        ("render", "street.mp4", "street/tracks.jsonl", "-o", "drawn.mp4"),
    ):
        result = masa(*command, "--trace", f"{command[0]}.json")
        assert result.exit_code == 0, result.stderr
        assert "passes" in trace_of(f"{command[0]}.json")[0]


def test_a_trace_is_of_one_video(clip):
    result = masa("track", "street.mp4", "other.mp4", *clip[1:], "--trace", "trace.json")
    assert result.exit_code == 2
    assert "--trace is of one video" in result.stderr
