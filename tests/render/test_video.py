"""Videos that play everywhere, with each frame at its own time, byte for byte the same again."""

import os
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from masa_cli.errors import OutputError, SettingsError
from masa_cli.progress import RunProgress
from masa_cli.render.annotator import Annotator, DrawingSettings
from masa_cli.render.video import AnnotatedVideo, Preview, VideoWriter, check_display
from masa_cli.sources.video_file import VideoFile
from masa_cli.structures import Frame, Tracks, VideoInfo
from tests.sources.encoded import numbered, numbers, open_files, times, write_numbered

NTSC = Fraction(30000, 1001)


def info_of(width=64, height=48, rate=Fraction(25), tick=None):
    return VideoInfo("clip", width, height, rate, tick or 1 / rate)


def write(path, frames, info=None, **options):
    with VideoWriter(path, info or info_of(), **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def counting(num_frames, rate=Fraction(25), width=64, height=48):
    for index in range(num_frames):
        yield Frame(index, index / rate, numbered(index % 40, width, height))


def noisy(num_frames, width, height):
    rng = np.random.default_rng(0)
    for index in range(num_frames):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        image[: height // 2] = np.roll(image[:1], index, axis=1)  # something that moves
        yield Frame(index, Fraction(index, 25), image)


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(12), Fraction(1, 2), Fraction(240)])
def test_frames_and_their_rate_come_back_exactly(tmp_path: Path, rate: Fraction):
    path = write(tmp_path / "out.mp4", counting(40, rate), info_of(rate=rate))
    video = VideoFile(path)
    frames = list(video.frames())
    assert numbers(frames) == list(range(40))
    assert times(frames) == [index / rate for index in range(40)]
    assert (video.info.frame_rate, video.info.num_frames) == (rate, 40)


@pytest.mark.parametrize("tick", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 600)])
def test_frames_of_variable_length_keep_their_times(tmp_path: Path, tick: Fraction):
    ticks = [0, 1, 41, 100, 101, 9000, 9001, 9040]
    frames = [Frame(i, t * tick, numbered(i)) for i, t in enumerate(ticks)]
    path = write(tmp_path / "out.mp4", frames, info_of(tick=tick))
    assert times(VideoFile(path).frames()) == [t * tick for t in ticks]


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(10, 11), Fraction(1)])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, aspect: Fraction):
    info = replace(info_of(), pixel_aspect=aspect)
    path = write(tmp_path / "out.mp4", counting(3), info)
    assert VideoFile(path).info.pixel_aspect == aspect


def test_the_last_frame_lasts_as_long_as_the_rate_tells(tmp_path: Path):
    path = write(tmp_path / "out.mp4", counting(10))
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.duration * stream.time_base == Fraction(10, 25)


def test_browsers_can_play_it_while_it_loads(tmp_path: Path):
    path = write(tmp_path / "out.mp4", counting(3))
    assert boxes_of(path)[:1] == ["ftyp"]
    assert boxes_of(path).index("moov") < boxes_of(path).index("mdat")
    with av.open(str(path)) as video:
        (stream,) = video.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.profile == "High"
        assert stream.codec_context.codec_tag == "avc1"
        colours = stream.codec_context
        assert (colours.colorspace, colours.color_primaries, colours.color_trc) == (1, 1, 1)
        assert colours.color_range == 1


def test_fragments_begin_every_two_seconds_at_0_whatever_rate_is_stated(tmp_path: Path):
    # A recording of a browser: it states 1000 frames/s, and has 25.
    info = info_of(rate=Fraction(1000), tick=Fraction(1, 1000))
    path = write(tmp_path / "out.mp4", counting(150), info, fragmented=True)
    assert path.read_bytes().count(b"moof") == 3
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.start_time == 0
        packets = [packet for packet in container.demux(stream) if packet.size]
    keys = [packet.pts * packet.time_base for packet in packets if packet.is_keyframe]
    assert {0, 2, 4} <= {*keys}  # others are cuts within a fragment
    assert times(VideoFile(path).frames()) == [Fraction(index, 25) for index in range(150)]


def boxes_of(path):
    """The names of the outermost boxes (ISO 14496-12, section 4.2)."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return names


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 2), (33, 16), (32, 17), (63, 47)])
def test_an_odd_size_grows_by_one_and_nothing_is_scaled(tmp_path: Path, width: int, height: int):
    grey = np.random.default_rng(0).integers(0, 256, (height, width, 1), np.uint8)
    image = np.repeat(grey, 3, axis=2)
    frames = [Frame(0, Fraction(0), image)]
    path = write(tmp_path / "out.mp4", frames, info_of(width, height), crf=1)
    (frame,) = VideoFile(path).frames()
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    assert frame.image.shape == padded.shape
    # Noise is hard to encode, even at crf 1; anything rescaled differs by 80 in the mean.
    assert np.abs(frame.image.astype(int) - padded).mean() < 4


def test_colours_stay_as_they_are(tmp_path: Path):
    colours = [(230, 20, 20), (20, 230, 20), (20, 20, 230), (0, 0, 0), (255, 255, 255)]
    frames = [
        Frame(index, Fraction(index, 25), np.full((48, 64, 3), colour, np.uint8))
        for index, colour in enumerate(colours)
    ]
    path = write(tmp_path / "out.mp4", frames)
    for frame, colour in zip(VideoFile(path).frames(), colours, strict=True):
        np.testing.assert_allclose(frame.image.mean((0, 1)), colour, atol=5)  # two conversions


def test_a_lower_crf_is_better_and_bigger(tmp_path: Path):
    good = write(tmp_path / "good.mp4", noisy(5, 64, 48), crf=10)
    small = write(tmp_path / "small.mp4", noisy(5, 64, 48), crf=35)
    assert good.stat().st_size > 1.5 * small.stat().st_size


@pytest.mark.parametrize(("width", "height"), [(16, 16), (321, 241), (640, 360)])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, width: int, height: int):
    sound = write_numbered(tmp_path / "sound.mp4", 1, sound="aac")
    contents = {
        write(
            tmp_path / f"{name}.mp4",
            noisy(60, width, height),
            info_of(width, height),
            sound_from=sound,
        ).read_bytes()
        for name in ("one", "two", "three")
    }
    assert len(contents) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="sched_setaffinity, of Linux")
def test_the_number_of_processors_changes_no_byte(tmp_path: Path):
    processors = os.sched_getaffinity(0)
    many = write(tmp_path / "many.mp4", noisy(30, 320, 240), info_of(320, 240))
    try:
        os.sched_setaffinity(0, {min(processors)})
        one = write(tmp_path / "one.mp4", noisy(30, 320, 240), info_of(320, 240))
    finally:
        os.sched_setaffinity(0, processors)
    assert one.read_bytes() == many.read_bytes()


def test_what_was_in_memory_before_changes_no_byte(tmp_path: Path):
    """Code of x264 that reads past its rows would see other values (glibc fills them in)."""
    code = (
        "import sys; from pathlib import Path; from tests.render import test_video as t;"
        "t.write(Path(sys.argv[1]), t.noisy(60, 64, 48), t.info_of(64, 48))"
    )
    contents = set()
    for filling in ("1", "255"):
        memory = {"MALLOC_PERTURB_": filling, "MALLOC_MMAP_THRESHOLD_": str(10**9)}
        path = tmp_path / f"{filling}.mp4"
        subprocess.run(
            [sys.executable, "-c", code, path],
            cwd=Path(__file__).parents[2],
            env=os.environ | memory,
            check=True,
        )
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_name_is_given_at_a_clean_close(tmp_path: Path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an earlier result")
    with VideoWriter(path, info_of()) as writer:
        for frame in counting(3):
            writer.write(frame)
        assert path.read_bytes() == b"an earlier result"
        assert (tmp_path / "out.mp4.part").exists()
    assert numbers(VideoFile(path).frames()) == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_after_an_exception_the_part_plays(tmp_path: Path, error: type[BaseException]):
    sound = write_numbered(tmp_path / "sound.mp4", 1, sound="aac")
    path = tmp_path / "out.mp4"
    with suppress(error), VideoWriter(path, info_of(), sound_from=sound) as writer:
        for frame in counting(20):
            writer.write(frame)
            if frame.index == 7:
                raise error
    assert not path.exists()
    assert numbers(VideoFile(tmp_path / "out.mp4.part").frames()) == list(range(8))


def test_no_frames_make_an_empty_video(tmp_path: Path):
    assert write(tmp_path / "out.mp4", []).exists()


def test_a_file_may_have_any_name(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "%03d.mp4", "clip [red]#?.mp4"):
        assert numbers(VideoFile(write(Path(name), counting(2))).frames()) == [0, 1]


def test_a_folder_that_does_not_exist_is_explained(tmp_path: Path):
    with pytest.raises(OutputError, match=r"out\.mp4\.part cannot be written: No such file"):
        write(tmp_path / "none" / "out.mp4", [])


def test_a_name_that_is_taken_by_a_folder_is_explained(tmp_path: Path):
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write(tmp_path / "out.mp4", counting(1))


@pytest.mark.parametrize("num_bytes", [0, 100, 20_000])
def test_a_full_disk_is_explained(tmp_path: Path, caplog, num_bytes: int):
    path = tmp_path / "out.mp4"
    with full_after(num_bytes), pytest.raises(OutputError, match="cannot be written: File too la"):
        write(path, noisy(60, 160, 120), info_of(160, 120))
    assert not path.exists()
    if num_bytes and Path("/proc/self/fd").exists():  # else it is closed with the exception
        assert open_files(tmp_path / "out.mp4.part") == 0


@contextmanager
def full_after(num_bytes):
    """No file may grow beyond `num_bytes`, as on a disk without space."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_stopped_the_work_is_not_hidden_by_a_full_disk(tmp_path: Path, caplog):
    def use():
        with VideoWriter(tmp_path / "out.mp4", info_of(160, 120)) as writer:
            for frame in noisy(3, 160, 120):
                writer.write(frame)
            raise KeyboardInterrupt

    with full_after(500), pytest.raises(KeyboardInterrupt):
        use()
    assert "out.mp4.part cannot be written" in caplog.text


def test_mistakes_of_the_caller_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="frames need pictures"):
        VideoWriter(tmp_path / "out.mp4", info_of(width=0, height=0))
    with VideoWriter(tmp_path / "out.mp4", info_of()) as writer:
        with pytest.raises(ValueError, match="got 32x48"):
            writer.write(Frame(0, Fraction(0), numbered(0, width=32)))
        with pytest.raises(ValueError, match="1/7 s is no multiple of 1/25 s"):
            writer.write(Frame(0, Fraction(1, 7), numbered(0)))


class SlowWriter:
    """In place of a video: encodes a frame when it is let, or fails at one."""

    def __init__(self, fails_at=None):
        self.goes_on, self.written = threading.Event(), []
        self.fails_at, self.closed_with = fails_at, "open"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.closed_with = error

    def write(self, frame):
        assert self.goes_on.wait(20)
        if frame.index == self.fails_at:
            raise OutputError("disk full", fix="make room")
        self.written.append(frame.index)


def annotated(writer):
    return AnnotatedVideo(writer, Annotator(DrawingSettings()), tuple, RunProgress())


def draw_all(writer, frames, error=None):
    with annotated(writer) as video:
        for frame in frames:
            video.write(frame, Tracks.empty())
        if error:
            raise error


def test_frames_are_drawn_while_others_are_encoded():
    writer = SlowWriter()
    first, second, *rest = counting(6)
    with annotated(writer) as video:
        video.write(first, Tracks.empty())
        video.write(second, Tracks.empty())  # comes back, though nothing is encoded yet
        assert writer.written == []
        writer.goes_on.set()
        for frame in rest:
            video.write(frame, Tracks.empty())
    assert writer.written == list(range(6))
    assert writer.closed_with is None


def test_what_fails_while_encoding_is_raised_and_ends_the_video():
    writer = SlowWriter(fails_at=4)
    writer.goes_on.set()
    with pytest.raises(OutputError, match="disk full"):
        draw_all(writer, counting(5))
    assert writer.written == [0, 1, 2, 3]
    assert isinstance(writer.closed_with, OutputError)


def test_a_failure_elsewhere_keeps_what_was_drawn():
    writer = SlowWriter()
    writer.goes_on.set()
    with pytest.raises(KeyboardInterrupt):
        draw_all(writer, counting(3), KeyboardInterrupt())
    assert writer.written == [0, 1, 2]
    assert isinstance(writer.closed_with, KeyboardInterrupt)


@pytest.fixture
def window(monkeypatch):
    """Pictures that were shown; `key` is pressed, `visible` is 1 until it is closed."""

    class Window:
        shown, key, visible, closed = [], -1, 1.0, 0

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda _, image: Window.shown.append(image.copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda _: Window.key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: Window.visible)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(Window, "closed", 1))
    return Window


def show(watch):
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200  # red
    frame = Frame(0, Fraction(0), image)
    with Preview(Annotator(DrawingSettings()), ["car"], watch) as preview:
        preview.write(frame, Tracks.empty())


def test_frames_are_shown_in_the_order_of_colours_that_opencv_has(window):
    watch = RunProgress()
    show(watch)
    assert window.shown[0][0, 0].tolist() == [0, 0, 200]
    assert not watch.stop_requested
    assert window.closed


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0)])
def test_q_escape_and_closing_the_window_stop(window, key, visible):
    window.key, window.visible = key, visible
    watch = RunProgress()
    show(watch)
    assert watch.stop_requested


def test_an_opencv_without_windows_is_an_error(window, monkeypatch):
    def refuse(*_):
        error = cv2.error("The function is not implemented")
        error.err = "not implemented"
        raise error

    monkeypatch.setattr(cv2, "imshow", refuse)
    with pytest.raises(SettingsError, match="no window can be opened"):
        show(RunProgress())


def test_without_a_display_it_says_so(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(SettingsError, match="there is no display"):
        check_display()
    monkeypatch.setattr("sys.platform", "darwin")
    check_display()
