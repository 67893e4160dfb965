"""Which kind of source a path is."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from masa_cli.errors import SettingsError, SourceError
from masa_cli.sources import open_source
from masa_cli.sources.excerpt import Timeline
from tests.sources.encoded import numbered, numbers, times, write_numbered


def test_a_file_is_read_as_a_video(tmp_path: Path):
    assert numbers(open_source(write_numbered(tmp_path / "a.mp4", 3)).frames()) == [0, 1, 2]


def test_a_folder_is_read_as_its_images(tmp_path: Path):
    Image.fromarray(numbered(5)).save(tmp_path / "1.png")
    source = open_source(tmp_path, frame_rate=Fraction(12))
    assert numbers(source.frames()) == [5]
    assert source.info.frame_rate == 12


def test_a_path_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match=r"vid\.mp4 does not exist"):
        open_source(tmp_path / "vid.mp4")


def test_a_video_cannot_be_given_another_frame_rate(tmp_path: Path):
    path = write_numbered(tmp_path / "a.mp4", 1)
    with pytest.raises(SettingsError, match="a frame rate of 12 was given"):
        open_source(path, frame_rate=Fraction(12))


def test_a_timeline_has_times_and_no_pictures():
    source = Timeline("dets", 4, Fraction(30000, 1001))
    frames = list(source.frames(2))
    assert [frame.index for frame in frames] == [2, 3]
    assert times(frames) == [Fraction(2002, 30000), Fraction(3003, 30000)]
    assert all(frame.image.shape == (0, 0, 3) for frame in frames)
    assert (source.info.width, source.info.height, source.info.num_frames) == (0, 0, 4)
    assert list(source.frames(4)) == []


def test_libraries_that_decode_are_imported_only_when_needed():
    code = (
        "import sys, masa_cli.sources, masa_cli.sources.excerpt;"
        "sys.exit(bool({'av', 'imageio', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
