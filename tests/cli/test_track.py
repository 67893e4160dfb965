import json
import shutil
from pathlib import Path

import av
import imageio.v3 as imageio
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from tests.clips import HEIGHT, WIDTH, dets_text, image_at, write_clip

NUM_FRAMES = 30


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path, NUM_FRAMES)


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def mot_rows(path):
    return np.loadtxt(path, delimiter=",", ndmin=2)


def jsonl(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def one_line(text):
    return " ".join(text.split())


def test_video_and_detections_become_video_mot_and_jsonl(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets)
    assert result.exit_code == 0, result.output
    rows = mot_rows("street/street.txt")
    assert rows.shape == (2 * NUM_FRAMES, 10)
    assert rows[:, 0].tolist() == [n for n in range(1, NUM_FRAMES + 1) for _ in "ab"]
    # Two textured objects pass one another: each keeps one identity from 1 to 2.
    assert sorted(set(rows[:, 1])) == [1, 2]
    for identity in (1, 2):
        lefts = rows[rows[:, 1] == identity, 2]
        assert len(set(np.sign(np.diff(lefts)))) == 1
    lines = jsonl("street/tracks.jsonl")
    assert [line["frame"] for line in lines] == list(range(NUM_FRAMES))
    with av.open("street/street.mp4") as written:
        stream = written.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (WIDTH, HEIGHT, NUM_FRAMES)
        assert stream.average_rate == 25
    assert sorted(path.name for path in (video.parent / "street").iterdir()) == [
        "run.json",
        "street.mp4",
        "street.txt",
        "tracks.jsonl",
    ]


def test_results_are_listed_with_the_time_of_each_stage(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--association", "motion")
    for word in ("street/street.mp4", "street/street.txt", "street/tracks.jsonl", "decode"):
        assert word in result.stdout
    assert "2 tracks, 60 boxes in 30 frames" in result.stdout
    assert not result.stderr


def test_json_summary_is_the_only_output(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--json", "--no-video")
    summary = json.loads(result.stdout)
    assert (summary["frames"], summary["boxes"], summary["tracks"]) == (30, 60, 2)
    assert summary["written"] == ["street/street.txt", "street/tracks.jsonl"]
    assert summary["stages"]["embed"] > 0


def test_quiet_prints_nothing(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "-q", "--association", "motion")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def make_sequence(folder, with_images=True):
    (folder / "seq/det").mkdir(parents=True)
    (folder / "seq/det/det.txt").write_text(dets_text(5))
    (folder / "seq/seqinfo.ini").write_text(
        "[Sequence]\nname=seq\nimDir=img1\nframeRate=10\nseqLength=6\nimWidth=96\nimHeight=64\n"
    )
    if with_images:
        (folder / "seq/img1").mkdir()
        for index in range(6):
            imageio.imwrite(folder / f"seq/img1/{index + 1:06}.png", image_at(index))


def test_folder_of_frames_takes_the_name_of_its_sequence(tmp_path):
    make_sequence(tmp_path)
    out = tmp_path / "out"
    result = masa("track", tmp_path / "seq/img1", "--dets", tmp_path / "seq/det/det.txt", "-o", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (out / "seq.mp4").exists()
    with av.open(str(out / "seq.mp4")) as written:
        assert (written.streams.video[0].average_rate, written.streams.video[0].frames) == (10, 6)


def test_frames_are_found_beside_the_detections(tmp_path, monkeypatch):
    make_sequence(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = masa("track", "--dets", "seq/det/det.txt", "-o", "found")
    assert result.exit_code == 0, result.output
    masa("track", "seq/img1", "--dets", "seq/det/det.txt", "-o", "given")
    for name in ("seq.mp4", "seq.txt", "tracks.jsonl"):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "given" / name).read_bytes()


def test_without_frames_motion_alone_tracks_and_says_so(tmp_path, monkeypatch):
    make_sequence(tmp_path, with_images=False)
    monkeypatch.chdir(tmp_path)
    result = masa("track", "--dets", "seq/det/det.txt")
    assert result.exit_code == 0
    assert "tracking by motion alone, appearance is not used" in one_line(result.stderr)
    lines = jsonl("seq/tracks.jsonl")
    assert [line["time"] for line in lines] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert not (tmp_path / "seq/seq.mp4").exists()


def test_appearance_without_frames_is_an_error(tmp_path, monkeypatch):
    make_sequence(tmp_path, with_images=False)
    monkeypatch.chdir(tmp_path)
    result = masa("track", "--dets", "seq/det/det.txt", "--association", "masa-demo", "-o", "out")
    assert result.exit_code == 1
    assert "there are no images" in one_line(result.stderr)
    assert not (tmp_path / "out").exists()


def test_existing_results_are_refused_before_any_work(clip):
    video, dets = clip
    out = video.parent / "street"
    out.mkdir()
    (out / "street.txt").write_text("precious")
    result = masa("track", video, "--dets", dets)
    assert result.exit_code == 1
    assert "street.txt exists already" in one_line(result.stderr)
    assert "--overwrite" in result.stderr
    assert (out / "street.txt").read_text() == "precious"
    assert masa("track", video, "--dets", dets, "--overwrite", "-q").exit_code == 0
    assert (out / "street.txt").read_text() != "precious"


def test_the_source_itself_is_never_overwritten(clip):
    video, dets = clip
    before = video.read_bytes()
    result = masa("track", video, "--dets", dets, "-o", ".", "--overwrite")
    assert result.exit_code == 1
    assert "is an input of this run" in one_line(result.stderr)
    assert video.read_bytes() == before


def with_line(dets, number, line):
    lines = dets.read_text().splitlines()
    lines[number - 1] = line
    dets.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", "--dets", "dets.txt"], "nowhere.mp4 does not exist"),
        (["dets.txt", "--dets", "dets.txt"], "dets.txt"),
        (["street.mp4", "--dets", "missing.txt"], "missing.txt"),
        (["street.mp4", "--dets", "dets.txt", "--stream", "1"], "has 1 video streams"),
        (
            ["--dets", "dets.txt", "--fps", "fast"],
            '--fps expects frames per second above 0, got "f',
        ),
        (["street.mp4", "--dets", "dets.txt", "--set", "memory=3"], "no setting to change"),
        (["street.mp4", "--dets", "dets.txt", "--device", "cuda"], "cuda"),
        (["street.mp4", "--dets", "dets.txt", "--resume", "--overwrite"], "exclude each other"),
        (
            ["street.mp4", "--dets", "dets.txt", "--no-video", "--no-mot", "--no-jsonl"],
            "no result is wanted",
        ),
    ],
)
def test_bad_input_is_one_error_and_one_fix_and_no_folder(clip, arguments, message):
    if "cuda" in arguments:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("a CUDA device is there")
    result = masa("track", *arguments)
    assert result.exit_code == 1
    errors = result.stderr.splitlines()
    assert [line.split(":")[0] for line in errors] == ["error", "fix"]
    assert message in errors[0]
    assert sorted(path.name for path in clip[0].parent.iterdir()) == ["dets.txt", "street.mp4"]


def test_a_malformed_line_names_file_and_line(clip):
    video, dets = clip
    with_line(dets, 7, "1,2,30,40")
    result = masa("track", video, "--dets", dets)
    assert result.exit_code == 1
    assert "dets.txt line 7: expected" in result.stderr


def test_odd_boxes_are_dropped_and_counted(clip):
    video, dets = clip
    with dets.open("a") as file:
        file.write("3,-1,500,10,20,20,0.9\n4,-1,10,10,0,20,0.9\n99,-1,10,10,20,20,0.9\n")
    result = masa("track", video, "--dets", dets, "--json")
    warnings = one_line(result.stderr)
    assert "1 boxes without area were dropped" in warnings
    assert "1 boxes wholly outside the image of 96 x 64 were dropped" in warnings
    assert "1 boxes of frames past the last one (29) were dropped" in warnings
    assert json.loads(result.stdout)["boxes"] == 2 * NUM_FRAMES


def test_missing_option_and_unknown_choice_are_usage_errors(clip):
    assert masa("track", clip[0]).exit_code == 2
    assert masa("track", clip[0], "--dets", clip[1], "--device", "tpu").exit_code == 2


def test_names_with_brackets_are_printed_as_they_are(clip):
    video, dets = clip
    odd = video.with_name("clip[red]1.mp4")
    shutil.copy(video, odd)
    result = masa("track", odd, "--dets", dets, "--no-video")
    assert "clip[red]1/clip[red]1.txt" in result.stdout
    again = masa("track", odd, "--dets", dets, "--no-video")
    assert "clip[red]1/clip[red]1.txt exists already" in again.stderr


def test_min_score_leaves_out_weak_boxes(clip):
    video, dets = clip
    with dets.open("a") as file:
        file.write("3,-1,50,10,20,20,0.3\n")
    result = masa("track", video, "--dets", dets, "--min-score", "0.5", "--no-video", "--json")
    assert json.loads(result.stdout)["boxes"] == 2 * NUM_FRAMES


def test_clean_up_averages_scores(clip):
    video, dets = clip
    with_line(dets, 1, "1,-1,5,8,20,24,0.8")
    for flag, out in (("--no-clean-up", "raw"), ("--clean-up", "clean")):
        assert masa("track", video, "--dets", dets, flag, "-o", out, "--no-video").exit_code == 0
    raw, clean = mot_rows("raw/street.txt"), mot_rows("clean/street.txt")
    assert set(raw[:, 6]) == {0.8, 0.9}
    assert 0.8 not in clean[:, 6]
    assert len(set(clean[:, 6])) == 2  # one score per identity: 0.9, and a little less


def test_settings_of_the_association_can_be_changed(clip):
    video, dets = clip
    changes = ["--set", "birth_score=0.95"]
    result = masa("track", video, "--dets", dets, *changes, "--json")
    assert json.loads(result.stdout)["tracks"] == 0
    assert "nothing was tracked: scores of its 60 boxes reach 0.9" in " ".join(
        result.stderr.split()
    )


def gap_in(dets, first, last):
    """Take the boxes of the first object out of these frames, from 1."""
    rows = dets.read_text().splitlines()
    kept = [
        row
        for place, row in enumerate(rows)
        if place % 2 or not first <= int(row.split(",")[0]) <= last
    ]
    dets.write_text("\n".join(kept) + "\n")


def test_the_offline_refinement_fills_what_a_live_run_shows_not(clip):
    """Two boxes before the confirmation of each object, and a gap of three."""
    video, dets = clip
    gap_in(dets, 15, 17)
    found = {}
    for name, *changes in (
        ("whole",),
        ("live", "--no-refine"),
        ("open", "--set", "linking.interpolation_seconds=0"),
    ):
        result = masa("track", video, "--dets", dets, "-o", name, "--no-video", *changes)
        assert result.exit_code == 0, result.stderr
        found[name] = mot_rows(f"{name}/street.txt")
    whole, live, left_open = (found[name] for name in ("whole", "live", "open"))
    assert (len(whole), len(left_open), len(live)) == (60, 57, 57 - 2 * 2 + 3)
    guessed = whole[whole[:, 6] == 0]
    assert guessed[:, 0].tolist() == [15, 16, 17]
    # The object moves evenly, so the line between two boxes is where it was.
    assert np.abs(guessed[:, 2] - (5 + guessed[:, 0] - 1)).max() < 1
    marks = [line.get("interpolated", [False]) for line in jsonl("whole/tracks.jsonl")]
    assert [any(mark) for mark in marks] == [15 <= n <= 17 for n in range(1, NUM_FRAMES + 1)]
    assert not any(path.suffix == ".part" for path in Path("whole").iterdir())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--set", "linking.second=1"], "second"),
        (["--set", "linking.seconds=1", "--no-refine"], "nothing is refined offline"),
        (
            ["--set", "linking.seconds=1", "--association", "masa-demo"],
            "nothing is refined offline",
        ),
    ],
)
def test_changes_to_a_refinement_that_cannot_be_made_are_refused(clip, arguments, problem):
    video, dets = clip
    result = masa("track", video, "--dets", dets, *arguments)
    assert result.exit_code == 1
    assert problem in one_line(result.stderr)
    assert not Path("street").exists()


def test_a_warning_of_both_passes_is_said_once(clip):
    video, dets = clip
    whole = video.with_suffix(".avi")
    with av.open(str(video)) as source, av.open(str(whole), "w") as copy:
        stream = copy.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for frame in source.decode(video=0):
            copy.mux(stream.encode(frame.reformat(format="yuvj420p")))
        copy.mux(stream.encode(None))
    cut = video.with_name("cut.avi")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = masa("track", cut, "--dets", dets, "--association", "motion", "-q")
    assert result.exit_code == 0
    assert result.stderr.count("is the last that could be read") == 1


def test_further_formats_are_written_on_request(clip):
    video, dets = clip
    result = masa("track", video, "--dets", dets, "--also", "tao,coco,bdd", "--no-video", "--json")
    assert result.exit_code == 0, result.stderr
    for name in ("tao", "coco", "bdd"):
        assert f"street/street.{name}.json" in json.loads(result.stdout)["written"]
    boxes = json.loads(Path("street/street.tao.json").read_text())
    assert len(boxes) == 2 * NUM_FRAMES
    assert sorted({box["track_id"] for box in boxes}) == [1, 2]
    again = masa("track", video, "--dets", dets, "--also", "tao", "--no-mot", "-o", "street")
    assert again.exit_code == 1
