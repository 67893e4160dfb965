from fractions import Fraction
from types import SimpleNamespace

import pytest

from masa_cli.formats.clock import exact, time_zero


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
