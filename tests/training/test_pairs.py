"""Cutouts: what may be one, and that boxes are where objects were pasted."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.training.augmentations import (
    AugmentationSettings,
    boxes_in_view,
    draw_canvas,
    draw_mixed,
    render,
    transformed,
)
from masa_cli.training.pairs import PairMaker, copy_paste, find_cutouts
from masa_cli.training.recipe import RunSettings
from masa_cli.training.regions import Regions, RegionSet, read_regions
from masa_cli.training.validation import split

MASA = AugmentationSettings(size=160)
SEEDS = range(40)


def inside(points, polygon):
    """(N,) bool, by OpenCV."""
    return np.array(
        [cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0 for x, y in points]
    )


def draws(seed, mixed):
    """A canvas and the matrix of a (96, 128) image onto it."""
    random = np.random.default_rng(seed)
    canvas = draw_canvas((96, 128), MASA, random)
    return canvas, draw_mixed((96, 128), canvas.shape, MASA, random) if mixed else canvas.own


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_point_inside_an_instance_is_inside_it_in_both_views(scenes, seed, mixed):
    regions = scenes[seed % len(scenes)]
    random = np.random.default_rng(seed)
    for outline in regions.outlines:
        low, high = outline.min(0), outline.max(0)
        points = random.uniform(low, high, (50, 2)).astype(np.float32)
        points = points[inside(points, outline)]
        for view in range(2):
            canvas, matrix = draws(seed * 2 + view, mixed)
            (box,), (kept,) = boxes_in_view((outline,), matrix, canvas, MASA)
            on_canvas = transformed(points, matrix)
            in_view = transformed(on_canvas, canvas.fit)
            shown = ((on_canvas > 0) & (on_canvas < canvas.shape[::-1])).all(1)
            shown &= ((in_view > 0) & (in_view < MASA.size)).all(1)
            in_view = in_view[shown]
            assert kept or not len(in_view) or np.ptp(in_view, axis=0).min() <= 1
            if not kept:
                continue
            slack = 2e-3  # float32
            assert (in_view >= box[:2] - slack).all()
            assert (in_view <= box[2:] + slack).all()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_go_where_the_boxes_go(seed, mixed):
    """A bright square on black lies in its box, and fills it as far as it is on the canvas."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[30:60, 40:90] = 255
    outline = np.array([[40, 30], [90, 30], [90, 60], [40, 60]], np.float32)
    canvas, matrix = draws(seed, mixed)
    left, top, *_ = canvas.window
    part = render(image, matrix, canvas)
    rows, columns = np.nonzero(part[..., 0] > 127)
    clipped = replace(MASA, clips=True)
    (box,), (kept,) = boxes_in_view((outline,), matrix, canvas, clipped)
    if not kept or len(rows) < 200:
        return
    seen = [columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1]
    # The corner of a rotated square is thinner than a pixel; half of one is lost in rounding.
    assert np.abs(np.array(seen) - box).max() < 3


def test_no_step_leaves_an_image_as_it_is(scenes):
    still = AugmentationSettings(
        size=128,
        max_rotation=0,
        min_scale=1,
        max_scale=1,
        max_shear=0,
        max_shift=0,
        mix_chance=0,
        max_hue=0,
        max_saturation=0,
        max_value=0,
        min_resize=1,
        max_resize=1,
        flip_chance=0,
    )
    pair = PairMaker(scenes, still, 0).make(0, index=2)
    original = cv2.imread(str(scenes.files[2]))[..., ::-1]
    # Hue and back is not exact.
    assert np.abs(pair.key.image[:96].astype(int) - original).max() <= 4
    assert (pair.key.image[96:] == 114).all()
    np.testing.assert_allclose(pair.reference.boxes, scenes[2].boxes, atol=1e-4)
    assert pair.key.ids.tolist() == [1, 2, 3]


def test_instances_keep_their_number_in_both_views_and_mixed(scenes):
    pair = PairMaker(scenes, MASA, 0).make(3)
    assert max(pair.key.ids.max(), pair.reference.ids.max()) > 3  # of the second image
    for view in (pair.key, pair.reference):
        assert len(set(view.ids.tolist())) == len(view.ids) == len(view.boxes) == len(view.labels)
        assert view.image.shape == (160, 160, 3)


def test_a_number_always_means_the_same_pair(scenes):
    one, again = (PairMaker(scenes, MASA, 5).make(11) for _ in range(2))
    np.testing.assert_array_equal(one.key.image, again.key.image)
    np.testing.assert_array_equal(one.reference.boxes, again.reference.boxes)
    assert one.seed == again.seed
    assert not np.array_equal(one.key.image, one.reference.image)
    other = PairMaker(scenes, MASA, 6).make(11)
    assert not np.array_equal(one.key.image, other.key.image)


def test_boxes_that_are_hardly_visible_are_dropped():
    random = np.random.default_rng(0)
    near = replace(MASA, min_resize=2, max_resize=2, clips=True, min_visible=0.5)
    canvas = draw_canvas((96, 128), near, random)
    corners = np.array([[0, 0], [128, 0], [128, 96], [0, 96]], np.float32)
    boxes, kept = boxes_in_view((corners,), np.eye(3), canvas, near)
    assert not kept.any()  # a quarter of the image is seen
    assert (boxes >= 0).all()
    assert (boxes <= 160).all()
    assert boxes_in_view((corners,), np.eye(3), canvas, replace(near, min_visible=0.2))[1].all()
    assert boxes_in_view((), np.eye(3), canvas, near)[0].shape == (0, 4)


def test_a_broken_image_is_named_and_passed_over(scenes, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no more")
    one = Regions(broken, (96, 128), scenes[0].boxes, scenes[0].labels, scenes[0].outlines)
    both = RegionSet.joined([RegionSet.of([one], ["object"]), scenes.chosen([1])])
    pairs = [PairMaker(both, MASA, 0).make(number) for number in range(8)]
    said = [text for pair in pairs for text in pair.broken]
    assert said
    assert all("broken.jpg" in text for text in said)
    with pytest.raises(SourceError, match=r"broken\.jpg"):
        PairMaker(RegionSet.of([one], ["object"]), MASA, 0).make(0)


def test_a_mosaic_shows_four_images_each_in_its_quarter(scenes):
    settings = replace(MASA, mosaic_chance=1.0, mix_chance=0.0, clips=True)
    maker = PairMaker(scenes, settings, seed=0)
    counts = []
    for number in range(10):
        pair = maker.make(number)
        for view in (pair.key, pair.reference):
            assert view.image.shape == (160, 160, 3)
            middles = (view.boxes[:, :2] + view.boxes[:, 2:]) / 2
            quarters = (middles >= 80) @ (1, 2)
            within = (view.boxes >= -1e-3) & (view.boxes <= 160 + 1e-3)
            assert within.all()
            low = np.stack([quarters % 2, quarters // 2], axis=1) * 80
            assert (view.boxes[:, :2] >= low - 1e-3).all()
            assert (view.boxes[:, 2:] <= low + 80 + 1e-3).all()
            assert len(set(view.ids)) == len(view.ids)
            counts.append(len(set(quarters)))
    assert max(counts) == 4


def test_regions_to_ignore_move_with_the_image_and_are_no_instances(scenes):
    plain = [scenes[place] for place in range(len(scenes))]
    marked = RegionSet.of(
        [
            replace(
                each, labels=np.where(np.arange(len(each.labels)) == 0, ~each.labels, each.labels)
            )
            for each in plain
        ],
        scenes.classes,
    )
    first, second = (
        PairMaker(regions, replace(MASA, mix_chance=0), 0) for regions in (scenes, marked)
    )
    for number in range(10):
        place = number % len(plain)
        known, ignoring = (maker.make(number, index=place) for maker in (first, second))
        for one, other in ((known.key, ignoring.key), (known.reference, ignoring.reference)):
            both = np.concatenate([other.ignored_boxes, other.boxes])
            if len(both) == len(one.boxes) and len(other.ignored_boxes):
                assert np.array_equal(both, one.boxes)
                assert (other.ids != 1).all()
                return
    raise AssertionError("no pair to compare")


VIEWS = AugmentationSettings(
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
    image, regions = copy_paste(grey, before, cutouts, settings, np.random.default_rng(seed))
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
        _, regions = copy_paste(image, scenes[0], cutouts, settings, np.random.default_rng(seed))
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
