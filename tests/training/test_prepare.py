"""Every format of regions becomes the same file."""

import cv2
import numpy as np
import orjson
import pytest
from pycocotools import mask as coco
from scipy.io import savemat

from masa_cli.errors import Interrupted, OutputError, SourceError
from masa_cli.progress import RunProgress
from masa_cli.training.prepare import (
    FoundRegion,
    RegionFilter,
    find_images,
    hull_of,
    of_labels,
    prepare,
)
from masa_cli.training.region_sources import open_regions, plan_source
from masa_cli.training.regions import read_regions

HEIGHT, WIDTH = 40, 60
BOX = [10, 5, 20, 30]  # left, top, width, height of the one region
PIXELS = np.zeros((HEIGHT, WIDTH), np.uint8)
PIXELS[5:35, 10:30] = 1
NAMES = ["a/one.png", "two.png"]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return folder


def coco_file(folder, segmentation=None, **more):
    rows = [
        {"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for n, name in enumerate(NAMES)
    ]
    annotations = [
        {"id": n, "image_id": n, "category_id": 3, "bbox": BOX, "area": 1, **more}
        | ({"segmentation": segmentation} if segmentation else {})
        for n in range(2)
    ]
    content = {"images": rows, "annotations": annotations, "categories": [{"id": 3, "name": "cup"}]}
    folder.mkdir(exist_ok=True)
    (folder / "x.json").write_bytes(orjson.dumps(content))
    return folder / "x.json"


def packed(compressed):
    mask = coco.encode(np.asfortranarray(PIXELS))
    if compressed:
        return {"size": [HEIGHT, WIDTH], "counts": mask["counts"].decode()}
    flat = PIXELS.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return {"size": [HEIGHT, WIDTH], "counts": runs.tolist()}


def as_coco_boxes(folder):
    return coco_file(folder)


def as_coco_polygons(folder):
    return coco_file(folder, [[10, 5, 30, 5, 30, 35, 10, 35]])


def as_coco_runs(folder):
    return coco_file(folder, packed(compressed=False))


def as_coco_compressed(folder):
    return coco_file(folder, packed(compressed=True))


def as_sa1b(folder):
    folder.mkdir()
    for name in ("one", "two"):
        row = {"id": 1, "bbox": BOX, "segmentation": packed(compressed=True)}
        (folder / f"{name}.json").write_bytes(orjson.dumps({"image": {}, "annotations": [row]}))
    return folder


def as_label_maps(folder):
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), PIXELS * 7)
    return folder


def as_bsds(folder):
    folder.mkdir()
    maps = [np.ones((HEIGHT, WIDTH)), PIXELS + 1, np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)]
    people = np.empty((1, 3), object)
    for place, labels in enumerate(maps):
        people[0, place] = {"Segmentation": labels.astype(np.uint16)}
    for name in ("one", "two"):
        savemat(folder / f"{name}.mat", {"groundTruth": people})
    return folder


def run(images, output, source, progress=None, **options):
    wanted = RegionFilter(max_area=0.6)
    open_source, origin = source
    return prepare(
        images, output, open_source, origin, wanted, progress or RunProgress(), **options
    )


def source_of(path):
    return plan_source(path, "auto", sam="sam-vit-b", points=4, weights_dir=None, device="cpu")


@pytest.mark.parametrize(
    "make",
    [
        as_coco_boxes,
        as_coco_polygons,
        as_coco_runs,
        as_coco_compressed,
        as_sa1b,
        as_label_maps,
        as_bsds,
    ],
)
def test_every_format_gives_the_region(images, tmp_path, make):
    done = run(images, tmp_path / "data", source_of(make(tmp_path / "known")))
    assert (done.num_images, done.num_regions, done.num_broken) == (2, 2, 0)
    regions = read_regions(tmp_path / "data")
    assert [file.name for file in regions.files] == ["one.png", "two.png"]
    for place in range(2):
        np.testing.assert_allclose(regions[place].boxes, [[10, 5, 30, 35]])
        assert regions[place].size == (HEIGHT, WIDTH)
        (outline,) = regions[place].outlines
        assert sorted(map(tuple, outline.tolist())) == [(10, 5), (10, 35), (30, 5), (30, 35)]
    assert regions.classes == (("cup",) if "coco" in make.__name__ else ("object",))
    content = orjson.loads(done.file.read_bytes())
    if make is not as_coco_boxes:
        for row in content["annotations"]:
            mask = row["segmentation"]
            again = coco.decode({"size": mask["size"], "counts": mask["counts"].encode()})
            np.testing.assert_array_equal(again, PIXELS)
            assert row["area"] == 600


def test_regions_of_the_wrong_size_are_left_out(images, tmp_path):
    source = source_of(as_label_maps(tmp_path / "known"))
    small = RegionFilter(max_area=0.2)
    with pytest.raises(SourceError, match="none of the images"):
        prepare(images, tmp_path / "data", *source, small, RunProgress())
    assert not (tmp_path / "data" / "regions.json").exists()


def test_a_stopped_run_goes_on_and_ends_the_same(images, tmp_path):
    source = source_of(as_label_maps(tmp_path / "known"))
    whole = run(images, tmp_path / "whole", source)
    progress = RunProgress()
    progress.on_frame = lambda done, count: setattr(progress, "stop_requested", True)
    with pytest.raises(Interrupted, match="1 images are kept"):
        run(images, tmp_path / "data", source, progress)
    part = tmp_path / "data" / "images.jsonl.part"
    part.write_bytes(part.read_bytes() + b'{"half a li')
    other = source_of(coco_file(tmp_path / "other"))
    with pytest.raises(OutputError, match="other options"):
        run(images, tmp_path / "data", other, resume=True)
    seen = []
    progress = RunProgress()
    progress.on_frame = lambda done, count: seen.append(done)
    again = run(images, tmp_path / "data", source, progress, resume=True)
    assert seen == [2]
    assert again.file.read_bytes() == whole.file.read_bytes()
    assert not part.exists()


def test_broken_images_and_regions_are_named_and_counted(images, tmp_path, caplog):
    (images / "three.png").write_bytes(b"no image")
    (images / "unknown.png").write_bytes((images / "two.png").read_bytes())
    known = as_label_maps(tmp_path / "known")
    (known / "two.png").write_bytes(b"no map")
    done = run(images, tmp_path / "data", source_of(known))
    assert (done.num_images, done.num_empty, done.num_broken) == (1, 1, 2)
    assert "three.png" in caplog.text
    assert "two.png" in caplog.text


def test_existing_regions_are_only_replaced_when_told(images, tmp_path):
    source = source_of(as_label_maps(tmp_path / "known"))
    run(images, tmp_path / "data", source)
    with pytest.raises(OutputError, match="exists"):
        run(images, tmp_path / "data", source)
    run(images, tmp_path / "data", source, overwrite=True)


def test_wrong_input_is_found_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no images"):
        find_images(tmp_path / "empty")
    with pytest.raises(SourceError, match="no files of regions"):
        open_regions(tmp_path / "empty")
    with pytest.raises(SourceError, match="does not exist"):
        open_regions(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"images": [{}]}')
    with pytest.raises(SourceError, match="not COCO json"):
        open_regions(tmp_path / "bad.json")
    with pytest.raises(SourceError, match="is a file"):
        open_regions(tmp_path / "bad.json", "bsds")


@pytest.mark.parametrize("counts", ["", "é", "0", "PPPP"])
def test_masks_that_are_none_are_errors(images, tmp_path, caplog, counts):
    file = coco_file(tmp_path / "known", {"size": [HEIGHT, WIDTH], "counts": counts})
    with pytest.raises(SourceError, match="2 could not be read"):
        run(images, tmp_path / "data", source_of(file))
    assert "is no region" in caplog.text


def test_a_region_of_pixels_is_measured_to_their_edges():
    pixels = np.zeros((10, 12), bool)
    pixels[2:5, 3:9] = True
    region = FoundRegion.of_pixels(pixels)
    assert region.box == (3, 2, 6, 3)
    assert region.area == 18
    packed = {"size": region.mask["size"], "counts": region.mask["counts"].encode()}
    np.testing.assert_array_equal(coco.decode(packed), pixels)
    corners = sorted(map(tuple, region.outline.tolist()))
    assert corners == [(3, 2), (3, 5), (9, 2), (9, 5)]


@pytest.mark.parametrize("seed", range(10))
def test_every_pixel_is_inside_its_hull(seed):
    pixels = np.zeros((40, 50), np.uint8)
    random = np.random.default_rng(seed)
    middle = (int(random.integers(10, 40)), int(random.integers(10, 30)))
    cv2.ellipse(pixels, middle, (9, 4), random.uniform(0, 180), 0, 360, 1, -1)
    hull = hull_of(pixels.astype(bool))
    for y, x in np.argwhere(pixels):
        for corner in ((x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)):
            assert cv2.pointPolygonTest(hull, (float(corner[0]), float(corner[1])), False) >= 0
    assert cv2.isContourConvex(hull.astype(np.int32))


def test_labels_above_0_are_regions():
    labels = np.array([[0, 0, 3], [7, 7, 3]])
    assert [region.box for region in of_labels(labels)] == [(2, 0, 1, 2), (0, 1, 2, 1)]
    assert FoundRegion.of_pixels(labels > 9) is None
