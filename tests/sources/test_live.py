"""Video that can be seen once: pipes and connections that break."""

import io
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import av
import numpy as np
import pytest

from masa_cli.errors import SettingsError, SourceError
from masa_cli.sources import is_live, open_any
from masa_cli.sources.live import Connection, LiveVideo, network_stream
from tests.sources.encoded import numbers, times, write_numbered


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
    monkeypatch.setattr("masa_cli.sources.live.time.monotonic", lambda: clock[0])
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
    monkeypatch.setattr("masa_cli.sources.live._FIRST_WAIT", 0.05)
    source = open_any(server.address, patience=0.5)
    assert (source.info.name, is_live(source)) == ("cam", True)
    frames = list(source.frames())
    assert numbers(frames) == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    assert server.requests >= 3
    server.http.shutdown()


def test_an_address_without_a_server_is_an_error():
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1/x\.ts cannot be read"):
        open_any("http://127.0.0.1:9/x.ts")
