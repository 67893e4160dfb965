"""Values as the user writes them in options: rates, sizes, times, names and ids."""

from __future__ import annotations

from fractions import Fraction

from masa_cli.errors import SettingsError, UsageError


def parse_frame_rate(text: str | None) -> Fraction | None:
    """25, 29.97 or 30000/1001 as an exact fraction; SettingsError for anything else."""
    if text is None:
        return None
    try:
        frame_rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        frame_rate = Fraction(0)
    if frame_rate <= 0:
        raise SettingsError(
            f'--fps expects frames per second above 0, got "{text}"',
            fix="write a number such as 25, 29.97 or 30000/1001",
        )
    return frame_rate


def parse_size(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """1920x1080 as width and height; UsageError for anything else."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    numbers = [
        int(part) if part.isascii() and part.isdecimal() and len(part) < 6 else 0
        for part in (width, height)
    ]
    if not all(numbers):
        raise UsageError(
            f'{option} expects width x height in pixels, got "{text}"', fix="write it as 1920x1080"
        )
    return numbers[0], numbers[1]


def parse_time(text: str | None, option: str) -> Fraction | None:
    """Seconds in 90, 1:30 or 0:01:30.5; UsageError for anything else."""
    if text is None:
        return None
    seconds = Fraction(0)
    parts = text.split(":")
    try:
        for place, part in enumerate(parts):
            number = Fraction(part)
            if len(parts) > 3 or number < 0 or (place and number >= 60) or "/" in part:
                raise ValueError
            seconds = 60 * seconds + number
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f'{option} expects a time, got "{text}"',
            fix="write it in seconds (90.5), or as minutes or hours: 1:30, 0:01:30.5",
        ) from None
    return seconds


def parse_names(text: str) -> tuple[str, ...]:
    """The names in "car, bus", each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_ids(text: str) -> tuple[int, ...]:
    """The identities in "3,7"; UsageError for anything but whole numbers from 1."""
    names = parse_names(text)
    for name in names:
        if not (name.isascii() and name.isdecimal() and len(name) < 16 and int(name) >= 1):
            raise UsageError(f'expected ids from 1, got "{name}"', fix="write them as 3,7")
    return tuple(map(int, names))
