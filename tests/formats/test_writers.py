"""Every format that is written: what is there when a writer is closed, and when it is not."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from masa_cli.errors import SettingsError
from masa_cli.formats import FORMATS, check_formats, further_names, open_writer, parse_formats
from masa_cli.structures import Frame, Tracks, VideoInfo

JSON = [name for name, row in FORMATS.items() if row.write and row.endings[0].endswith(".json")]
INFO = VideoInfo("street", 640, 480, Fraction(25), Fraction(1, 25))


def test_names_are_parsed_each_once():
    assert parse_formats("tao, coco,tao") == ("tao", "coco")
    assert parse_formats("") == ()


def test_what_is_no_format_is_refused():
    with pytest.raises(SettingsError, match="unknown"):
        parse_formats("tao,voc")


def bytes_of(path):
    """Of a file, or of all files in a folder."""
    files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
    return b"".join(file.read_bytes() for file in files)


NAMES = further_names()
# MOTS is no JSON, and has no line for a box without a mask: test_mots.py.
OF_BOXES = [name for name in NAMES if name != "mots"]


@pytest.mark.parametrize("name", OF_BOXES)
def test_each_writer_keeps_the_contract_of_sinks(tmp_path, name):
    """Complete under its name after a clean close, under .part after an exception."""
    tracks = Tracks(
        np.array([[1, 2, 31, 42.5]], np.float32),
        np.array([0.5], np.float32),
        np.array([1]),
        np.array([7]),
    )
    path = tmp_path / "out.json"
    with open_writer(name, path, info=INFO, classes=("car", "dog")) as writer:
        writer.write(Frame.without_image(0, Fraction(0)), tracks)
        writer.write(Frame.without_image(1, Fraction(1, 25)), Tracks.empty())
        assert not path.exists()
    content = bytes_of(path)
    if name in JSON:
        assert json.loads(content)
    if name != "parquet":  # which is compressed
        assert b"7" in content
        assert b"0.5" in content or name == "yolo"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    with pytest.raises(KeyError), open_writer(name, path, info=INFO, classes=("car",)):
        raise KeyError
    assert bytes_of(path) == content


@pytest.mark.parametrize("name", JSON)
def test_interpolated_boxes_are_marked_and_no_others(tmp_path, name):
    tracks = Tracks(
        np.array([[1, 2, 31, 42], [50, 2, 80, 42]], np.float32),
        np.array([0.5, 0.5], np.float32),
        np.array([0, 0]),
        np.array([1, 2]),
        np.array([False, True]),
    )
    path = tmp_path / "out.json"
    with open_writer(name, path, info=INFO, classes=("car",)) as writer:
        writer.write(Frame.without_image(0, Fraction(0)), tracks)
    # The mark is the only difference between the two, beside numbers.
    mark = '"interpolated":[0]' if name == "ytvis" else '"interpolated":true'
    assert path.read_text().replace(" ", "").count(mark) == 1


@pytest.mark.parametrize("name", OF_BOXES)
def test_no_frame_at_all_is_valid_too(tmp_path, name):
    path = tmp_path / "out.json"
    with open_writer(name, path, info=INFO, classes=()):
        pass
    assert path.exists()
    if name in JSON:
        json.loads(path.read_text())


@pytest.mark.parametrize("name", ["yolo", "yolo-tracks"])
def test_shares_of_an_image_need_its_size(name):
    check_formats((name,), INFO)
    with pytest.raises(SettingsError, match="size is not known"):
        check_formats((name,), replace(INFO, width=0, height=0))


def test_parquet_without_pyarrow_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("masa_cli.formats.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="pyarrow, which is not installed"):
        check_formats(("csv", "parquet"), INFO)


@pytest.mark.parametrize("name", NAMES)
def test_a_video_may_be_named_by_bytes_that_are_no_text(tmp_path, name):
    info = replace(INFO, name=b"\xff<&.x".decode(errors="surrogateescape"))
    path = tmp_path / "out.json"
    with open_writer(name, path, info=info, classes=("car",)) as writer:
        writer.write(Frame.without_image(0, Fraction(0)), Tracks.empty())
    assert path.exists()
