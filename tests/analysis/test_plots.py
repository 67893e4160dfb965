import io

import numpy as np
import pytest
from PIL import Image as Pillow

from masa_cli.analysis.plots import heat_map, timeline
from tests.analysis.tables import seconds, table


def pixels(data):
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_the_heat_map_is_bright_where_boxes_are_and_brightest_where_they_stay():
    rows = [(frame, 1, 10, 10, 20, 20) for frame in range(9)]
    rows += [(0, 2, 30, 30, 40, 40)]
    bright = pixels(heat_map(table(rows), (60, 50))).sum(axis=2)
    assert bright.shape == (50, 60)
    assert bright[15, 15] > bright[35, 35] > bright[5, 5]
    assert bright[10, 10] == bright[19, 19] == bright[15, 15]
    assert bright[20, 20] == bright[9, 9] == bright[5, 5]


def test_boxes_beyond_the_picture_do_not_matter():
    bright = pixels(heat_map(table([(0, 1, -50, -50, 5, 5), (0, 2, 99, 99, 200, 200)]), (60, 50)))
    assert bright[2, 2].sum() > bright[30, 30].sum()


def test_the_background_shows_where_nobody_was():
    green = np.zeros((50, 60, 3), np.uint8)
    green[..., 1] = 200
    drawn = pixels(heat_map(table([(0, 1, 10, 10, 20, 20)]), (60, 50), green))
    assert drawn[40, 40].tolist() == [0, 200, 0]
    assert drawn[15, 15].tolist() != [0, 200, 0]


@pytest.mark.parametrize(
    "rows", [[], [(0, 1, 1, 1, 5, 5)], [(f, f + 1, 1, 1, 5, 5) for f in range(300)]]
)
def test_a_timeline_of_any_number_of_tracks_is_a_picture(rows):
    pytest.importorskip("matplotlib")
    found = table(rows)
    assert pixels(timeline(found, seconds(found))).shape[1] == 1300
