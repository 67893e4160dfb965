"""masa track on part of a video: boxes, pictures and sound of that part."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.formats.tables import DetectionTable
from masa_cli.jobs.inputs import with_usual_scores
from tests.clips import boxes_at, write_clip
from tests.sources.encoded import packets_of_sound, write_numbered

MOTION = ("--association", "motion")


def masa(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path, 30)


def boxes_of(path):
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [sorted(line["boxes"]) for line in lines], [line["time"] for line in lines]


def expected(frames):
    return [sorted([x, y, x + w, y + h] for x, y, w, h in boxes_at(frame)) for frame in frames]


def test_detections_are_those_of_the_same_pictures(clip):
    video, dets = clip
    options = ["--start", "0.4", "--end", "1", "--every", "3"]
    result = masa("track", video, "--dets", dets, *MOTION, *options, "-o", "out")
    boxes, times = boxes_of("out/tracks.jsonl")
    assert boxes == expected([10, 13, 16, 19, 22])
    assert np.allclose(times, [0, 0.12, 0.24, 0.36, 0.48])
    with av.open("out/street.mp4") as written:
        assert written.streams.video[0].frames == 5
        assert float(written.streams.video[0].average_rate) == pytest.approx(25 / 3, rel=0.01)
    assert "past the last one" not in result.stderr


@pytest.mark.parametrize("first", [0, 1])
def test_a_table_that_counts_from_1_is_noticed_by_its_last_frame(clip, first):
    video, _ = clip
    rows = [(index + first, *box) for index in range(30) for box in boxes_at(index)]
    lines = [
        "frame,left,top,width,height,score",
        *(f"{','.join(map(str, row))},.9" for row in rows),
    ]
    Path("dets.csv").write_text("\n".join(lines))
    result = masa("track", video, "--dets", "dets.csv", *MOTION, "-o", "out")
    assert boxes_of("out/tracks.jsonl")[0] == expected(range(30))
    assert ("frames count from 1 here: 30 is the last" in result.stderr) == (first == 1)


def test_a_part_without_pictures_is_one_of_the_detections(clip, tmp_path):
    _, dets = clip
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    alone = Path(dets.rename(folder / "d.txt"))
    masa("track", "--dets", alone, "--start", "0.5", "--end", "0.7", "-o", "out")
    boxes, _ = boxes_of("out/tracks.jsonl")
    assert boxes == expected([15, 16, 17, 18, 19, 20])  # 30 frames/s, where nothing tells


def test_an_interrupted_part_goes_on_as_the_same_part(clip, monkeypatch):
    video, dets = clip
    command = ["track", video, "--dets", dets, *MOTION, "--start", "0.2", "--every", "2"]
    masa(*command, "-o", "whole")

    from masa_cli.tracking.hybrid import HybridTracker

    update = HybridTracker.update

    def stopping(self, observation):
        if observation.index == 7:
            raise KeyboardInterrupt
        return update(self, observation)

    monkeypatch.setattr("masa_cli.formats.spool.SECONDS_BETWEEN_SAVES", 0)
    monkeypatch.setattr(HybridTracker, "update", stopping)
    stopped = CliRunner().invoke(app, [*map(str, command), "-o", "out"])
    assert stopped.exit_code == 130
    monkeypatch.setattr(HybridTracker, "update", update)
    other = CliRunner().invoke(app, [*map(str, command[:-1]), "3", "-o", "out", "--resume"])
    assert other.exit_code == 1
    assert "part was" in " ".join(other.stderr.split())
    masa(*command, "-o", "out", "--resume")
    for name in ("street.mp4", "street.txt", "tracks.jsonl"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_render_draws_over_the_same_part(clip):
    video, dets = clip
    options = ["--start", "0.4", "--end", "1"]
    masa("track", video, "--dets", dets, *MOTION, *options, "-o", "out")
    masa("render", video, "out/tracks.jsonl", *options, "-o", "again.mp4")
    assert Path("again.mp4").read_bytes() == Path("out/street.mp4").read_bytes()


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le"])
def test_sound_begins_with_the_pictures_of_the_part(tmp_path, monkeypatch, sound):
    monkeypatch.chdir(tmp_path)
    video = write_numbered(tmp_path / "a.mkv", 30, sound=sound, sound_to=1.2)
    Path("dets.txt").write_text("1,-1,1,1,20,20,0.9\n")
    masa("track", video, "--dets", "dets.txt", *MOTION, "--start", "0.4", "--end", "1", "-o", "o")
    written = packets_of_sound("o/a.mp4")
    # What is encoded anew begins with the encoder's delay of 1024 samples, as players know.
    assert -0.022 < written[0][0] < 0.05
    assert 0.5 < written[-1][0] < 0.62
    if sound == "aac":  # copied: the very packets that begin at 0.4 s
        there = {data: at for at, data in packets_of_sound(video)}
        shifts = [float(there[data] - at) for at, data in written]
        assert np.allclose(shifts, 0.4, atol=0.003)


def test_retrack_knows_the_part_it_was_made_from(clip):
    video, dets = clip
    options = ["--start", "0.4", "--every", "2"]
    masa("track", video, "--dets", dets, *options, "--save-embeddings", "-o", "out")
    masa("retrack", "out/embeddings.masa", video, *options, "-o", "again")
    for name in ("street.mp4", "street.txt", "tracks.jsonl"):
        assert Path("out", name).read_bytes() == Path("again", name).read_bytes()
    arguments = ["retrack", "out/embeddings.masa", str(video), "-o", "third"]
    whole = CliRunner().invoke(app, arguments)
    assert whole.exit_code == 1
    assert "from 0 s on, not" in " ".join(whole.stderr.split())


def table_of(scores):
    rows = len(scores)
    return DetectionTable.from_rows(
        np.arange(rows),
        np.tile(np.array([[1, 2, 3, 4]], np.float32), (rows, 1)),
        np.array(scores, np.float32),
        np.zeros(rows, np.int64),
        ("object",),
    )


@pytest.mark.parametrize(
    ("scores", "scaled"),
    [
        ([10, 120, 50.5, 43], [0.25, 1, 0.75, 0.5]),
        ([-0.7, 0.2], [0.5, 1]),
        ([90, 90, 20], [1, 1, 1 / 3]),
        ([7, 7], [1, 1]),
    ],
)
def test_scores_beyond_0_to_1_are_replaced_by_their_rank_which_is_said(caplog, scores, scaled):
    assert np.allclose(with_usual_scores(Path("det.txt"), table_of(scores)).scores, scaled)
    assert "det.txt: scores run from" in caplog.text


@pytest.mark.parametrize("scores", [[0, 1, 0.5], [0.2, 1.005], []])
def test_scores_from_0_to_1_stay(caplog, scores):
    table = table_of(scores)
    assert with_usual_scores(Path("det.txt"), table) is table
    assert not caplog.text


def test_detections_without_pictures_say_the_rate_that_is_assumed(clip, tmp_path):
    _, dets = clip
    (tmp_path / "elsewhere").mkdir()
    alone = Path(dets.rename(tmp_path / "elsewhere/d.txt"))
    for options, is_said in ([], True), (["--fps", "10"], False):
        result = masa("track", "--dets", alone, *options, "-o", "out", "--overwrite")
        assert ("30 frames/s are assumed" in " ".join(result.stderr.split())) == is_said
