"""Which part of a video tracks are of: boxes lie on the pictures that they were found in."""

import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.errors import UsageError
from masa_cli.review.session import Part, open_review
from tests.clips import RATE, boxes_at, image_at, write_clip


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_clip(tmp_path, 30)


def tracked(clip, *options):
    """The folder of a run of a part of the clip."""
    video, dets = clip
    folder = video.parent / "run"
    given = [video, "--dets", dets, "--association", "motion", "-o", folder, *options]
    result = CliRunner().invoke(app, ["track", *map(str, given), "--quiet"])
    assert result.exit_code == 0, result.output
    return folder


def off(clip, tracks, **options):
    """By how many pixels boxes lie beside what is in the pictures that they are shown on."""
    with open_review(clip[0], tracks, tracks.with_suffix(".edits"), **options) as review:
        shown = np.rint(review.video_times * float(RATE)).astype(int)
        table = review.tracks.table()
    far = []
    for frame, box in zip(table.frames, table.tracks.boxes, strict=True):
        lefts = [left for left, *_ in boxes_at(int(shown[frame]))]
        far.append(min(abs(left - box[0]) for left in lefts))
    assert len(far) > 6
    return max(far)


@pytest.mark.parametrize("name", ["tracks.jsonl", "street.txt"])
@pytest.mark.parametrize(
    "options", [(), ("--start", "0.4"), ("--every", "2"), ("--start", "0.41", "--every", "3")]
)
def test_a_part_is_shown_where_it_was_tracked(clip, name, options):
    tracks = tracked(clip, *options) / name
    assert off(clip, tracks) < 0.9


@pytest.mark.parametrize("name", ["tracks.jsonl", "frames.txt"])
def test_a_part_of_a_folder_may_begin_between_two_pictures(clip, name):
    folder = clip[0].with_name("frames")
    folder.mkdir()
    for index in range(30):
        Image.fromarray(image_at(index)).save(folder / f"{index + 1:03}.png")
    given = (folder, clip[1])
    tracks = tracked(given, "--fps", str(RATE), "--start", "0.41") / name
    assert off(given, tracks, frame_rate=RATE) < 0.9


def test_options_go_before_the_record_and_do_without_it(clip):
    folder = tracked(clip, "--start", "0.4", "--every", "2")
    moved = folder / "mine.txt"
    (folder / "street.txt").rename(moved)
    assert off(clip, moved) > 0.9
    assert off(clip, moved, part=Part(Fraction(2, 5), 2)) < 0.9


def test_the_part_of_another_video_is_not_taken(clip, caplog):
    tracks = tracked(clip, "--start", "0.4") / "tracks.jsonl"
    other = clip[0].rename(clip[0].with_name("other.mp4"))
    assert off((other, None), tracks) > 0.9
    assert "is of a part of street, but this is other" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"source":{}}', '{"source":{"start":"x"}}'])
def test_what_is_no_record_of_a_run_is_left_aside(clip, text):
    tracks = tracked(clip) / "tracks.jsonl"
    tracks.with_name("run.json").write_text(text)
    assert off(clip, tracks) < 0.9


def test_a_record_without_frames_per_second_is_left_aside(clip):
    tracks = tracked(clip) / "tracks.jsonl"
    path = tracks.with_name("run.json")
    record = json.loads(path.read_text())
    record["source"]["frame_rate"] = "0"
    path.write_text(json.dumps(record))
    assert off(clip, tracks) < 0.9


def test_a_part_after_the_end_is_an_error(clip):
    tracks = tracked(clip) / "tracks.jsonl"
    with pytest.raises(UsageError, match="the video ends before 9 s"):
        off(clip, tracks, part=Part(Fraction(9)))
