"""A camera, with one made of numbers in the place of OpenCV's."""

import io
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from masa_cli.errors import SettingsError, SourceError
from masa_cli.sources import is_live, open_any
from masa_cli.sources.stream import (
    PIXEL_FORMATS,
    CameraDevice,
    Connection,
    LiveVideo,
    RawPictures,
    network_stream,
)
from tests.sources.encoded import numbers, times, write_numbered


class Camera:
    """Three pictures in blue, by OpenCV's order of colours."""

    def __init__(self, number):
        self.left, self.released = 3, False
        Camera.last = self

    def isOpened(self):
        return True

    def read(self):
        if not self.left:
            return False, None
        self.left -= 1
        picture = np.zeros((6, 8, 3), np.uint8)
        picture[..., 0] = 200
        return True, picture

    def get(self, _):
        return 0.0  # as cameras do that do not know

    def release(self):
        self.released = True


def test_frames_are_rgb_have_growing_times_and_the_camera_is_released(monkeypatch):
    monkeypatch.setattr("masa_cli.sources.stream.cv2.VideoCapture", Camera)
    source = CameraDevice(0)
    assert (source.info.name, source.info.width, source.info.height) == ("camera0", 8, 6)
    assert source.info.frame_rate == 30
    frames = list(source.frames())
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].image[0, 0].tolist() == [0, 0, 200]
    assert frames[0].time < frames[1].time < frames[2].time
    assert Camera.last.released


def test_a_camera_that_is_not_there_is_an_error():
    with pytest.raises(SourceError, match="camera 63 cannot be opened"):
        CameraDevice(63)


def connection(*contents, patience=0.0):
    """Gives one content after the other, then none."""
    rest = list(contents)

    def open_next():
        if not rest:
            raise av.error.ConnectionRefusedError(111, "Connection refused")
        return av.open(io.BytesIO(rest.pop(0)))

    return Connection("a stream", "stream", open_next, patience)


def content(tmp_path, num_frames=5, suffix=".ts", **clip):
    return write_numbered(tmp_path / f"clip{suffix}", num_frames, **clip).read_bytes()


@pytest.mark.parametrize(
    ("suffix", "clip"),
    [
        (".ts", {}),
        (".mkv", {}),
        (".mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
        (".nut", {}),
        (".y4m", {"codec": "rawvideo", "format": "yuv4mpegpipe"}),
        (".flv", {"codec": "flv1"}),
    ],
)
def test_frames_and_times_of_containers_that_can_be_piped(tmp_path, suffix, clip):
    source = LiveVideo(connection(content(tmp_path, suffix=suffix, **clip)))
    frames = list(source.frames())
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert np.allclose([float(at) for at in times(frames)], [0, 0.04, 0.08, 0.12, 0.16], atol=1e-3)
    assert (source.info.width, source.info.height, source.info.num_frames) == (64, 48, None)
    assert all(frame.time % source.info.time_base == 0 for frame in frames)


def test_it_can_be_read_only_once_and_from_its_beginning(tmp_path):
    source = LiveVideo(connection(content(tmp_path)))
    with pytest.raises(ValueError, match="can be read once"):
        next(source.frames(3))
    list(source.frames())
    with pytest.raises(ValueError, match="can be read once"):
        next(source.frames())


def test_a_lost_connection_is_made_again_and_time_goes_on(tmp_path):
    waits = []
    lost = connection(content(tmp_path), content(tmp_path, 3), patience=60)
    source = LiveVideo(lost, wait=waits.append)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == 8:
            break
    assert numbers(frames) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert [frame.index for frame in frames] == list(range(8))
    at = [float(time) for time in times(frames)]
    assert all(first < second for first, second in pairwise(at))
    assert np.allclose(np.diff(at[5:]), 0.04, atol=1e-3)
    assert waits == [1.0]


def test_it_waits_twice_as_long_each_time_and_gives_up(tmp_path, monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr("masa_cli.sources.stream.time.monotonic", lambda: clock[0])
    waits = []

    def wait(seconds):
        waits.append(seconds)
        clock[0] += seconds

    source = LiveVideo(connection(content(tmp_path), patience=40), wait=wait)
    assert len(list(source.frames())) == 5
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0]
    assert "did not come back within 40 s" in caplog.text


def test_an_end_is_the_end_where_no_patience_is_wanted(tmp_path):
    waits = []
    source = LiveVideo(connection(content(tmp_path), content(tmp_path)), wait=waits.append)
    assert len(list(source.frames())) == 5
    assert waits == []


@pytest.mark.parametrize("data", [b"", b"no video at all" * 100, b"\x47" + bytes(500)])
def test_what_is_no_video_is_an_error(data):
    with pytest.raises(SourceError, match="a stream"):
        LiveVideo(connection(data))


def test_passwords_of_addresses_are_never_shown():
    made = network_stream("rtsp://admin:secret@10.0.0.7:554/cam/1?token=hidden", 60)
    assert "secret" not in made.label
    assert "hidden" not in made.label
    assert made.name == "1"


def test_what_may_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_numbered(tmp_path / "7", 1, format="mp4")
    assert not is_live(open_any("7"))  # a file of that name comes before a camera
    with pytest.raises(SourceError, match="camera 63 cannot be opened"):
        open_any("63")
    with pytest.raises(SourceError, match="does not exist"):
        open_any("ftp://somewhere/x.mp4")
    with pytest.raises(SettingsError, match="frame times of its own"):
        open_any("-", frame_rate=Fraction(25))


class _Server:
    """Sends a video with every request, less and less of it, without telling its length."""

    def __init__(self, data):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests += 1
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                if server.requests <= 2:
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.requests = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/cam.ts"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def test_a_stream_of_the_network_is_read_and_connected_to_again(tmp_path, monkeypatch):
    server = _Server(content(tmp_path, 6))
    monkeypatch.setattr("masa_cli.sources.stream._FIRST_WAIT", 0.05)
    source = open_any(server.address, patience=0.5)
    assert (source.info.name, is_live(source)) == ("cam", True)
    frames = list(source.frames())
    assert numbers(frames) == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    assert server.requests >= 3
    server.http.shutdown()


def test_an_address_without_a_server_is_an_error():
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1/x\.ts cannot be read"):
        open_any("http://127.0.0.1:9/x.ts")


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
        "masa_cli.sources.stream.av.open",
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
