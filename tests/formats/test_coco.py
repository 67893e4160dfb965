from pathlib import Path
from typing import Any

import orjson
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.coco import CocoWriter, read_detections, read_tracks
from masa_cli.formats.tables import TrackTable
from masa_cli.masks import mask_fields
from tests.mask_tracks import CLASSES, INFO, square, three_frames, write_three_frames

IMAGES = [{"id": 10, "file_name": "v/9.jpg"}, {"id": 11, "file_name": "v/10.jpg"}]
RESULT = {"image_id": 10, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}


def write(path: Path, content: Any) -> Path:
    path.write_bytes(orjson.dumps(content))
    return path


def test_results_take_frames_and_names_from_a_second_file(tmp_path: Path):
    categories = [{"id": 8, "name": "cat"}, {"id": 3, "name": "dog"}]
    dets = read_detections(
        write(tmp_path / "results.json", [RESULT | {"image_id": 11, "category_id": 9}, RESULT]),
        write(tmp_path / "images.json", {"images": IMAGES, "categories": categories}),
    )
    assert dets.frames.tolist() == [8, 9]  # of 9.jpg and 10.jpg
    assert dets.boxes[0].tolist() == [1, 2, 4, 6]
    assert dets.classes == ("cat", "dog", "9")
    assert dets.labels.tolist() == [1, 2]


def test_one_file_of_images_and_annotations_is_enough_and_needs_no_scores(tmp_path: Path):
    annotation = {key: RESULT[key] for key in ("image_id", "category_id", "bbox")}
    dets = read_detections(
        write(tmp_path / "all.json", {"images": IMAGES, "annotations": [annotation]})
    )
    assert (dets.scores.tolist(), dets.classes) == ([1], ("3",))


@pytest.mark.parametrize(
    ("keys", "frame"),
    [({"frame_index": 30, "frame_id": 20}, 30), ({"frame_id": 20}, 20), ({}, 1)],
)
def test_frame_index_goes_before_frame_id_before_file_names(
    tmp_path: Path, keys: dict[str, int], frame: int
):
    images = [
        {"id": 10, "file_name": "b.jpg", **keys},
        {"id": 11, "file_name": "c.jpg", **dict.fromkeys(keys, 0)},
        {"id": 12, "file_name": "a.jpg", **dict.fromkeys(keys, 1)},
    ]
    dets = read_detections(
        write(tmp_path / "results.json", [RESULT]),
        write(tmp_path / "images.json", {"images": images}),
    )
    assert dets.frames.tolist() == [frame]


@pytest.mark.parametrize("text", ["", "[]", '{"images":[],"annotations":[]}'])
def test_a_file_without_results_is_an_empty_table(tmp_path: Path, text: str):
    path = tmp_path / "results.json"
    path.write_text(text)
    assert len(read_detections(path)) == 0


def test_results_alone_ask_for_the_images(tmp_path: Path):
    with pytest.raises(SourceError, match=r"fix: .*--dets-images"):
        read_detections(write(tmp_path / "results.json", [RESULT]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "entry 2: no image has the id 99"),
        ({"image_id": [1]}, "entry 2: expected image_id"),
        ({"bbox": [1, 2, 3]}, "entry 2: expected .* bbox of 4"),
        ({"bbox": [1, 2, 3, "4"]}, "entry 2: expected .* bbox of 4"),
        ({"bbox": [1, 2, 3, 1e30]}, "entry 2: expected .* bbox of 4"),
        ({"score": None}, "entry 2: expected .* score"),
        ({"category_id": None}, "entry 2: expected .* category_id"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path: Path, change: dict[str, Any], message: str):
    results = write(tmp_path / "results.json", [RESULT, RESULT | change])
    images = write(tmp_path / "images.json", {"images": IMAGES})
    with pytest.raises(SourceError, match=message):
        read_detections(results, images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"images": [{"id": 1, "video_id": 1}, {"id": 2, "video_id": 2}]},
            '2 videos, .*: "1", "2"',
        ),
        ({"images": [{"id": 1, "frame_id": 0}, {"id": 2, "frame_id": 0}]}, "same frame number, 0"),
        ({"images": [{"id": 1}, {"id": 1}]}, 'an "id" of their own'),
        ({"images": [{"id": 1, "frame_id": -1}]}, "a whole frame number from 0"),
        ({"pictures": []}, 'no list of objects under "images"'),
        ({"images": IMAGES, "categories": [{"id": 1}]}, 'an "id" and a "name"'),
    ],
)
def test_an_unfit_list_of_images_is_refused(tmp_path: Path, content: Any, message: str):
    images = write(tmp_path / "images.json", content)
    with pytest.raises(SourceError, match=message):
        read_detections(write(tmp_path / "results.json", [RESULT]), images)


def test_broken_json_is_named_by_line_and_column(tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text('\n[\n {"image_id": NaN}]')
    with pytest.raises(SourceError, match="line 3 column 15 is not JSON"):
        read_detections(path)


def test_masks_that_were_written_are_read(tmp_path: Path):
    path = tmp_path / "all.json"
    write_three_frames(CocoWriter(path, info=INFO, classes=CLASSES))
    dets = read_detections(path)
    for index, tracks in enumerate(three_frames()):
        assert dets.of_frame(index).masks.tolist() == tracks.masks.tolist()
    areas = [entry["area"] for entry in orjson.loads(path.read_bytes())["annotations"]]
    assert areas == [100, 100, 64, 100]  # of the mask, or else of the box


def test_masks_of_boxes_without_area_go_with_them(tmp_path: Path):
    [mask] = mask_fields([square(1, 2, 4, 6)])
    empty = RESULT | {"bbox": [1, 2, 0, 4], "segmentation": mask}
    dets = read_detections(
        write(tmp_path / "results.json", [empty, RESULT | {"segmentation": mask}, RESULT]),
        write(tmp_path / "images.json", {"images": IMAGES}),
    )
    assert [entry is not None for entry in dets.masks] == [True, False]


def test_polygons_are_not_read_and_broken_masks_are_errors(tmp_path: Path):
    images = write(tmp_path / "images.json", {"images": IMAGES})
    polygon = RESULT | {"segmentation": [[1, 2, 3, 4, 5, 6]]}
    assert read_detections(write(tmp_path / "a.json", [polygon]), images).masks.tolist() == [None]
    broken = RESULT | {"segmentation": {"size": [20, 30], "counts": "00"}}
    with pytest.raises(SourceError, match=r"a.json entry 1: expected compressed run lengths"):
        read_detections(write(tmp_path / "a.json", [broken]), images)


def of_cvat(*attributes: dict[str, Any]) -> dict[str, Any]:
    """COCO 1.0 as CVAT exports it: one annotation per image, with these attributes."""
    return {
        "categories": [{"id": 1, "name": "car", "supercategory": ""}],
        "images": [
            {"id": n, "width": 320, "height": 240, "file_name": f"frame_{n - 1:06d}.PNG"}
            for n in range(1, len(attributes) + 1)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "segmentation": [], "iscrowd": 0}
            | {"bbox": [10.0 + n, 20.0, 50.0, 50.0], "area": 2500.0, "attributes": each}
            for n, each in enumerate(attributes, start=1)
        ],
    }


def read_cvat(folder: Path, *attributes: dict[str, Any]) -> TrackTable:
    return read_tracks(write(folder / "instances_default.json", of_cvat(*attributes)))


def test_identities_may_be_among_the_attributes_and_count_from_0(tmp_path: Path, caplog: Any):
    table = read_cvat(tmp_path, {"track_id": 0, "keyframe": True}, {"track_id": 0, "rotation": 0.0})
    assert table.frames.tolist() == [0, 1]
    assert table.tracks.ids.tolist() == [1, 1]
    assert table.tracks.boxes.tolist() == [[11, 20, 61, 70], [12, 20, 62, 70]]
    assert "ids count from 0; all were raised by 1" in caplog.text


def test_annotations_without_identity_are_left_out_and_counted(tmp_path: Path, caplog: Any):
    assert read_cvat(tmp_path, {"occluded": False}, {"track_id": 5}).tracks.ids.tolist() == [5]
    assert "1 of 2 annotations have no track_id and were left out" in caplog.text


def test_detections_are_no_tracks_and_the_advice_is_not_that_of_another_command(tmp_path: Path):
    with pytest.raises(SourceError, match="none of its 2 annotations has a track_id") as error:
        read_cvat(tmp_path, {}, {})
    assert "eval" not in str(error.value.fix)
