import json
from fractions import Fraction

import numpy as np
import pytest

from masa_cli.errors import SettingsError
from masa_cli.formats.also import NAMES, open_writer, parse_names
from masa_cli.structures import Frame, Tracks, VideoInfo

INFO = VideoInfo("street", 640, 480, Fraction(25), Fraction(1, 25))


def test_names_are_parsed_each_once():
    assert parse_names("tao, coco,tao") == ("tao", "coco")
    assert parse_names("") == ()


def test_what_is_no_format_is_refused():
    with pytest.raises(SettingsError, match="unknown"):
        parse_names("tao,yolo")


# MOTS is no JSON, and has no line for a box without a mask: test_mots_tracks.py.
OF_BOXES = [name for name in NAMES if name != "mots"]


@pytest.mark.parametrize("name", OF_BOXES)
def test_each_writer_keeps_the_contract_of_sinks(tmp_path, name):
    """Complete under its name after a clean close, under .part after an exception; valid JSON."""
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
    text = path.read_text()
    assert json.loads(text)
    assert "7" in text
    assert "0.5" in text
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    with pytest.raises(KeyError), open_writer(name, path, info=INFO, classes=("car",)):
        raise KeyError
    assert path.read_text() == text


@pytest.mark.parametrize("name", OF_BOXES)
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
    json.loads(path.read_text())
