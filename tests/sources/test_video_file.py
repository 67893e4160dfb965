"""Every kind of video file that FFmpeg reads, as frames with exact times."""

import os
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from masa_cli.errors import SettingsError, SourceError
from masa_cli.sources import video_file
from masa_cli.sources.video_file import VideoFile, exact, time_zero
from tests.sources.encoded import (
    RATE,
    Clip,
    numbered,
    numbers,
    open_files,
    packet_places,
    times,
    turned,
    write_numbered,
)

NTSC = Fraction(30000, 1001)
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
KINDS = {
    "h264.mp4": {"codec": "libx264"},
    "h264.ts": {"codec": "libx264"},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"qmin": "1", "qmax": "3", "b": "5000000"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": FAST_VP9},
    "ffv1.mkv": {"codec": "ffv1"},
    "animation.gif": {"codec": "gif", "pix_fmt": "gray"},
}


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_come_in_order_with_their_times(tmp_path: Path, name: str):
    video = VideoFile(write_numbered(tmp_path / name, 12, **KINDS[name]))
    frames = list(video.frames())
    assert numbers(frames) == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    assert times(frames) == [index / RATE for index in range(12)]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    info = video.info
    assert (info.name, info.width, info.height) == (Path(name).stem, 64, 48)
    assert (info.frame_rate, info.num_frames) == (RATE, 12)
    assert all((time / info.time_base).denominator == 1 for time in times(frames))


def test_frame_rate_and_times_are_exact_fractions(tmp_path: Path):
    video = VideoFile(write_numbered(tmp_path / "ntsc.mp4", 12, rate=NTSC))
    assert video.info.frame_rate == NTSC
    assert times(video.frames()) == [index * Fraction(1001, 30000) for index in range(12)]


@pytest.mark.parametrize("name", ["h264.mp4", "ffv1.mkv", "animation.gif"])
def test_frames_of_variable_length_keep_their_own_times(tmp_path: Path, name: str):
    ticks = [0, 40, 50, 500, 510]
    path = write_numbered(
        tmp_path / name, 5, time_base=Fraction(1, 1000), ticks=ticks, **KINDS[name]
    )
    assert times(VideoFile(path).frames()) == [Fraction(tick, 1000) for tick in ticks]


def test_times_count_from_the_sound_where_it_comes_first(tmp_path: Path):
    path = write_numbered(tmp_path / "late.mp4", 5, ticks=[10, 11, 12, 13, 14], sound="aac")
    assert times(VideoFile(path).frames()) == [tick / RATE for tick in range(10, 15)]


def test_times_count_from_the_pictures_where_they_come_first(tmp_path: Path):
    path = write_numbered(tmp_path / "late.ts", 3, ticks=[250, 251, 252])  # a piece of a broadcast
    assert times(VideoFile(path).frames()) == [0, 1 / RATE, 2 / RATE]


def test_frames_without_times_follow_at_the_frame_rate(tmp_path: Path):
    path = write_numbered(tmp_path / "bare.h264", 6, format="h264")
    frames = list(VideoFile(path).frames())
    assert numbers(frames) == list(range(6))
    assert times(frames) == [index / RATE for index in range(6)]


def test_two_frames_at_one_time_are_a_tick_apart(tmp_path: Path):
    path = write_numbered(tmp_path / "twice.mkv", 4, codec="ffv1", ticks=[0, 1, 1, 2])
    assert times(VideoFile(path).frames()) == [Fraction(t, 1000) for t in (0, 40, 41, 80)]


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("bt709.mp4", {"matrix": 1}),
        ("bt601.mp4", {"matrix": 5}),
        ("full_range.mp4", {"matrix": 1, "range": 2}),
        ("full_range.avi", {"codec": "mjpeg", "pix_fmt": "yuvj444p"}),
        ("untagged.mkv", {"codec": "ffv1"}),
        ("rgb.mkv", {"codec": "ffv1", "pix_fmt": "bgr0"}),
    ],
)
def test_colours_are_rgb_whatever_the_file_stores(tmp_path: Path, name: str, clip: dict):
    colours = [(230, 20, 20), (20, 230, 20), (20, 20, 230), (0, 0, 0), (255, 255, 255)]
    images = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    path = Clip(images, **clip).write(tmp_path / name)
    for frame, colour in zip(VideoFile(path).frames(), colours, strict=True):
        # Lossy codecs and two conversions cost a few levels; a wrong matrix costs over 20.
        np.testing.assert_allclose(frame.image.mean((0, 1)), colour, atol=5)


def test_grey_pictures_become_rgb(tmp_path: Path):
    path = write_numbered(tmp_path / "grey.mkv", 2, codec="ffv1", pix_fmt="gray")
    for number, frame in enumerate(VideoFile(path).frames()):
        np.testing.assert_array_equal(frame.image, numbered(number))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 11), (33, 2)])
def test_any_size_is_kept(tmp_path: Path, width: int, height: int):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    path = Clip([image], codec="ffv1", pix_fmt="bgr0").write(tmp_path / "small.mkv")
    (frame,) = VideoFile(path).frames()
    np.testing.assert_array_equal(frame.image, image)


@pytest.mark.parametrize("quarter_turns", range(4))
def test_pictures_are_turned_upright(tmp_path: Path, quarter_turns: int):
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :16] = 255  # a white corner, top left
    upright[:16, 48:] = 120  # a grey one, top right
    stored = np.ascontiguousarray(np.rot90(upright, quarter_turns))  # counter-clockwise
    path = Clip([stored] * 3).write(tmp_path / "phone.mp4")
    video = VideoFile(turned(path, quarter_turns))
    assert (video.info.width, video.info.height) == (64, 32)
    for frame in video.frames():
        assert frame.image.flags.c_contiguous
        np.testing.assert_allclose(frame.image.astype(int), upright, atol=25)  # edges ring


def test_pictures_of_another_size_are_scaled_to_the_first(tmp_path: Path):
    path = tmp_path / "joined.mjpeg"
    parts = [
        Clip([numbered(3, width, height)], codec="mjpeg", pix_fmt="yuvj420p", format="mjpeg")
        for width, height in ((64, 48), (32, 24))
    ]
    path.write_bytes(b"".join(part.write(tmp_path / "part").read_bytes() for part in parts))
    frames = list(VideoFile(path).frames())
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 2
    assert numbers(frames) == [3, 3]


@pytest.mark.parametrize("start", [0, 1, 7, 11, 12, 40])
def test_a_later_start_gives_the_same_frames(tmp_path: Path, start: int):
    path = write_numbered(tmp_path / "video.mp4", 12, ticks=[*range(6), *range(60, 66)])
    expected, frames = list(VideoFile(path).frames())[start:], list(VideoFile(path).frames(start))
    assert [f.index for f in frames] == [f.index for f in expected] == list(range(start, 12))
    assert times(frames) == times(expected)
    for one, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_it_can_be_read_twice_at_once(tmp_path: Path):
    video = VideoFile(write_numbered(tmp_path / "video.mp4"))
    pairs = list(zip(video.frames(), video.frames(), strict=True))
    assert [numbers(pair) for pair in pairs] == [[number, number] for number in range(12)]


def test_the_frame_count_is_estimated_where_the_file_states_a_duration(tmp_path: Path):
    assert VideoFile(write_numbered(tmp_path / "a.mkv", 12)).info.num_frames == 12
    assert VideoFile(write_numbered(tmp_path / "a.h264", 12)).info.num_frames is None


@pytest.mark.parametrize("name", ["12:30.mp4", "%03d.mp4", "clip [red]#?.mp4", "Straße 東京.mp4"])
def test_a_file_may_have_any_name(tmp_path: Path, monkeypatch, name: str):
    write_numbered(tmp_path / "video.mp4", 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert numbers(VideoFile(Path(name)).frames()) == [0, 1]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc, to see open files")
def test_the_file_is_open_only_while_it_is_read(tmp_path: Path):
    path = write_numbered(tmp_path / "video.mp4")
    video = VideoFile(path)
    assert open_files(path) == 0
    frames = video.frames()
    next(frames)
    assert open_files(path) == 1
    frames.close()
    assert open_files(path) == 0
    list(video.frames())
    assert open_files(path) == 0


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "mjpeg.avi", "ffv1.mkv"])
def test_a_cut_file_gives_the_frames_before_the_cut(tmp_path: Path, caplog, capfd, name: str):
    extra = {"container": {"movflags": "faststart"}} if name.endswith("mp4") else {}
    path = write_numbered(tmp_path / name, 30, **KINDS[name] | extra)
    offset, size = packet_places(path)[14]  # in the order of decoding
    os.truncate(path, offset + size // 2)
    frames = list(VideoFile(path).frames())
    shown = numbers(frames)
    # Half a packet may make half a picture; what B-frames are still to come before is missing.
    assert shown[:12] == list(range(12))
    assert len(frames) in (14, 15)
    assert times(frames)[:12] == [index / RATE for index in range(12)]
    assert path.name in caplog.text
    assert f"frame {len(frames) - 1} " in caplog.text
    assert capfd.readouterr().err == ""  # FFmpeg says nothing of its own


def test_a_file_cut_between_two_frames_is_noticed(tmp_path: Path, caplog):
    path = write_numbered(tmp_path / "cut.mkv", 40, codec="ffv1")
    os.truncate(path, packet_places(path)[20][0])
    assert numbers(VideoFile(path).frames()) == list(range(20))
    assert "lasts 1.6 s by its header, but frame 19 at 0.8 s is its last picture" in caplog.text


def test_a_whole_file_gives_no_warning(tmp_path: Path, caplog):
    for name, kind in KINDS.items():
        list(VideoFile(write_numbered(tmp_path / name, 30, **kind)).frames())
    assert caplog.text == ""


def test_frames_held_back_are_given_when_the_container_ends_in_an_error(
    tmp_path: Path, monkeypatch, caplog
):
    """As on a disk that fails: what was read before is still decoded to its end."""
    path = write_numbered(tmp_path / "video.mp4", 20)
    monkeypatch.setattr(video_file, "_opened", failing_after(10, video_file._opened))
    assert len(list(VideoFile(path).frames())) == 10
    assert "frame 9 is the last that could be read" in caplog.text


def failing_after(num_packets, opened):
    @contextmanager
    def failing(path, number):
        def demux(stream):
            for count, packet in enumerate(container.demux(stream)):
                if count == num_packets:
                    raise av.error.OSError(5, "Input/output error")
                yield packet

        with opened(path, number) as (container, stream):
            facts = {"streams": container.streams, "format": container.format, "duration": None}
            yield SimpleNamespace(demux=demux, **facts), stream

    return failing


def test_a_damaged_frame_is_left_out_and_the_others_keep_their_times(tmp_path: Path, caplog):
    path = write_numbered(tmp_path / "video.mp4", 20, options={"g": "1"})  # each frame for itself
    offset, size = packet_places(path)[8]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)
    frames = list(VideoFile(path).frames())
    intact = [number for number in range(20) if number != 8]
    assert numbers(frames) == intact
    assert times(frames) == [number / RATE for number in intact]
    assert [frame.index for frame in frames] == list(range(19))
    assert "damaged packets skipped: 1" in caplog.text


def test_damage_looks_the_same_from_every_start(tmp_path: Path):
    path = write_numbered(tmp_path / "video.mp4", 40)
    damage = np.random.default_rng(0)
    with path.open("r+b") as file:
        for offset, size in packet_places(path)[5::6]:
            file.seek(offset + size // 2)
            file.write(damage.bytes(10))
    whole, tail = list(VideoFile(path).frames()), list(VideoFile(path).frames(20))
    assert times(tail) == times(whole)[20:]
    for one, other in zip(whole[20:], tail, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def sound_only(folder: Path) -> Path:
    path = folder / "song.mp4"
    with av.open(str(path), "w") as output:
        Clip([], sound="aac")._mux_sound(output, output.add_stream("aac", rate=48000))
    return path


def headers_only(folder: Path) -> Path:
    return Clip([], codec="mpeg4").write(folder / "empty.avi")


def index_lost(folder: Path) -> Path:
    path = write_numbered(folder / "killed.mp4")  # its index is at the end
    os.truncate(path, path.stat().st_size // 2)
    return path


def written(name: str, content: bytes):
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (written("notes.mp4", b"This is not a video.\n" * 50), "cannot be read as a video"),
        (written("nothing.mp4", b""), "nothing.mp4 is empty"),
        (written("noise.avi", bytes(range(256)) * 20), "cannot be read as a video"),
        (index_lost, "cannot be read as a video"),
        (sound_only, "has no pictures"),
        (headers_only, "no frame that can be read|no pictures"),
    ],
)
def test_what_is_no_video_is_refused_at_once(tmp_path: Path, make, problem: str):
    path = make(tmp_path)
    with pytest.raises(SourceError, match=problem) as refused:
        VideoFile(path)
    assert str(path) in refused.value.problem
    assert "\n" not in refused.value.problem


def test_the_cover_of_a_song_is_no_video(tmp_path: Path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("libmp3lame", rate=48000)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(numbered(1), format="rgb24").reformat(
            format="yuvj420p"
        )
        output.mux(cover.encode(picture))
        output.mux(cover.encode(None))
        Clip([])._mux_sound(output, sound)
    with pytest.raises(SourceError, match="has no pictures"):
        VideoFile(path)


def test_a_text_is_no_video_although_ffmpeg_can_paint_it(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("1,-1,0,0,5,5,1\n" * 100)
    with pytest.raises(SourceError, match=r"dets.txt is a text file, not a video"):
        VideoFile(path)


def test_a_title_that_is_no_text_does_not_matter(tmp_path: Path):
    path = write_numbered(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    assert b"Lavf" in data  # who wrote it, the only text there is
    path.write_bytes(data.replace(b"Lavf", b"L\xe9vf"))
    assert numbers(VideoFile(path).frames()) == [0, 1, 2]


def stream(start_time, time_base):
    return SimpleNamespace(start_time=start_time, time_base=time_base)


def container(*, video=(), audio=()):
    return SimpleNamespace(streams=SimpleNamespace(video=video, audio=audio))


def test_a_rational_of_any_type_can_be_calculated_with():
    ntsc = exact(SimpleNamespace(numerator=30000, denominator=1001))  # as PyAV 19 gives it
    assert ntsc * 2 == Fraction(60000, 1001)
    assert isinstance(exact(Fraction(1, 25)), Fraction)


@pytest.mark.parametrize(
    ("video", "audio", "zero"),
    [
        ([], [], 0),
        ([stream(50, Fraction(1, 25))], [], 2),
        ([stream(50, Fraction(1, 25))], [stream(1500, Fraction(1, 1000))], Fraction(37, 25)),
        ([stream(50, Fraction(1, 25))], [stream(None, Fraction(1, 1000))], 2),
    ],
)
def test_a_video_starts_with_its_first_stream_on_a_whole_tick(video, audio, zero):
    assert time_zero(container(video=video, audio=audio), Fraction(1, 25)) == zero


def test_a_frame_rate_that_is_given_counts_instead_of_the_times_of_the_file(tmp_path: Path):
    path = write_numbered(tmp_path / "a.mp4", 5)
    video = VideoFile(path, Fraction(10))
    assert times(video.frames()) == [Fraction(index, 10) for index in range(5)]
    info = video.info
    assert (info.frame_rate, info.num_frames, info.has_sound) == (10, 5, False)
    assert VideoFile(path).info.has_sound


def test_a_stream_without_a_container_has_the_rate_that_its_pictures_tell(tmp_path: Path, caplog):
    path = write_numbered(tmp_path / "a.h264", 5, rate=Fraction(10))
    video = VideoFile(path)
    assert video.info.frame_rate == 10  # FFmpeg itself says 25
    assert times(video.frames()) == [Fraction(index, 10) for index in range(5)]
    assert caplog.text == ""


def test_a_rate_that_nobody_tells_is_said(tmp_path: Path, monkeypatch, caplog):
    path = write_numbered(tmp_path / "a.h264", 5, rate=Fraction(10))
    monkeypatch.setattr(video_file, "_own_rate", lambda stream: None)  # as without VUI timing
    assert VideoFile(path, Fraction(5)).info.frame_rate == 5
    assert caplog.text == ""
    assert VideoFile(path).info.frame_rate == 25
    assert "a.h264 tells no frame rate: 25 frames/s were taken" in caplog.text


@pytest.fixture
def two_streams(tmp_path: Path) -> Path:
    """A file with two streams of pictures, 64 x 48 and 32 x 24."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=RATE) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 64 >> number, 48 >> number, "yuv420p"
        for index in range(4):
            for number, stream in enumerate(streams):
                image = numbered(index + 10 * number, stream.width, stream.height)
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture.pts, picture.time_base = index, 1 / RATE
                output.mux(stream.encode(picture))
        for stream in streams:
            output.mux(stream.encode(None))
    return path


def test_of_several_streams_the_first_is_read_and_it_is_said(two_streams: Path, caplog):
    video = VideoFile(two_streams)
    assert numbers(video.frames()) == [0, 1, 2, 3]
    assert "2 video streams (0: 64 x 48, 1: 32 x 24); stream 0 is read" in caplog.text


def test_another_stream_is_read_where_it_is_asked_for(two_streams: Path, caplog):
    video = VideoFile(two_streams, number=1)
    assert (video.info.width, video.info.height) == (32, 24)
    assert numbers(video.frames()) == [10, 11, 12, 13]
    assert caplog.text == ""
    with pytest.raises(SettingsError, match=r"--stream 2: .* has 2 video streams"):
        VideoFile(two_streams, number=2)


def with_header(path: Path, **of_stream) -> Path:
    """A video whose stream has these attributes."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for name, value in of_stream.items():
            setattr(stream if name == "sample_aspect_ratio" else stream.codec_context, name, value)
        for index in range(3):
            picture = av.VideoFrame.from_ndarray(numbered(index), format="rgb24")
            picture.pts, picture.time_base = index, 1 / RATE
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("quarter_turns", "aspect"), [(0, (4, 3)), (1, (3, 4)), (2, (4, 3))])
def test_pixels_that_are_not_square_are_told_as_they_are_shown(tmp_path, quarter_turns, aspect):
    path = with_header(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(4, 3))
    turned(path, quarter_turns)
    assert VideoFile(path).info.pixel_aspect == Fraction(*aspect)


def test_pixels_are_square_where_the_file_does_not_tell(tmp_path: Path):
    assert VideoFile(write_numbered(tmp_path / "a.mp4", 2)).info.pixel_aspect == 1


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_that_is_not_mapped_is_said(tmp_path: Path, caplog, transfer, name):
    VideoFile(with_header(tmp_path / "a.mp4", color_trc=transfer))
    assert f"a.mp4 is HDR ({name}): its colours are not mapped" in caplog.text


def test_grey_of_more_than_8_bits_is_said(tmp_path: Path, caplog):
    VideoFile(write_numbered(tmp_path / "a.mkv", 2, codec="ffv1", pix_fmt="gray16le"))
    assert "a.mkv has more than 8 bits of grey: the upper 8 are read" in caplog.text
