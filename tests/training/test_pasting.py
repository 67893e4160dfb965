"""Cutouts: what may be one, and that boxes are where objects were pasted."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.regions import Regions, RegionSet, read_regions
from masa_cli.training.cutouts import find_cutouts
from masa_cli.training.pairs import PairMaker
from masa_cli.training.pasting import pasted
from masa_cli.training.recipe import RunSettings
from masa_cli.training.validation import split
from masa_cli.training.views import ViewSettings

VIEWS = ViewSettings(
    size=160,
    paste_chance=1.0,
    mix_chance=0.0,
    max_rotation=0.0,
    max_shear=0.0,
    max_hue=0.0,
    max_saturation=0.0,
    max_value=0.0,
    clips=True,
)
RED = (255, 0, 0)


def write_cutout(folder, name, *, border=0, alpha=255):
    """A red picture of 40 x 20 pixels, perhaps with nothing around it."""
    pixels = np.zeros((40 + 2 * border, 20 + 2 * border, 4), np.uint8)
    pixels[border : border + 40, border : border + 20] = (0, 0, 255, alpha)  # OpenCV: BGRA
    (folder / name).mkdir(parents=True, exist_ok=True)
    file = folder / name / f"{border}-{alpha}.png"
    cv2.imwrite(str(file), pixels)
    return file


@pytest.fixture
def cutouts(tmp_path, scenes):
    write_cutout(tmp_path, "object")
    return find_cutouts(tmp_path, scenes)


def red_box(image, *, least=0.6):
    """The box around what is red."""
    rest = np.maximum(image[..., 1], image[..., 2]).astype(int)
    rows, columns = np.nonzero((image[..., 0] > 255 * least) & (rest < 40))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("seed", range(20))
def test_the_box_is_where_the_object_is(scenes, cutouts, seed):
    grey = np.full((96, 128, 3), 90, np.uint8)
    settings = replace(VIEWS, most_pasted=1, min_pasted=0.2)
    before = scenes[0]
    image, regions = pasted(grey, before, cutouts, settings, np.random.default_rng(seed))
    assert len(regions.boxes) == len(before.boxes) + 1
    assert regions.boxes[-1] == pytest.approx(np.array(red_box(image)), abs=1)
    assert regions.labels[-1] == 0
    x1, y1, x2, y2 = regions.boxes[-1].astype(int)
    image[y1:y2, x1:x2] = 90
    assert (image == grey).all()
    assert grey.max() == 90  # what was given is not painted on


def test_both_views_show_it_under_one_number(scenes, cutouts):
    settings = replace(VIEWS, most_pasted=1, min_pasted=0.4, min_resize=0.9, max_resize=1.1)
    both = 0
    for number in range(20):
        pair = PairMaker(scenes, settings, 0, cutouts).make(number)
        new = max(pair.key.ids.max(), pair.reference.ids.max())
        shown = [view for view in (pair.key, pair.reference) if new == 4 and new in view.ids]
        for view in shown:
            [box] = view.boxes[view.ids == new]
            assert box == pytest.approx(np.array(red_box(view.image, least=0.5)), abs=2)
        both += len(shown) == 2
    assert both >= 5


def test_what_is_hidden_is_to_be_ignored(scenes, tmp_path):
    write_cutout(tmp_path, "object")
    cutouts = find_cutouts(tmp_path, scenes)
    settings = replace(VIEWS, most_pasted=8, min_pasted=0.3)
    image = np.zeros((96, 128, 3), np.uint8)
    hidden = 0
    for seed in range(10):
        _, regions = pasted(image, scenes[0], cutouts, settings, np.random.default_rng(seed))
        for place, label in enumerate(regions.labels):
            later = np.zeros((96, 128), bool)
            for x1, y1, x2, y2 in regions.boxes[max(place + 1, 3) :].astype(int):
                later[y1:y2, x1:x2] = True
            x1, y1, x2, y2 = regions.boxes[place].round().astype(int)
            free = 1 - later[y1:y2, x1:x2].mean()
            if label < 0:
                assert free < 0.4
            hidden += label < 0
    assert hidden


def test_what_is_transparent_belongs_to_no_box(tmp_path, scenes):
    write_cutout(tmp_path, "object", border=7)
    label, pixels = find_cutouts(tmp_path, scenes).draw(np.random.default_rng(0))
    assert (label, pixels.shape) == (0, (40, 20, 4))
    assert (pixels == (*RED, 255)).all()


def test_classes_are_drawn_as_often_as_they_are_labelled(tmp_path):
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (10, 1))
    labels = np.array([1] * 8 + [2, ~2])
    outlines = tuple(box[[0, 1, 2, 3]].reshape(2, 2) for box in boxes)
    one = Regions(tmp_path / "a.png", (9, 9), boxes, labels, outlines)
    regions = RegionSet.of([one], ["cat", "dog", "cow"])
    write_cutout(tmp_path, "dog")
    write_cutout(tmp_path, "cow")
    random = np.random.default_rng(0)
    cutouts = find_cutouts(tmp_path, regions)
    counts = np.bincount([cutouts.draw(random)[0] for _ in range(900)], minlength=3)
    assert counts == pytest.approx([0, 800, 100], abs=30)
    write_cutout(tmp_path, "cat")  # of which no label tells
    with pytest.raises(SourceError, match='cutouts of "cat"'):
        find_cutouts(tmp_path, regions)


def test_wrong_cutouts_are_told(tmp_path, scenes):
    with pytest.raises(SourceError, match="has no cutouts"):
        find_cutouts(tmp_path, scenes)
    random = np.random.default_rng(0)
    file = write_cutout(tmp_path, "object", alpha=0)
    with pytest.raises(SourceError, match="shows nothing"):
        find_cutouts(tmp_path, scenes).draw(random)
    cv2.imwrite(str(file), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(SourceError, match="transparency"):
        find_cutouts(tmp_path, scenes).draw(random)


def test_an_image_without_objects_is_a_background(scenes, tmp_path):
    """For pasting; without cutouts, or held out for validation, there is nothing to learn from."""
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [9, 9, 20, 20], "area": 400}
    doubtful = row | {"id": 2, "image_id": 2, "iscrowd": 1}
    images = [
        {"id": number, "file_name": scenes.files[number].name, "height": 96, "width": 128}
        for number in (1, 2, 3)
    ]
    content = {"images": images, "annotations": [row, doubtful]}
    content |= {"categories": [{"id": 1, "name": "object"}], "folder": str(scenes.files[0].parent)}
    (tmp_path / "regions.json").write_text(json.dumps(content))
    assert len(read_regions(tmp_path)) == 1
    regions = read_regions(tmp_path, backgrounds=True)
    assert regions.files == scenes.files[1:4]
    more = RegionSet.joined([scenes.chosen([0]), regions])
    _, held_out = split(more, RunSettings(held_out=0.9))
    assert set(held_out.files) == set(scenes.files[:2])
    write_cutout(tmp_path, "object")
    only = regions.chosen([1, 2])
    pairs = PairMaker(only, VIEWS, 0, find_cutouts(tmp_path, scenes))
    assert all(len(pairs.make(number).key.boxes) for number in range(5))
    with pytest.raises(SourceError, match="no two views with instances"):
        PairMaker(only, VIEWS, 0).make(0)
