"""Bare pictures: every layout gives the colours that were put in, every number of bytes an end."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from masa_cli.errors import SettingsError, SourceError
from masa_cli.sources import is_live, open_any
from masa_cli.sources.raw_pictures import PIXEL_FORMATS, RawPictures

WIDTH, HEIGHT = 62, 46  # FFmpeg pads the lines of such pictures; a pipe has no padding
OPEN = av.open
UPPER, LOWER = (200, 40, 90), (30, 170, 220)


def picture(number=0):
    """Two colours, and a corner that moves to the right with the number."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2], image[HEIGHT // 2 :] = UPPER, LOWER
    image[:8, 8 * number : 8 * number + 8] = 255
    return image


def raw_bytes(images, pixel_format):
    """The images as FFmpeg's own rawvideo encoder lays them out."""
    encoder = av.CodecContext.create("rawvideo", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, pixel_format
    encoder.time_base = Fraction(1, 25)
    data = b""
    for number, image in enumerate(images):
        frame = VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        data += b"".join(bytes(packet) for packet in encoder.encode(frame))
    return data


def pipe(monkeypatch, data):
    monkeypatch.setattr(
        "masa_cli.sources.live.av.open",
        lambda _, **options: OPEN(io.BytesIO(data), **options),
    )


def source_of(monkeypatch, data, pixel_format="rgb24", frame_rate=None):
    """As from standard input, whose file descriptor the test does not have."""
    pipe(monkeypatch, data)
    raw = RawPictures(WIDTH, HEIGHT, pixel_format)
    return open_any("-", raw=raw, frame_rate=frame_rate)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
def test_every_layout_gives_the_colours_that_were_put_in(monkeypatch, pixel_format):
    data = raw_bytes([picture(number) for number in range(3)], pixel_format)
    source = source_of(monkeypatch, data, pixel_format)
    frames = list(source.frames())
    assert len(frames) == 3
    grey = pixel_format.startswith("gray")
    for number, frame in enumerate(frames):
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        for row, colour in ((14, UPPER), (HEIGHT - 6, LOWER)):
            seen = frame.image[row, 30].astype(float)
            # 601 weights of brightness; chroma of half the lines costs a few levels.
            expected = np.full(3, np.dot(colour, (0.299, 0.587, 0.114))) if grey else colour
            assert np.allclose(seen, expected, atol=6), (pixel_format, seen)
        assert frame.image[2, 8 * number + 3].min() > 230


def test_rgb_and_bgr_are_those_very_bytes(monkeypatch):
    images = [picture(number) for number in range(4)]
    for pixel_format, turn in (("rgb24", 1), ("bgr24", -1)):
        data = b"".join(image[..., ::turn].tobytes() for image in images)
        frames = list(source_of(monkeypatch, data, pixel_format).frames())
        assert all(
            np.array_equal(frame.image, image) for frame, image in zip(frames, images, strict=True)
        )


def test_grey_is_those_very_bytes(monkeypatch):
    ramp = np.resize(np.arange(256, dtype=np.uint8), (HEIGHT, WIDTH))
    [frame] = source_of(monkeypatch, ramp.tobytes(), "gray").frames()
    assert np.array_equal(frame.image, np.repeat(ramp[..., None], 3, axis=2))


def test_times_count_in_the_frame_rate(monkeypatch):
    data = raw_bytes([picture()] * 3, "rgb24")
    source = source_of(monkeypatch, data, frame_rate=Fraction(30000, 1001))
    assert source.info.frame_rate == Fraction(30000, 1001)
    assert [frame.time * 30000 for frame in source.frames()] == [0, 1001, 2002]
    assert source_of(monkeypatch, data).info.frame_rate == 30
    assert is_live(source)
    assert (source.info.name, source.info.num_frames) == ("stdin", None)


def test_a_last_picture_that_is_cut_short_is_told_and_left_out(monkeypatch, caplog):
    data = raw_bytes([picture(0), picture(1), picture(2)], "rgb24")
    frames = list(source_of(monkeypatch, data[:-100]).frames())
    assert len(frames) == 2
    assert "standard input is cut short: frame 1 is the last that could be read" in caplog.text


@pytest.mark.parametrize("size", [0, 1, WIDTH * HEIGHT * 3 - 1])
def test_less_than_one_picture_is_an_error(monkeypatch, size):
    with pytest.raises(SourceError, match="standard input") as caught:
        source_of(monkeypatch, bytes(size))
    assert "62x46 pixels in rgb24" in caught.value.fix


def test_bytes_without_container_or_size_lead_to_the_options(monkeypatch):
    data = raw_bytes([picture()] * 3, "rgb24")
    pipe(monkeypatch, data)
    with pytest.raises(SourceError, match="standard input") as caught:
        open_any("-")
    assert "--video-size 640x480" in caught.value.fix


def test_only_standard_input_can_be_raw(tmp_path):
    with pytest.raises(SettingsError, match="tells its size by itself"):
        open_any(str(tmp_path), raw=RawPictures(64, 48))


@pytest.mark.parametrize("wrong", [(0, 48, "rgb24"), (64, -1, "rgb24"), (64, 48, "pal8")])
def test_what_pictures_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="expected a size"):
        RawPictures(*wrong)
