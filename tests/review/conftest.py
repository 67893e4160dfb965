"""A short clip with tracks, and the review of it."""

from fractions import Fraction

import pytest

from masa_cli import formats
from masa_cli.review.session import open_review
from masa_cli.structures import VideoInfo
from tests.clips import HEIGHT, RATE, WIDTH, boxes_at, write_clip
from tests.review.tables import table_of

NUM_FRAMES = 30


def write_tracks(path, table):
    info = VideoInfo("street", WIDTH, HEIGHT, RATE, 1 / RATE, table.num_frames)
    with formats.open_writer("jsonl", path, info=info, classes=table.classes) as writer:
        for frame, tracks in table.of_frames(Fraction(1, 25)):
            writer.write(frame, tracks)


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """`street.mp4` and `tracks.jsonl` of its two objects, which are swapped from frame 15 on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    video, _ = write_clip(tmp_path, NUM_FRAMES)
    rows = [
        (frame, (index if frame < 15 else 1 - index) + 1, box[0])
        for frame in range(NUM_FRAMES)
        for index, box in enumerate(boxes_at(frame))
    ]
    tracks = tmp_path / "tracks.jsonl"
    write_tracks(tracks, table_of(*rows, num_frames=NUM_FRAMES, rate=25))
    return video, tracks


@pytest.fixture
def review(clip, tmp_path):
    video, tracks = clip
    with open_review(video, tracks, tmp_path / "edits.jsonl") as opened:
        yield opened
