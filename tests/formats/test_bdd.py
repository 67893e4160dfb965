import json
import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools import mask as coco

from masa_cli.errors import SourceError
from masa_cli.formats.bdd import CLASSES, read_bdd, read_bitmask
from masa_cli.formats.bdd_tracks import BddWriter
from masa_cli.structures import Frame, Tracks, VideoInfo
from tests.mask_tracks import square, three_frames

# 2 x 3 pixels, column by column off, on, on, off, off, off: runs of 1, 2 and 3.
RLE = {"size": [2, 3], "counts": "123"}


def video(name: str) -> VideoInfo:
    return VideoInfo(name, 30, 20, Fraction(25), Fraction(1, 25))


def label(**changes: object) -> dict[str, object]:
    box = {"x1": 1, "y1": 2, "x2": 3.5, "y2": 4}
    return {"id": "7", "category": "car", "box2d": box, "rle": RLE} | changes


def frame(*labels: object, **changes: object) -> dict[str, object]:
    content = {"name": "a-0000001.jpg", "videoName": "a", "frameIndex": 0, "labels": [*labels]}
    return content | changes


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read_one(folder: Path, *labels: object, masks: bool = False):
    return read_bdd(write(folder / "a.json", [frame(*labels)]), masks=masks)["a"][0]


def test_a_label_is_read(tmp_path: Path):
    found = read_one(tmp_path, label(score=0.25), label(id=8, category="bus"))
    assert found.name == "a-0000001.jpg"
    assert found.ids == ("7", "8")
    assert [CLASSES[number] for number in found.labels] == ["car", "bus"]
    assert found.boxes.tolist() == [[1, 2, 3.5, 4]] * 2
    assert found.boxes.dtype == np.float64
    assert found.scores.tolist() == [0.25, 1]
    assert found.rles == ()


def test_masks_are_read_in_place_of_boxes(tmp_path: Path):
    found = read_one(tmp_path, label(box2d=None), masks=True)
    assert found.rles == (RLE,)
    assert np.isnan(found.boxes).all()


@pytest.mark.parametrize("labels", [None, []])
def test_a_frame_may_be_empty(tmp_path: Path, labels):
    found = read_bdd(write(tmp_path / "a.json", [frame(labels=labels)]))["a"][0]
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_one_list_one_object_or_a_folder_hold_the_same(tmp_path: Path):
    first, later = frame(label()), frame(label(), frameIndex=10, name="a-0000011.jpg")
    other = frame(label(), videoName="b", name="b-0000001.jpg")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    write(tmp_path / "folder" / "a.json", [later, first])
    write(tmp_path / "folder" / "deep" / "b.json", [other])
    for path in (
        write(tmp_path / "list.json", [later, other, first]),
        write(tmp_path / "object.json", {"frames": [other, later, first], "config": {}}),
        tmp_path / "folder",
    ):
        videos = read_bdd(path)
        assert list(videos) == ["a", "b"]
        assert list(videos["a"]) == [0, 10]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("person", "pedestrian"),
        ("bike", "bicycle"),
        ("motor", "motorcycle"),
        ("van", "car"),
        ("caravan", "car"),
    ],
)
def test_other_names_of_classes_are_known(tmp_path: Path, written, name):
    found = read_one(tmp_path, label(category=written))
    assert CLASSES[found.labels[0]] == name
    assert not found.is_ignored[0]


@pytest.mark.parametrize(
    ("written", "name"),
    [("other person", "pedestrian"), ("other vehicle", "car"), ("trailer", "truck")],
)
def test_what_is_near_a_class_is_to_be_ignored(tmp_path: Path, written, name):
    found = read_one(tmp_path, label(category=written))
    assert CLASSES[found.labels[0]] == name
    assert found.is_ignored[0]
    assert not found.is_crowd[0]


def test_crowds_and_ignored_objects_are_told_apart(tmp_path: Path):
    found = read_one(
        tmp_path,
        label(attributes={"crowd": True}),
        label(id="8", attributes={"crowd": False, "ignored": True}),
        label(id="9", attributes=None),
    )
    assert found.is_crowd.tolist() == [True, False, False]
    assert found.is_ignored.tolist() == [False, True, False]


def box(**changes: object) -> dict[str, object]:
    return {"x1": 1, "y1": 2, "x2": 3, "y2": 4} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{]", "line 1 column 3 is not JSON"),
        (json.dumps([frame(label(score=math.nan))]), "is not JSON"),
        ({"images": []}, 'no list of frames and has none under "frames"'),
        ([frame(videoName=None)], 'frame a-0000001.jpg: expected "name" and "videoName"'),
        ([{"videoName": "a", "frameIndex": 0}], 'frame number 1: expected "name"'),
        ([frame(frameIndex=True)], 'whole "frameIndex", got .* True'),
        ([3], "frame number 1: expected"),
        ([frame(), frame()], "frame a-0000001.jpg: frameIndex 0 of videoName a is there twice"),
        ([frame(labels={})], 'frame a-0000001.jpg: "labels" is no list'),
        ([frame(label(), label())], 'frame a-0000001.jpg: id "7" is there twice'),
        ([frame({"category": "car"})], 'frame a-0000001.jpg: expected a label with an "id"'),
        ([frame(label(category="dog"))], 'a-0000001.jpg id "7": "category" is \'dog\''),
        ([frame(label(category=None))], '"category" is None'),
        ([frame(label(attributes=[1]))], '"attributes" is no object'),
        ([frame(label(score="1"))], "\"score\" is '1', expected a finite number"),
        ([frame(label(box2d=None))], 'a-0000001.jpg id "7": no "box2d"'),
        ([frame(label(box2d={"x1": 1}))], "expected finite x1, y1, x2, y2"),
        ([frame(label(box2d=box(x1=None)))], "expected finite x1, y1, x2, y2"),
        ([frame(label(box2d=box(x2=0.5)))], 'id "7": "box2d" ends before it starts'),
        ([frame(label(box2d=box(y2=0.5)))], '"box2d" ends before it starts'),
    ],
)
def test_errors_name_file_frame_and_key(tmp_path: Path, content, message):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(SourceError, match=message) as error:
        read_bdd(path)
    assert str(path) in error.value.problem


def test_a_path_must_have_json(tmp_path: Path):
    with pytest.raises(SourceError, match="has no json files"):
        read_bdd(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        read_bdd(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, 'id "7": no "rle"'),
        (RLE | {"size": [2]}, 'no "size" of height and width'),
        (RLE | {"size": [3, 3]}, "expected run lengths of 3 x 3 pixels"),
        (RLE | {"counts": [1, 2, 3]}, "is no text"),
        (RLE | {"counts": ""}, "expected run lengths of"),
        (RLE | {"counts": "12"}, "expected run lengths of"),
        (
            {"size": [9, 11], "counts": "12S"},
            "expected run lengths of",
        ),  # ends where more should follow
        (RLE | {"counts": "1é3"}, "expected run lengths of"),
        (RLE | {"counts": "17O"}, "expected run lengths of"),  # 1 + 7 - 1 are 7
        (
            RLE | {"counts": "18M"},
            "expected run lengths of",
        ),  # 1 + 8 - 3 are 6, but no run is negative
    ],
)
def test_bad_masks_are_refused(tmp_path: Path, rle, message):
    with pytest.raises(SourceError, match=message):
        read_one(tmp_path, label(rle=rle), masks=True)


def test_masks_of_any_size_are_accepted(tmp_path: Path):
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 300, 2)
        mask = rng.random((height, width)) < rng.choice([0, 0.001, 0.5, 1])
        rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        rle["counts"] = rle["counts"].decode()
        read_one(tmp_path, label(rle=rle), masks=True)
        rle["size"] = [height + 1, width]
        with pytest.raises(SourceError, match="expected run lengths of"):
            read_one(tmp_path, label(rle=json.loads(json.dumps(rle, default=int))), masks=True)


def bitmask(path: Path, channels: list[list[tuple[int, ...]]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.array(channels, np.uint8)).save(path)
    return path


NOTHING = (0, 0, 0, 0)
CAR = (3, 0, 1, 2)  # id 258
CROWD = (1, 2, 0, 7)
IGNORED = (8, 8 | 4 | 1, 0, 9)


def test_a_bitmask_is_read(tmp_path: Path):
    path = bitmask(tmp_path / "a.png", [[NOTHING, CAR, CAR], [CROWD, IGNORED, CAR]])
    found = [
        (row.id, CLASSES[row.label], row.is_crowd, row.is_ignored) for row in read_bitmask(path)
    ]
    assert found == [
        ("7", "pedestrian", True, False),
        ("9", "bicycle", False, True),
        ("258", "car", False, False),
    ]
    # Down the columns off, off, on, off, on, on: runs of 2, 1, 1 and 2, the last as 1 more.
    assert read_bitmask(path)[2].rle == {"size": [2, 3], "counts": "2111"}


def test_a_folder_of_bitmasks_is_read(tmp_path: Path):
    for name in ("v/v-0000007.png", "v/v-0000001.png", "w/w-0000001.png"):
        bitmask(tmp_path / name, [[NOTHING, CAR], [CAR, CAR]])
    videos = read_bdd(tmp_path, masks=True)
    assert {video: list(frames) for video, frames in videos.items()} == {"v": [0, 1], "w": [0]}
    assert videos["v"][1].name == "v-0000007.jpg"
    assert videos["v"][1].ids == ("258",)


def test_bad_bitmasks_are_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="neither json files nor bitmasks"):
        read_bdd(tmp_path, masks=True)
    with pytest.raises(SourceError, match=r"a.png id 5: its class is 9, expected 1 to 8"):
        read_bitmask(bitmask(tmp_path / "a.png", [[(9, 0, 0, 5)]]))
    with pytest.raises(SourceError, match=r"is an image of RGB, expected RGBA"):
        read_bitmask(bitmask(tmp_path / "b.png", [[(1, 2, 3)]]))
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(SourceError, match=r"c.png is no image"):
        read_bitmask(tmp_path / "c.png")


def tracks(*ids: int) -> Tracks:
    count = len(ids)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(-1, 4) + 0.125
    scores = np.linspace(0.5, 1, count, dtype=np.float32)
    return Tracks(boxes, scores, np.arange(count), np.array(ids, np.int64))


def at(index: int) -> Frame:
    return Frame.without_image(index, Fraction(index, 30))


def test_written_tracks_are_read_again(tmp_path: Path):
    path = tmp_path / "out.json"
    with BddWriter(path, info=video("street"), classes=("car", "bus")) as writer:
        writer.write(at(0), tracks(9, 2))
        writer.write(at(1), tracks())
        writer.write(at(2), tracks(1))
    found = read_bdd(path)["street"]
    assert [(index, row.name) for index, row in found.items()] == [
        (0, "street-0000001.jpg"),
        (1, "street-0000002.jpg"),
        (2, "street-0000003.jpg"),
    ]
    assert found[0].ids == ("2", "9")
    assert [CLASSES[number] for number in found[0].labels] == ["bus", "car"]
    assert found[0].scores.tolist() == [1, 0.5]
    # Rounded to hundredths, halves to even.
    assert found[0].boxes.tolist() == [[4.12, 5.12, 6.12, 7.12], [0.12, 1.12, 2.12, 3.12]]
    assert len(found[1]) == 0


def test_a_label_is_written_as_the_evaluator_reads_it(tmp_path: Path):
    path = tmp_path / "out.json"
    with BddWriter(path, info=video("v"), classes=("car",)) as writer:
        writer.write(at(0), tracks(3))
    assert json.loads(path.read_text()) == [
        {
            "name": "v-0000001.jpg",
            "videoName": "v",
            "frameIndex": 0,
            "attributes": {"time": 0.0},
            "labels": [
                {
                    "id": "3",
                    "category": "car",
                    "score": 0.5,
                    "box2d": {"x1": 0.12, "y1": 1.12, "x2": 2.12, "y2": 3.12},
                }
            ],
        }
    ]


def test_a_video_without_frames_is_an_empty_list(tmp_path: Path):
    with BddWriter(tmp_path / "out.json", info=video("v"), classes=()):
        pass
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_each_frame_is_on_disk_at_once_and_an_error_leaves_the_part(tmp_path: Path):
    path = tmp_path / "out.json"
    with suppress(KeyboardInterrupt), BddWriter(path, info=video("v"), classes=("car",)) as writer:
        writer.write(at(0), tracks(3))
        assert b"v-0000001.jpg" in Path(f"{path}.part").read_bytes()
        raise KeyboardInterrupt
    assert not path.exists()
    assert b"v-0000001.jpg" in Path(f"{path}.part").read_bytes()


def test_written_masks_are_read_again_without_overlaps(tmp_path: Path):
    path = tmp_path / "street.json"
    with BddWriter(path, info=video("street"), classes=("car", "bus")) as writer:
        tracks = three_frames()[0]
        writer.write(Frame.without_image(0, Fraction(0)), tracks[tracks.has_mask])
    found = read_bdd(path, masks=True)["street"][0]
    expected = [square(5, 0, 15, 10), square(0, 0, 5, 10)]
    assert found.ids == ("3", "7")
    assert [rle["counts"] for rle in found.rles] == [mask.counts for mask in expected]
