"""The sound of the source in the annotated video: the same sound at the same time."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import InvalidDataError

from masa_cli.render.soundtrack import Soundtrack
from masa_cli.render.video import VideoWriter
from masa_cli.sources.video_file import VideoFile
from masa_cli.structures import Frame, VideoInfo
from tests.sources.encoded import (
    RATE,
    RUSTLE,
    SOUND_RATE,
    numbered,
    numbers,
    open_files,
    packet_places,
    packets_of_sound,
    times,
    write_numbered,
)

TICK = Fraction(1, 1000)  # some containers count time in whole milliseconds
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}


def rewritten(path: Path, num_frames: int | None = None) -> Path:
    """The video written again, up to `num_frames`, with its sound."""
    video, target = VideoFile(path), path.with_name("rewritten.mp4")
    with VideoWriter(target, video.info, sound_from=path) as writer:
        for frame in video.frames():
            if frame.index == num_frames:
                break
            writer.write(frame)
    return target


def delay_of_sound(path: Path, start: float, at: float) -> float:
    """By how many seconds the sound at time `at` is later than `RUSTLE` from `start` on."""
    with av.open(str(path)) as video:
        samples = np.zeros(6 * SOUND_RATE)
        for frame in decoded(video):
            chunk = frame.to_ndarray()[0].astype(float)
            first = round(frame.pts * frame.time_base * SOUND_RATE)
            skipped = max(0, -first)
            samples[first + skipped : first + len(chunk)] = chunk[skipped:]
    length, reach = SOUND_RATE // 5, SOUND_RATE // 20
    begin = round((start + at) * SOUND_RATE)
    expected = RUSTLE[begin : begin + length].astype(float)
    first = round(at * SOUND_RATE) - reach
    match = np.correlate(samples[first : first + length + 2 * reach], expected)
    return (int(match.argmax()) - reach) / SOUND_RATE


def decoded(video):
    for packet in video.demux(audio=0):
        with suppress(InvalidDataError):
            yield from packet.decode()


def codec_of_sound(path: Path) -> str:
    with av.open(str(path)) as video:
        return video.streams.audio[0].codec_context.codec.canonical_name


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("aac.mp4", {"sound": "aac"}),
        ("aac.mkv", {"sound": "aac"}),
        ("ac3.ts", {"sound": "ac3"}),
        ("flac.mkv", {"sound": "flac"}),
        ("mp3.avi", {"sound": "libmp3lame", "codec": "mpeg4"}),
        ("opus.webm", {"sound": "libopus", "codec": "libvpx-vp9", "options": FAST_VP9}),
    ],
)
def test_sound_that_players_know_is_copied(tmp_path: Path, name: str, clip: dict):
    source = write_numbered(tmp_path / name, 25, **clip)
    target = rewritten(source)
    assert codec_of_sound(target) == name.partition(".")[0]
    expected, got = packets_of_sound(source), packets_of_sound(target)
    assert [data for _, data in got] == [data for _, data in expected]
    zero = expected[0][0] if name.endswith("ts") else 0  # a ts counts from where it likes
    for (time, _), (expected_time, _) in zip(got, expected, strict=True):
        assert abs(time - (expected_time - zero)) <= TICK


def test_aac_of_a_broadcast_is_copied_in_the_form_of_mp4(tmp_path: Path):
    source = write_numbered(tmp_path / "aac.ts", 25, sound="aac")
    expected, got = packets_of_sound(source), packets_of_sound(rewritten(source))
    assert [data for _, data in got] == [data[7:] for _, data in expected]  # less the ADTS header


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("pcm.avi", {"sound": "pcm_s16le", "codec": "mpeg4"}),
        ("pcm.mov", {"sound": "pcm_s16be"}),
        ("mp2.mkv", {"sound": "mp2"}),
    ],
)
def test_other_sound_becomes_aac(tmp_path: Path, name: str, clip: dict):
    source = write_numbered(tmp_path / name, 25, **clip)
    target = rewritten(source)
    assert codec_of_sound(target) == "aac"
    assert abs(delay_of_sound(target, start=0, at=0.5)) <= TICK
    last, _ = packets_of_sound(target)[-1]
    assert last + Fraction(1024, 48000) >= 1  # the end is there as well


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le"])
@pytest.mark.parametrize(("first_tick", "sound_from"), [(0, 0.5), (10, 0), (100, 4.5), (100, 3.8)])
def test_pictures_and_sound_stay_together(
    tmp_path: Path, sound: str, first_tick: int, sound_from: float
):
    ticks = list(range(first_tick, first_tick + 25))
    source = write_numbered(
        tmp_path / "late.mkv", 25, ticks=ticks, sound=sound, sound_from=sound_from, sound_to=5
    )
    target = rewritten(source)
    pictures_from = first_tick / RATE
    start = min(pictures_from, Fraction(sound_from))  # time 0 of the source and of its copy
    first = times(VideoFile(target).frames())[0]
    assert abs(first - (pictures_from - start)) < Fraction(1024, 48000) + TICK  # of AAC's lead-in
    lead_in = pictures_from - start - first
    heard = max(pictures_from, Fraction(sound_from)) - start + Fraction(1, 10)
    assert abs(delay_of_sound(target, float(start + lead_in), float(heard))) <= 2 * TICK


def test_pictures_after_the_sound_keep_their_exact_times(tmp_path: Path):
    rate = Fraction(30000, 1001)
    source = write_numbered(tmp_path / "a.mp4", 1, sound="aac")
    info = VideoInfo("a", 64, 48, rate, 1 / rate)
    frames = [Frame(index, (index + 7) / rate, numbered(index)) for index in range(5)]
    with VideoWriter(tmp_path / "b.mp4", info, sound_from=source) as writer:
        for frame in frames:
            writer.write(frame)
    assert times(VideoFile(tmp_path / "b.mp4").frames()) == times(frames)


@pytest.mark.parametrize(
    ("name", "clip"),
    [("a.mp4", {"sound": "aac"}), ("a.avi", {"sound": "pcm_s16le", "codec": "mpeg4"})],
)
@pytest.mark.parametrize("num_frames", [5, 25])
def test_sound_ends_with_the_pictures(tmp_path: Path, name: str, clip: dict, num_frames: int):
    source = write_numbered(tmp_path / name, 25, sound_to=5, **clip)
    last, _ = packets_of_sound(rewritten(source, num_frames))[-1]
    end = num_frames / RATE
    assert end - Fraction(1024, 48000) <= last < end


def test_sound_is_written_along_with_the_pictures(tmp_path: Path, monkeypatch):
    """Else a long video would wait in memory for the sound that belongs between its pictures."""
    written_until = []

    class Watched(Soundtrack):
        def write_until(self, time):
            written_until.append(time)
            super().write_until(time)

    monkeypatch.setattr("masa_cli.render.video.Soundtrack", Watched)
    rewritten(write_numbered(tmp_path / "a.mp4", 25, sound="aac"))
    assert written_until == [index / RATE for index in range(26)]


def test_sound_may_end_before_the_pictures(tmp_path: Path):
    source = write_numbered(tmp_path / "a.mp4", 25, sound="aac", sound_to=0.3)
    target = rewritten(source)
    assert len(packets_of_sound(target)) == len(packets_of_sound(source))
    assert numbers(VideoFile(target).frames()) == list(range(25))


def test_a_silent_video_stays_silent(tmp_path: Path, caplog):
    target = rewritten(write_numbered(tmp_path / "a.mp4", 3))
    with av.open(str(target)) as video:
        assert [stream.type for stream in video.streams] == ["video"]
    assert caplog.text == ""


def test_a_missing_source_of_sound_costs_the_sound_alone(tmp_path: Path, caplog):
    source = write_numbered(tmp_path / "a.mp4", 3, sound="aac")
    video, target = VideoFile(source), tmp_path / "target.mp4"
    with VideoWriter(target, video.info, sound_from=tmp_path / "none.mp4") as writer:
        for frame in video.frames():
            writer.write(frame)
    assert numbers(VideoFile(target).frames()) == [0, 1, 2]
    assert "none.mp4: its sound is left out from here on: " in caplog.text


@pytest.mark.parametrize(("sound", "lost"), [("mp2", True), ("aac", False)])
def test_damaged_sound_costs_the_sound_alone(tmp_path: Path, caplog, sound: str, lost: bool):
    source = write_numbered(tmp_path / "a.mkv", 25, sound=sound)
    with av.open(str(source)) as video:
        places = [(packet.pos, packet.size) for packet in video.demux(audio=0) if packet.size]
    with source.open("r+b") as file:
        for offset, size in places[20:30]:
            file.seek(offset + 6)  # past the number of the track, the time, the flags
            file.write(b"\xee" * (size - 6))
    target = rewritten(source)
    assert numbers(VideoFile(target).frames()) == list(range(25))
    assert abs(delay_of_sound(target, start=0, at=0.1)) <= TICK
    assert ("its sound is left out from here on" in caplog.text) == lost  # copies are not decoded


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc, to see open files")
def test_the_source_is_closed_with_the_video(tmp_path: Path):
    source = write_numbered(tmp_path / "a.mp4", 3, sound="aac")
    info = VideoFile(source).info
    with VideoWriter(tmp_path / "b.mp4", info, sound_from=source):
        assert open_files(source) == 1
    assert open_files(source) == 0


def test_a_cut_file_gives_the_sound_up_to_the_cut(tmp_path: Path):
    source = write_numbered(
        tmp_path / "a.mp4", 25, sound="aac", container={"movflags": "faststart"}
    )
    offset, _ = packet_places(source)[-3]
    content = source.read_bytes()
    source.write_bytes(content[:offset])
    target = rewritten(source)
    assert len(packets_of_sound(target)) > 0
    assert len(list(VideoFile(target).frames())) >= 20
