"""masa track frame by frame: from standard input, to standard output, and killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from tests.clips import HEIGHT, WIDTH, image_at, write_clip

MASA = [sys.executable, "-m", "masa_cli"]
MOTION = ["--association", "motion"]
NUM_FRAMES = 150


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """The clip as MPEG-TS, and its detections."""
    monkeypatch.chdir(tmp_path)
    video, dets = write_clip(tmp_path, NUM_FRAMES)
    stream = tmp_path / "street.ts"
    with av.open(str(video)) as source, av.open(str(stream), "w") as target:
        pictures = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
    return stream, dets


def run(*arguments, data=b"", code=0):
    result = subprocess.run(
        [*MASA, *map(str, arguments)], input=data, capture_output=True, check=False, timeout=120
    )
    assert result.returncode == code, result.stderr.decode()
    return result


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def num_pictures(path):
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_video_on_standard_input_gives_the_results_of_a_live_run(clip):
    stream, dets = clip
    result = run(
        "track", "-", "--dets", dets, *MOTION, "-o", "piped", "--json", data=stream.read_bytes()
    )
    assert json.loads(result.stdout)["frames"] == NUM_FRAMES
    run("track", "street.mp4", "--dets", dets, *MOTION, "--no-refine", "-o", "file")
    piped, file = (Path(name, "tracks.jsonl").read_bytes() for name in ("piped", "file"))
    assert [line["boxes"] for line in lines(piped)] == [line["boxes"] for line in lines(file)]
    assert [line["ids"] for line in lines(piped)] == [line["ids"] for line in lines(file)]
    assert Path("piped/stdin.txt").read_bytes() == Path("file/street.txt").read_bytes()
    assert num_pictures("piped/stdin.mp4") == NUM_FRAMES


def test_lines_on_standard_output_are_those_of_the_file(clip):
    _, dets = clip
    result = run("track", "street.mp4", "--dets", dets, *MOTION, "--jsonl", "-", "-o", "out")
    assert result.stdout == Path("out/tracks.jsonl").read_bytes()
    assert len(lines(result.stdout)) == NUM_FRAMES


def test_lines_alone_need_no_files(clip):
    _, dets = clip
    options = ["--no-video", "--no-mot", "--no-jsonl", "--jsonl", "-"]
    result = run("track", "street.mp4", "--dets", dets, *MOTION, *options)
    assert len(lines(result.stdout)) == NUM_FRAMES
    assert not Path("street").exists()


def test_each_line_comes_as_soon_as_its_frame(clip):
    stream, dets = clip
    process = subprocess.Popen(
        [*MASA, "track", "-", "--dets", str(dets), *MOTION, "--jsonl", "-", "--no-video", "-q"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # or lines read ahead here would be lost to communicate()
    )
    data = stream.read_bytes()
    process.stdin.write(data[: len(data) * 2 // 3])
    process.stdin.flush()
    first = json.loads(process.stdout.readline())  # while the other third is not there yet
    assert first["frame"] == 0
    rest, _ = process.communicate(data[len(data) * 2 // 3 :], timeout=60)
    assert len(lines(rest)) == NUM_FRAMES - 1


def test_a_reader_that_leaves_ends_the_run_in_order(clip):
    stream, dets = clip
    process = subprocess.Popen(
        [*MASA, "track", "-", "--dets", str(dets), *MOTION, "--jsonl", "-", "-o", "out"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(stream.read_bytes())
    process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    messages = process.stderr.read().decode()
    assert process.wait(timeout=60) == 0, messages
    assert "Traceback" not in messages
    assert "BrokenPipe" not in messages
    assert Path("out/tracks.jsonl").exists()


def begun(clip):
    """A run that got most of its input and waits for more."""
    stream, dets = clip
    process = subprocess.Popen(
        [*MASA, "track", "-", "--dets", str(dets), *MOTION, "-o", "out"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    data = stream.read_bytes()
    process.stdin.write(data[: len(data) * 9 // 10])
    process.stdin.flush()
    deadline = time.monotonic() + 60
    spool = Path("out/tracks.jsonl.part")
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if spool.exists() and spool.read_bytes().count(b"\n") > 0.75 * NUM_FRAMES:
            return process
    raise AssertionError("nothing was tracked")


def test_ctrl_c_ends_a_live_run_with_complete_results(clip):
    process = begun(clip)
    os.kill(process.pid, signal.SIGINT)
    process.stdin = None  # stays open: the run must end by itself
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 0, messages
    tracked = lines(Path("out/tracks.jsonl").read_bytes())
    assert 50 < len(tracked) < NUM_FRAMES
    assert num_pictures("out/stdin.mp4") == len(tracked)
    assert not list(Path("out").glob("*.part"))


def test_a_kill_leaves_a_video_that_plays(clip):
    process = begun(clip)
    process.kill()
    process.wait()
    tracked = lines(Path("out/tracks.jsonl.part").read_bytes())
    shown = num_pictures("out/stdin.mp4.part")
    assert 50 <= shown <= len(tracked)
    assert Path("out/stdin.txt.part").exists()


@pytest.mark.parametrize(
    ("options", "problem", "code"),
    [
        (["--clean-up"], "--clean-up needs the whole video", 1),
        (["--min-track-length", "3"], "--min-track-length needs the whole video", 1),
        (["--save-embeddings", "--association", "hybrid"], "--save-embeddings needs the", 1),
        (["--resume"], "--resume goes on with the run of a file", 1),
        (["--json"], "both write to standard output", 2),
        (["--preview"], "there is no display", 1),
    ],
    ids=str,
)
def test_what_needs_the_whole_video_is_refused(clip, options, problem, code, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    _, dets = clip
    command = ["track", "street.mp4", "--dets", dets, *MOTION, "--jsonl", "-", "-o", "out"]
    result = run(*command, *options, code=code)
    assert problem in " ".join(result.stderr.decode().split())
    assert not Path("out").exists()
    assert not result.stdout


def test_standard_input_without_video_is_an_error(clip):
    _, dets = clip
    for data in (b"", b"text\n" * 100):
        result = run("track", "-", "--dets", dets, *MOTION, data=data, code=1)
        assert "standard input" in result.stderr.decode()


RAW = ["--video-size", f"{WIDTH}x{HEIGHT}"]


def raw_clip(num_frames=NUM_FRAMES, turn=1):
    return b"".join(image_at(index)[..., ::turn].tobytes() for index in range(num_frames))


@pytest.mark.parametrize(
    ("options", "turn"), [([], 1), (["--pixel-format", "bgr24"], -1)], ids=["rgb", "bgr"]
)
def test_raw_pictures_on_standard_input_give_the_results_of_the_file(clip, options, turn):
    _, dets = clip
    data = raw_clip(turn=turn)
    command = ["track", "-", *RAW, *options, "--fps", "25", "--dets", dets, *MOTION]
    result = run(*command, "-o", "raw", "--json", data=data)
    assert json.loads(result.stdout)["frames"] == NUM_FRAMES
    run("track", "street.mp4", "--dets", dets, *MOTION, "--jsonl", "-", "-o", "file")
    assert Path("raw/tracks.jsonl").read_bytes() == Path("file/tracks.jsonl").read_bytes()
    assert num_pictures("raw/stdin.mp4") == NUM_FRAMES
    with av.open("raw/stdin.mp4") as video:
        picture = next(video.decode(video=0)).to_ndarray(format="rgb24")
    assert (picture.shape[1], picture.shape[0]) == (WIDTH, HEIGHT)
    background = picture[-4:, -20:].astype(int)  # no box is there
    assert abs(background - 90).max() < 12


def test_each_line_comes_as_soon_as_its_raw_picture(clip):
    _, dets = clip
    process = subprocess.Popen(
        [*MASA, "track", "-", *RAW, "--dets", str(dets), *MOTION, "--jsonl", "-", "--no-video"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # or lines read ahead here would be lost to communicate()
    )
    data = raw_clip(20)
    half = len(data) // 2 + 1000  # within a picture
    process.stdin.write(data[:half])
    process.stdin.flush()
    # All lines but those of the few frames that are read ahead, while the others are not there yet.
    first = [json.loads(process.stdout.readline())["frame"] for _ in range(6)]
    assert first == list(range(6))
    rest, _ = process.communicate(data[half:], timeout=60)
    assert len(lines(rest)) == 14


def test_raw_pictures_that_end_within_one_are_kept_and_told(clip):
    _, dets = clip
    data = raw_clip(10)[:-1]
    result = run("track", "-", *RAW, "--dets", dets, *MOTION, "-o", "out", data=data)
    assert len(lines(Path("out/tracks.jsonl").read_bytes())) == 9
    message = " ".join(result.stderr.decode().split())
    assert "standard input is cut short: frame 8 is the last that could be read" in message


@pytest.mark.parametrize(
    ("source", "options", "problem", "code"),
    [
        ("-", [], "--video-size 640x480 --pixel-format rgb24", 1),
        ("-", ["--video-size", "9000x9000"], "9000x9000 pixels in rgb24 come", 1),
        ("-", ["--video-size", "99999x99999"], "99999x99999 pixels in rgb24 come", 1),
        (
            "-",
            ["--video-size", "640"],
            '--video-size expects width x height in pixels, got "640"',
            2,
        ),
        ("-", ["--pixel-format", "bgr24"], "but not the size of the raw pictures", 2),
        ("-", [*RAW, "--pixel-format", "rgb42"], 'unknown layout "rgb42"', 2),
        ("-", [*RAW, "--every", "2"], "this source is live", 1),
        ("street.mp4", RAW, "but the source is street.mp4", 2),
        ("0", RAW, "but the source is 0", 2),
        ("*.mp4", RAW, "but the source is street.mp4", 2),
    ],
    ids=str,
)
def test_raw_pictures_that_cannot_be_are_refused(clip, source, options, problem, code):
    _, dets = clip
    command = ["track", source, *options, "--dets", dets, *MOTION, "-o", "out"]
    result = run(*command, data=raw_clip(3), code=code)
    assert problem in " ".join(result.stderr.decode().split())
    assert not Path("out").exists()
