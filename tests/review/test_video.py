"""Which videos browsers play as they are, and what is made of others."""

import os
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from masa_cli.errors import SourceError
from masa_cli.render.video import VideoWriter
from masa_cli.review.video import _if_played, playable
from masa_cli.sources import open_source
from masa_cli.structures import Frame, VideoInfo
from tests.clips import write_clip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/masa/review"


def write_video(path, times, size=(32, 16), every=None):
    info = VideoInfo("v", *size, Fraction(25), Fraction(1, 100), len(times))
    with VideoWriter(path, info, key_every=every) as writer:
        for index, time in enumerate(times):
            image = np.full((size[1], size[0], 3), 2 * index, np.uint8)
            writer.write(Frame(index, Fraction(time).limit_denominator(100), image))


def test_h264_from_0_is_played_as_it_is(tmp_path, cache):
    video, _ = write_clip(tmp_path, 10)
    found = playable(video)
    assert (found.path, found.type, found.width, found.height) == (video, "video/mp4", 96, 64)
    np.testing.assert_allclose(found.times, np.arange(10) / 25)
    assert not cache.exists()


def test_its_times_are_those_that_masa_counts(tmp_path):
    video = tmp_path / "v.mp4"
    write_video(video, [0, 0.04, 0.1, 0.5, 0.51])
    own = [float(frame.time) for frame in open_source(video).frames()]
    np.testing.assert_allclose(playable(video).times, own)


class Opened:
    """What is in a container, and what it has, as long as it is open."""

    def __init__(self, inner, is_closed=lambda: False):
        self._inner, self._is_closed = inner, is_closed

    def __enter__(self):
        self._closed = False
        self._inner.__enter__()
        self.streams = SimpleNamespace(
            video=[Opened(each, lambda: self._closed) for each in self._inner.streams.video]
        )
        return self

    def __exit__(self, *error):
        self._closed = True
        return self._inner.__exit__(*error)

    def __getattr__(self, name):
        assert not self._is_closed(), f"{name} of a file that is closed"
        return getattr(self._inner, name)

    def demux(self, stream):
        return self._inner.demux(stream._inner)


def test_nothing_is_asked_of_a_file_that_is_closed(tmp_path, monkeypatch):
    """Its memory is used for something else by then: times were billions of seconds."""
    video, _ = write_clip(tmp_path, 10)
    own = av.open
    source = open_source(video)
    monkeypatch.setattr("masa_cli.review.video.av.open", lambda path: Opened(own(path)))
    times, _ = _if_played(video, source)
    np.testing.assert_allclose(times, np.arange(10) / 25)


def test_a_late_start_is_made_anew_and_begins_at_0(tmp_path, cache):
    """Browsers differ in what they make of it."""
    video = tmp_path / "v.mp4"
    write_video(video, [0.2, 0.24, 0.3])
    found = playable(video)
    assert found.path.parent == cache
    np.testing.assert_allclose(found.times, [0, 0.04, 0.1])
    again = [float(frame.time) for frame in open_source(found.path).frames()]
    np.testing.assert_allclose(again, [0, 0.04, 0.1], atol=1e-9)


def test_pictures_that_come_quickly_are_known_where_they_are_rare(tmp_path):
    times = [Fraction(index, 25) for index in range(90)]
    for every in (40, 10):
        video = tmp_path / f"{every}.mp4"
        write_video(video, times, every=every)
        with av.open(str(video)) as file:
            keys = [frame.time for frame in file.decode(video=0) if frame.key_frame]
        assert len(keys) == (3 if every == 40 else 10)
        np.testing.assert_allclose(playable(video).keys, keys if every == 40 else [])


def test_another_ending_is_made_anew_once(tmp_path, cache):
    video, _ = write_clip(tmp_path, 10)
    other = video.rename(video.with_suffix(".mkv"))
    done = []
    made = playable(other, progress=done.append)
    assert done == list(range(1, 11))
    assert playable(other, progress=done.append).path == made.path
    assert len(done) == 10
    np.testing.assert_allclose(made.times, np.arange(10) / 25, atol=1e-3)


def test_a_video_that_was_replaced_is_made_again(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (32, 16)).save(folder / f"{index}.png")
    first = playable(folder)
    assert len(first.times) == 3
    os.remove(folder / "2.png")
    assert len(playable(folder).times) == 2


def test_a_broken_run_leaves_no_video(tmp_path, cache):
    video, _ = write_clip(tmp_path, 10)
    other = video.rename(video.with_suffix(".mkv"))

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        playable(other, progress=stop)
    assert len(playable(other).times) == 10


def test_what_is_no_video_is_an_error(tmp_path):
    (tmp_path / "v.mp4").write_text("no video")
    with pytest.raises(SourceError):
        playable(tmp_path / "v.mp4")
