"""Real encoded files of every kind through the real command: the right video comes out."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from typer.testing import CliRunner

from masa_cli.cli.app import app
from tests.sources.encoded import Clip, number_of, numbered, turned, write_numbered

NUM_FRAMES = 9


def can_encode(name):
    try:
        Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


KINDS = {
    "h264.mp4": {},
    "hevc.mp4": {"codec": "libx265"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "av1.mkv": {"codec": "libsvtav1"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "10bit.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le"},
    "alpha.mkv": {"codec": "ffv1", "pix_fmt": "bgra"},
    "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray"},
    "sound.mp4": {"sound": "aac"},
    "stream.ts": {},
    "23.976.mp4": {"rate": Fraction(24000, 1001)},
    "29.97.mp4": {"rate": Fraction(30000, 1001)},
    "60.mp4": {"rate": Fraction(60)},
    "slow.mp4": {"rate": Fraction(1, 2)},
    "variable.mp4": {
        "time_base": Fraction(1, 1000),
        "ticks": [0, 40, 45, 200, 230, 231, 500, 900, 1000],
    },
}


def track(video, tmp_path):
    dets = tmp_path / "dets.txt"
    dets.write_text(
        "".join(f"{n + 1},-1,1,1,8,8,0.9\n{n + 1},-1,20,2,9,9,0.9\n" for n in range(NUM_FRAMES))
    )
    command = ["track", "--dets", dets, "--association", "motion", "-o", tmp_path / "out"]
    command += ["--no-scores", "-q", "--", video]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, result.stderr
    return tmp_path / "out" / f"{video.stem}.mp4"


def pictures(path):
    """(times in seconds, RGB images) of a video."""
    with av.open(str(path)) as video:
        frames = list(video.decode(video=0))
        return [float(frame.time) for frame in frames], [
            frame.to_ndarray(format="rgb24") for frame in frames
        ]


def same_number(image, number):
    """Whether a part of the upper half, beside the drawn boxes, has the grey of its number."""
    return abs(number_of(image[12:24, 32:].repeat(2, axis=0)) - number) <= 1


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_comes_out_frame_by_frame_at_its_times(tmp_path, name):
    clip = KINDS[name]
    if not can_encode(clip.get("codec", "libx264")):
        pytest.skip(f"this FFmpeg has no encoder {clip['codec']}")
    video = write_numbered(tmp_path / name, NUM_FRAMES, **clip)
    with av.open(str(video)) as given:
        expected = [float(frame.time) for frame in given.decode(video=0)]
    times, images = pictures(track(video, tmp_path))
    assert len(images) == NUM_FRAMES
    # A GIF has times in hundredths, a clock of MPEG-TS does not begin with 0.
    assert np.allclose(np.diff(times), np.diff(expected), atol=2e-3)
    assert all(same_number(image, number) for number, image in enumerate(images))
    lines = (tmp_path / "out/tracks.jsonl").read_text().splitlines()
    assert len(lines) == NUM_FRAMES


def test_sound_and_subtitles_do_not_matter_to_the_pictures(tmp_path):
    video = tmp_path / "titled.mkv"
    write_numbered(tmp_path / "plain.mp4", NUM_FRAMES, sound="aac")
    titles = tmp_path / "titles.srt"
    titles.write_text("1\n00:00:00,000 --> 00:00:00,200\nhello\n")
    with (
        av.open(str(tmp_path / "plain.mp4")) as plain,
        av.open(str(titles)) as text,
        av.open(str(video), "w") as output,
    ):
        streams = [*plain.streams, *text.streams]
        targets = {stream: output.add_stream_from_template(stream) for stream in streams}
        for source in (text, plain):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = targets[packet.stream]
                    output.mux(packet)
    with av.open(str(video)) as given:
        assert len(given.streams.subtitles) == 1
    written = track(video, tmp_path)
    with av.open(str(written)) as out:
        assert len(out.streams.video) == len(out.streams.audio) == 1
    assert len(pictures(written)[0]) == NUM_FRAMES


@pytest.mark.parametrize("quarter_turns", range(4))
def test_a_turned_video_comes_out_upright(tmp_path, quarter_turns):
    """A bright corner tells which way is up; the boxes are those of the upright picture."""
    image = np.full((48, 64, 3), 60, np.uint8)
    image[:16, 44:] = 230  # the upper right corner, as it is stored
    video = Clip([image] * 3).write(tmp_path / "phone.mp4")
    turned(video, quarter_turns)
    times, images = pictures(track(video, tmp_path))
    upright = np.rot90(image, -quarter_turns)
    assert len(times) == 3
    assert images[1].shape == upright.shape
    difference = np.abs(images[1].astype(int) - upright).max(axis=2) > 60
    difference[:24, :40] = False  # where boxes and labels are drawn
    assert difference.mean() < 0.05


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 2), (17, 11), (33, 48)])
def test_odd_and_tiny_sizes_come_out_even(tmp_path, width, height):
    images = [np.full((height, width, 3), 40 + 9 * number, np.uint8) for number in range(4)]
    video = Clip(images, codec="ffv1", pix_fmt="bgr0").write(tmp_path / "odd.mkv")
    times, written = pictures(track(video, tmp_path))
    assert len(times) == 4
    assert written[0].shape == (height + height % 2, width + width % 2, 3)


def test_8k_comes_out_at_its_size(tmp_path):
    image = np.full((4320, 7680, 3), 90, np.uint8)
    video = Clip([image] * 2, options={"preset": "ultrafast"}).write(tmp_path / "8k.mp4")
    _, images = pictures(track(video, tmp_path))
    assert [each.shape for each in images] == [(4320, 7680, 3)] * 2


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("text.mp4", b"no video, just words\n" * 50, "cannot be read as a video"),
        ("empty.mp4", b"", "empty.mp4 is empty"),
        ("text.txt", b"just words\n" * 50, "text file"),
    ],
)
def test_what_is_no_video_is_one_clear_sentence(tmp_path, name, content, problem):
    video = Path(tmp_path / name)
    video.write_bytes(content)
    dets = tmp_path / "dets.txt"
    dets.write_text("1,-1,1,1,8,8,0.9\n")
    command = ["track", video, "--dets", dets, "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 1
    assert problem in " ".join(result.stderr.split())
    assert result.stderr.count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_a_video_without_frames_is_one_clear_sentence(tmp_path):
    video = Clip([]).write(tmp_path / "none.mkv")
    dets = tmp_path / "dets.txt"
    dets.write_text("1,-1,1,1,8,8,0.9\n")
    result = CliRunner().invoke(app, ["track", str(video), "--dets", str(dets)])
    assert result.exit_code == 1
    assert "error:" in result.stderr


def test_numbers_can_be_told_apart():
    assert same_number(numbered(3), 3)
    assert not same_number(numbered(3), 5)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a[red]b;$(x)", b"new\nline", b"\x1b[31mred"])
def test_a_file_may_have_any_name_the_system_takes(tmp_path, name):
    video = tmp_path / (os.fsdecode(name) + ".mp4")
    write_numbered(tmp_path / "plain.mp4", NUM_FRAMES).rename(video)
    dets = tmp_path / "dets.txt"
    dets.write_text("1,-1,1,1,8,8,0.9\n")
    command = [sys.executable, "-m", "masa_cli", "track", "--dets", str(dets)]
    command += ["--association", "motion", "-o", str(tmp_path / "out")]
    command += ["--also", "coco,cvat,bdd,csv,yolo", "--json", "--", os.fsencode(video)]
    run = subprocess.run(command, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    written = [Path(path) for path in json.loads(run.stdout)["written"]]
    assert len(written) == 8
    assert all(path.exists() for path in written)
    json.loads((tmp_path / "out" / f"{video.stem}.coco.json").read_text())
    assert not (tmp_path / "x").exists()
    again = subprocess.run([*command[:-3], *command[-2:]], capture_output=True, check=False)
    assert again.returncode == 1  # exists already
    assert b"Traceback" not in again.stderr
    assert b"\x1b" not in again.stderr
