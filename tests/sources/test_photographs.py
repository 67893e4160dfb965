from dataclasses import replace

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.sources import photographs
from masa_cli.sources.photographs import CUTOUTS, brick_and_gravel, cut_out
from masa_cli.sources.scenarios import DEMOS
from masa_cli.sources.synthetic import SyntheticVideo


@pytest.mark.parametrize("name", CUTOUTS)
def test_a_cutout_touches_all_sides_and_every_other_is_mirrored(name):
    number = list(CUTOUTS).index(name)
    first = cut_out(number, name, 60, 80, seed=0)
    assert first.colour.shape == (80, 60, 3)
    covered = first.alpha > 100
    assert covered.any(axis=1).all() or name == "person"  # a chin is thin, but no row is empty
    assert all(edge.any() for edge in (covered[0], covered[-1], covered[:, 0], covered[:, -1]))
    assert 0.4 < covered.mean() < 0.9
    assert (first.colour[first.alpha == 0] == 0).all()
    assert first.colour[covered].std() > 30  # a photograph, not a plain area
    second = cut_out(number + len(CUTOUTS), name, 60, 80, seed=0)
    np.testing.assert_array_equal(second.alpha, first.alpha[:, ::-1])
    np.testing.assert_array_equal(second.colour, first.colour[:, ::-1])


def test_the_wall_depends_on_the_seed():
    image = brick_and_gravel(640, 360, 1, 0)
    assert image.shape == (360, 640, 3)
    assert (image != brick_and_gravel(640, 360, 2, 0)).mean() > 0.5


def test_a_tile_goes_on_without_a_seam():
    ramp = np.add.outer(np.arange(100, 150), np.arange(70)).astype(np.uint8)  # not square
    tiled = photographs._tiled(ramp, 400, 300, np.array([3, 11]))[..., 0] * ramp.mean()
    assert np.abs(np.diff(tiled, axis=0)).max() < 3  # grey levels: 1 / 0.6 from pixel to pixel
    assert np.abs(np.diff(tiled, axis=1)).max() < 3


def test_truth_boxes_hold_the_photographs():
    video = SyntheticVideo(DEMOS["photographs"].settings)
    assert video.classes == ("person", "cat", "cup")
    sprites = video._sprites
    for index in (0, 75):
        whole, truth = next(video.frames(index)).image, video.ground_truth(index)
        for id_, box in zip(truth.ids, truth.boxes, strict=True):
            assert truth.labels[list(truth.ids).index(id_)] == (id_ - 1) % 3
            video._sprites = [
                type(s)(s.colour * 0, s.alpha * 0) if k == id_ - 1 else s
                for k, s in enumerate(sprites)
            ]
            rows, columns = np.nonzero((next(video.frames(index)).image != whole).any(axis=2))
            video._sprites = sprites
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (found[:2] >= box[:2] - 1.1).all()
            assert (found[2:] <= box[2:] + 1.1).all()


@pytest.mark.parametrize("package", ["no_such_package", "json"])
def test_without_the_pictures_the_error_says_what_helps(package, monkeypatch):
    monkeypatch.setattr(photographs, "_PACKAGE", package)
    with pytest.raises(SourceError, match="scikit-image") as caught:
        SyntheticVideo(DEMOS["photographs"].settings)
    assert "--kind textures" in caught.value.fix


def test_another_picture_of_that_name_is_not_taken(monkeypatch):
    monkeypatch.setitem(CUTOUTS, "cup", replace(CUTOUTS["cup"], size=(601, 400)))
    with pytest.raises(SourceError, match=r"coffee\.png"):
        cut_out(0, "cup", 60, 80, seed=0)
