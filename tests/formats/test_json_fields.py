"""Masks as COCO and BDD100K write them: each way read alike, and damage told."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats import Hints, read_tracks
from masa_cli.masks import pack, unpack

SQUARE = [3, 4, 13, 4, 13, 12, 3, 12]  # 10 columns from 3, 8 rows from 4


def coco_file(path, segmentation, **image):
    image = {"width": 30, "height": 20} | image
    content = {
        "images": [{"id": 5, "frame_index": 0, **image}],
        "categories": [{"id": 2, "name": "cat"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 5,
                "category_id": 2,
                "track_id": 1,
                "bbox": [3, 4, 10, 8],
                "segmentation": segmentation,
            }
        ],
    }
    path.write_text(json.dumps(content))
    return path


RUNS = [3 * 20 + 4, 8, *[12, 8] * 9, 20 * 30 - 12 * 20 - 12]  # down the columns


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        [SQUARE[:2] + SQUARE[2:4] + SQUARE[4:6], SQUARE[:2] + SQUARE[4:]],  # two triangles
        {"size": [20, 30], "counts": RUNS},
        {"size": [20, 30], "counts": pack(np.ones((8, 10), bool), (3, 4), (20, 30)).counts},
    ],
    ids=["polygon", "polygons", "numbers", "text"],
)
def test_coco_writes_masks_in_many_ways(tmp_path, segmentation):
    table = read_tracks(coco_file(tmp_path / "o.json", segmentation))
    [mask] = table.tracks.masks
    assert mask == pack(np.ones((8, 10), bool), (3, 4), (20, 30))


@pytest.mark.parametrize("seed", range(5))
def test_polygons_cover_what_pycocotools_says(tmp_path, seed):
    """Stars around the image's middle, some of whose points lie outside."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    ends = rng.uniform(3, 18, 9)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    star = (ends + np.array([15, 10])).ravel().tolist()
    path = coco_file(tmp_path / "o.json", [star, SQUARE])
    coco = COCO(str(path))
    [mask] = read_tracks(path).tracks.masks
    pixels, (x, y) = unpack(mask)
    image = np.zeros((20, 30), np.uint8)
    image[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    assert np.array_equal(image, coco.annToMask(coco.anns[1]))


@pytest.mark.parametrize("segmentation", [None, [], [[-9, -9, -5, -9, -5, -5]]], ids=str)
def test_what_covers_no_pixel_is_no_mask(tmp_path, segmentation):
    assert not read_tracks(coco_file(tmp_path / "o.json", segmentation)).tracks.has_mask.any()


def test_results_may_have_masks_whose_images_are_in_another_file(tmp_path):
    images = coco_file(tmp_path / "images.json", None)
    results = tmp_path / "results.json"
    results.write_text(
        json.dumps(
            [
                {
                    "image_id": 5,
                    "category_id": 2,
                    "track_id": 1,
                    "bbox": [3, 4, 10, 8],
                    "score": 0.5,
                    "segmentation": [SQUARE],
                }
            ]
        )
    )
    table = read_tracks(results, hints=Hints(images=images))
    assert table.tracks.masks.tolist() == [pack(np.ones((8, 10), bool), (3, 4), (20, 30))]
    with pytest.raises(SettingsError, match="has polygons"):
        read_tracks(results)


def test_polygons_need_the_size_of_the_image(tmp_path):
    path = coco_file(tmp_path / "o.json", [SQUARE], width=None)
    with pytest.raises(SettingsError, match="has polygons, but not the width and height"):
        read_tracks(path)
    [mask] = read_tracks(path, hints=Hints(size=(30, 20))).tracks.masks
    assert mask.size == (20, 30)


def test_polygons_in_an_image_beyond_all_images_are_an_error(tmp_path):
    path = coco_file(tmp_path / "o.json", [SQUARE], width=2**50)
    with pytest.raises(SourceError, match=r"entry 1: expected a mask.*in an image of 11258"):
        read_tracks(path)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([SQUARE[:4]], "a polygon of 4 numbers"),
        ([SQUARE[:7]], "a polygon of 7 numbers"),
        (SQUARE, "a polygon that is no list of numbers|a polygon of 1 numbers"),
        ([["3", *SQUARE[1:]]], "a polygon that is no list of numbers"),
        ([[True, *SQUARE[1:]]], "a polygon that is no list of numbers"),
        ([[1e300, *SQUARE[1:]]], "a polygon far beyond any image"),
        ([[2**70, *SQUARE[1:]]], "a polygon far beyond any image"),
        ([[0, 0, 9e5, 0] * 40], "a polygon far beyond any image"),
        ({"size": [20, 30], "counts": [1, 2, 3]}, "runs that are not 600 pixels"),
        ({"size": [20, 30], "counts": [601, -1]}, "not whole numbers from 0"),
        ({"size": [20, 30], "counts": [2**40]}, "not whole numbers from 0"),
        ({"size": [20, 30], "counts": [300.0, 300.0]}, "not whole numbers from 0"),
        ({"size": [20, 30], "counts": []}, "that are nothing"),
        ({"size": [20], "counts": [600]}, "size"),
        ({"counts": [600]}, "counts"),
        ({"size": [20, 30], "counts": "XX"}, "20 x 30 pixels that are"),
        ({"size": [30, 20], "counts": [300, 300]}, "20 x 30 pixels in an image of 30 x 20"),
        ("mask", "mask"),
        (7, "7"),
    ],
    ids=str,
)
def test_what_is_no_mask_of_coco_is_an_error_that_names_the_entry(tmp_path, segmentation, reason):
    path = coco_file(tmp_path / "o.json", segmentation)
    with pytest.raises(SourceError, match=rf"annotations entry 1: expected a mask.*({reason})"):
        read_tracks(path)


def bdd_file(path, **label):
    frame = {"name": "a-1.jpg", "videoName": "a", "frameIndex": 0}
    label = {"id": "4", "category": "car", **label}
    path.write_text(json.dumps([frame | {"labels": [label]}]))
    return path


def test_a_mask_of_bdd_without_a_box_has_one_around_it(tmp_path):
    mask = pack(np.ones((8, 10), bool), (3, 4), (20, 30))
    path = bdd_file(tmp_path / "o.json", rle={"size": [20, 30], "counts": mask.counts})
    table = read_tracks(path)
    assert table.tracks.masks.tolist() == [mask]
    assert table.tracks.boxes.tolist() == [[3, 4, 13, 12]]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({}, 'expected "box2d"'),
        ({"rle": {"size": [20, 30], "counts": "XX"}}, "expected a mask as rle"),
        ({"rle": {"counts": "XX"}}, "expected a mask as rle"),
        ({"rle": {"size": [2, 2], "counts": [4]}}, 'expected "box2d"'),  # not a pixel
    ],
    ids=str,
)
def test_what_is_no_mask_of_bdd_is_an_error_that_names_the_entry(tmp_path, label, reason):
    with pytest.raises(SourceError, match=f"labels entry 1: {reason}"):
        read_tracks(bdd_file(tmp_path / "o.json", **label))
