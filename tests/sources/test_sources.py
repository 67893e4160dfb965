"""Which kind of source a path is."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
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


def test_a_video_can_be_given_another_frame_rate(tmp_path: Path):
    path = write_numbered(tmp_path / "a.mp4", 1)
    assert open_source(path, frame_rate=Fraction(12)).info.frame_rate == 12


def test_a_folder_has_no_streams_to_choose_among(tmp_path: Path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(SettingsError, match="has no video streams to choose among"):
        open_source(tmp_path, stream=1)


@pytest.mark.parametrize("name", ["stack.tif", "moving.webp", "no_suffix"])
def test_a_file_of_pages_is_read_page_by_page(tmp_path: Path, name: str):
    pages = [Image.fromarray(numbered(number)) for number in range(4)]
    kind = {"format": "TIFF"} if name == "no_suffix" else {}
    more = {"save_all": True, "append_images": pages[1:], "lossless": True}
    pages[0].save(tmp_path / name, **kind, **more)
    source = open_source(tmp_path / name)
    assert numbers(source.frames()) == [0, 1, 2, 3]
    assert (source.info.name, source.info.num_frames) == (Path(name).stem, 4)


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
