"""CVAT's XML as people export it: other shapes than boxes, turned boxes, attributes of users."""

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.cvat import read_tracks

CAR = '<track id="0" label="car"><box frame="0" xtl="10" ytl="60" xbr="40" ybr="100"/></track>'


def read(folder, tracks):
    path = folder / "o.xml"
    path.write_text(f"<annotations>{tracks}</annotations>")
    return read_tracks(path)


def test_tracks_of_polygons_become_the_boxes_around_them(tmp_path, caplog):
    polygon = '<polygon frame="{}" outside="0" points="{}"/>'
    shapes = polygon.format(0, "1,2;30,4;5,11") + polygon.format(2, "11,2;40,4;15,11")
    table = read(tmp_path, CAR + f'<track id="1" label="dog">{shapes}</track>')
    assert table.frames.tolist() == [0, 0, 1, 2]
    assert table.tracks.ids.tolist() == [1, 2, 2, 2]
    assert table.tracks.boxes[1:].tolist() == [[1, 2, 30, 11], [6, 2, 35, 11], [11, 2, 40, 11]]
    assert (
        "2 polygons, ellipses, cuboids or masks were read as the boxes around them" in caplog.text
    )


def test_ellipses_masks_and_cuboids_have_boxes_too(tmp_path):
    ellipse = '<track id="1" label="a"><ellipse frame="0" cx="50" cy="40" rx="20" ry="5"/></track>'
    mask = '<mask frame="0" left="5" top="6" width="7" height="8" rle="0, 56"/>'
    cuboid = '<cuboid frame="0" xtl1="9" ytl1="8" xbl1="9" ybl1="20" xtr2="30" ytr2="4"/>'
    shapes = f'<track id="2" label="b">{mask}</track><track id="3" label="b">{cuboid}</track>'
    table = read(tmp_path, ellipse + shapes)
    assert table.tracks.boxes.tolist() == [[30, 35, 70, 45], [5, 6, 12, 14], [9, 4, 30, 20]]


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ('<skeleton frame="0"><points label="1" points="9.3,5.6"/></skeleton>', "1 shapes"),
        ('<points frame="0" points="9.3,5.6"/><polyline frame="1" points="1,2;3,4"/>', "2 shapes"),
        ("", "1 tracks without any box were left out"),
    ],
)
def test_tracks_without_boxes_are_left_out_and_counted(tmp_path, caplog, shapes, said):
    table = read(tmp_path, CAR + f'<track id="1" label="person">{shapes}</track>')
    assert (len(table), table.classes[table.tracks.labels[0]]) == (1, "car")
    assert said in caplog.text


def test_no_track_at_all_with_a_box_is_an_empty_table(tmp_path):
    assert len(read(tmp_path, '<track id="1" label="person"></track>')) == 0


def test_turned_boxes_become_the_upright_ones_around_them(tmp_path, caplog):
    box = '<box frame="{}" xtl="10" ytl="20" xbr="50" ybr="40" rotation="{}" outside="0"/>'
    boxes = box.format(0, 0) + box.format(1, 90) + box.format(2, 350) + box.format(4, 10)
    table = read(tmp_path, f'<track id="1" label="car">{boxes}</track>')
    angle = np.radians(10)
    wide = 20 * np.cos(angle) + 10 * np.sin(angle)
    high = 20 * np.sin(angle) + 10 * np.cos(angle)
    tilted = [30 - wide, 30 - high, 30 + wide, 30 + high]
    # Between 350 and 10 degrees it is level, not turned by 180.
    expected = [[10, 20, 50, 40], [20, 10, 40, 50], tilted, [10, 20, 50, 40], tilted]
    np.testing.assert_allclose(table.tracks.boxes, expected, atol=1e-4)  # float32
    assert "3 shapes are turned" in caplog.text


@pytest.mark.parametrize("theirs", ["high", "87", "-1"])
def test_an_attribute_of_the_user_called_score_is_no_score(tmp_path, caplog, theirs):
    attribute = f'<attribute name="score">{theirs}</attribute>'
    table = read(tmp_path, CAR.replace("/></track>", f">{attribute}</box></track>"))
    assert table.tracks.scores.tolist() == [1]
    assert 'attributes called "score" that are no numbers from 0 to 1' in caplog.text


def test_a_score_that_masa_wrote_is_read_whatever_it_is(tmp_path):
    ours = '<attribute name="score">{}</attribute><attribute name="interpolated">false</attribute>'
    text = CAR.replace("/></track>", f">{ours}</box></track>")
    assert read(tmp_path, text.format("12.5")).tracks.scores.tolist() == [12.5]
    with pytest.raises(SourceError, match="expected a finite score"):
        read(tmp_path, text.format("x"))


def test_a_polygon_of_odd_numbers_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="expected x,y;x,y of a polygon"):
        read(tmp_path, '<track id="1"><polygon frame="0" points="1,2;3"/></track>')
