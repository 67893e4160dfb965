from fractions import Fraction

import pytest
from PIL import Image

from masa_cli.errors import SettingsError, SourceError, UsageError
from masa_cli.jobs.inputs import excerpt_of
from masa_cli.settings import parse_time
from masa_cli.sources import open_source
from masa_cli.sources.excerpt import Excerpt, Span, Timeline
from tests.sources.encoded import numbered, numbers, times, write_numbered


@pytest.fixture
def video(tmp_path):
    """Twelve frames at 25 frames/s that count up."""
    return open_source(write_numbered(tmp_path / "a.mp4"))


def part(video, start="0", end=None, every=1):
    return Excerpt(video, Span(Fraction(start), end and Fraction(end), every))


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({}, list(range(12))),
        ({"start": "0.2"}, [5, 6, 7, 8, 9, 10, 11]),
        ({"start": "0.19"}, [5, 6, 7, 8, 9, 10, 11]),
        ({"start": "0.2", "end": "0.32"}, [5, 6, 7]),
        ({"every": 5}, [0, 5, 10]),
        ({"start": "0.08", "end": "0.4", "every": 3}, [2, 5, 8]),
        ({"end": "99"}, list(range(12))),
    ],
    ids=str,
)
def test_the_frames_of_the_part_count_from_0(video, span, expected):
    excerpt = part(video, **span)
    frames = list(excerpt.frames())
    assert numbers(frames) == expected
    assert [frame.index for frame in frames] == list(range(len(expected)))
    assert [excerpt.in_whole(frame.index) for frame in frames] == expected
    assert excerpt.info.num_frames == pytest.approx(len(expected), abs=1)
    later = list(part(video, **span).frames(1))
    assert numbers(later) == expected[1:]
    assert [frame.index for frame in later] == list(range(1, len(expected)))


def test_times_begin_with_0_on_the_clock_of_the_whole(video):
    excerpt = part(video, "0.21", every=2)
    frames = list(excerpt.frames())
    assert numbers(frames) == [6, 8, 10]
    assert excerpt.info.frame_rate == Fraction(25, 2)
    tick = excerpt.info.time_base
    assert all(time % tick == 0 for time in times(frames))
    assert times(frames)[0] < Fraction(1, 25)
    assert times(frames)[1] - times(frames)[0] == Fraction(2, 25)


def test_frames_that_nobody_wants_are_not_made_into_images(video, monkeypatch):
    made = []
    image = type(video._upright).image
    monkeypatch.setattr(type(video._upright), "image", lambda *args: made.append(1) or image(*args))
    assert len(list(part(video, "0.2", every=3).frames())) == 3
    assert len(made) == 3


def test_a_part_that_begins_after_the_end_is_an_error(video):
    with pytest.raises(SourceError, match="a ends before 7 s"):
        list(part(video, "7").frames())


def test_folders_and_timelines_have_parts_too(tmp_path):
    for number in range(6):
        Image.fromarray(numbered(number)).save(tmp_path / f"{number}.png")
    folder = open_source(tmp_path, frame_rate=Fraction(10))
    assert numbers(part(folder, "0.2", "0.5").frames()) == [2, 3, 4]
    assert len(list(part(Timeline("dets", 9, Fraction(10)), "0.2", every=2).frames())) == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1:30", 90), ("0:01:30.5", Fraction(181, 2)), ("0", 0), ("100:00", 6000)],
)
def test_times_may_be_written_in_several_ways(text, seconds):
    assert parse_time(text, "--start") == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:60", "a", "1:2:3:4", "1/0", "nan", "1:-2"])
def test_what_is_no_time_is_a_usage_error(text):
    with pytest.raises(UsageError, match="--start expects a time"):
        parse_time(text, "--start")


def test_options_that_cannot_be(video):
    assert excerpt_of(video, None, None, 1) is video
    with pytest.raises(UsageError, match="--end is not after --start"):
        excerpt_of(video, "5", "1", 1)

    class Live:
        newest_only = True

    with pytest.raises(SettingsError, match="this source is live"):
        excerpt_of(Live(), "5", None, 1)
