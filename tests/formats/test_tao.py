import json
from fractions import Fraction

import numpy as np
import orjson
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats import coco
from masa_cli.formats.coco import CocoWriter
from masa_cli.formats.tao import TaoWriter, read_annotations, read_results
from masa_cli.structures import Frame, Tracks, VideoInfo

CAT, KITTEN, DOG = 10, 11, 20


def truth():
    """Two videos; the images of the first are not in time order."""
    lists = {"neg_category_ids": [DOG], "not_exhaustive_category_ids": []}
    return {
        "categories": [
            {"id": CAT, "name": "cat", "frequency": "f", "merged": [{"id": KITTEN, "name": "k"}]},
            {"id": KITTEN, "name": "kitten", "frequency": "r"},
            {"id": DOG, "name": "dog", "frequency": "r"},
        ],
        "videos": [{"id": 5, "name": "val/a", **lists}, {"id": 3, "name": "val/b", **lists}],
        "images": [
            {"id": 52, "video_id": 5, "frame_index": 30},
            {"id": 51, "video_id": 5, "frame_index": 0},
            {"id": 31, "video_id": 3, "frame_index": 0},
        ],
        "annotations": [
            annotation(image_id=51, track_id=1),
            annotation(image_id=52, track_id=1, category_id=KITTEN),
            annotation(image_id=31, track_id=2, category_id=DOG),
        ],
    }


def annotation(**changes):
    return {"image_id": 51, "track_id": 1, "category_id": CAT, "bbox": [1, 2, 30, 40.5]} | changes


def result(**changes):
    return annotation(score=0.5) | changes


@pytest.fixture
def tao(tmp_path):
    return read_annotations(saved(tmp_path / "gt.json", truth()))


def saved(path, content):
    path.write_text(json.dumps(content))
    return path


def tracks_of(*rows):
    """Tracks of (id, label, box xyxy, score)."""
    ids, labels, boxes, scores = zip(*rows, strict=True)
    return Tracks(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.array(ids, np.int64),
    )


def frame(index):
    return Frame.without_image(index, Fraction(index, 25))


class TestAnnotations:
    def test_images_are_sorted_by_video_and_time(self, tao):
        assert tao.image_ids.tolist() == [51, 52, 31]
        assert tao.image_videos.tolist() == [0, 0, 1]
        assert [video.name for video in tao.videos] == ["val/a", "val/b"]

    def test_boxes_become_corners_and_keep_the_order_of_the_file(self, tao):
        assert tao.truth.images.tolist() == [0, 1, 2]
        assert tao.truth.boxes.dtype == np.float64
        assert tao.truth.boxes[0].tolist() == [1, 2, 31, 42.5]

    def test_merged_category_counts_as_its_owner(self, tao):
        assert tao.truth.classes.tolist() == [CAT, CAT, DOG]

    def test_merged_category_need_not_be_listed(self, tmp_path):
        content = truth()
        del content["categories"][1]
        tao = read_annotations(saved(tmp_path / "gt.json", content))
        assert tao.truth.classes.tolist() == [CAT, CAT, DOG]

    def test_frequencies_and_federated_lists_are_kept(self, tao):
        assert tao.frequencies[DOG] == "r"
        assert tao.videos[0].negative == {DOG}
        assert tao.videos[0].not_exhaustive == set()

    @pytest.mark.parametrize("key", ["categories", "videos", "images", "annotations"])
    def test_missing_list_is_named(self, tmp_path, key):
        content = truth()
        del content[key]
        with pytest.raises(SourceError, match=rf'gt\.json has no list under "{key}"'):
            read_annotations(saved(tmp_path / "gt.json", content))

    @pytest.mark.parametrize(
        ("key", "place", "field"),
        [
            ("videos", 1, "neg_category_ids"),
            ("videos", 0, "not_exhaustive_category_ids"),
            ("images", 2, "frame_index"),
            ("categories", 0, "name"),
            ("annotations", 1, "track_id"),
        ],
    )
    def test_missing_key_is_named_with_its_entry(self, tmp_path, key, place, field):
        content = truth()
        del content[key][place][field]
        expected = rf'gt\.json {key} entry {place + 1}: expected "{field}", got only'
        with pytest.raises(SourceError, match=expected):
            read_annotations(saved(tmp_path / "gt.json", content))

    @pytest.mark.parametrize(
        ("key", "changes", "expected"),
        [
            ("images", {"id": 51}, "images entry 3: expected an id of its own, got 51"),
            (
                "images",
                {"video_id": 4},
                "images entry 3: expected one of the ground truth as video_id",
            ),
            (
                "annotations",
                {"image_id": 99},
                "annotations entry 3: expected one of the ground truth as image_id",
            ),
            ("annotations", {"iscrowd": 0, "bbox": None}, "annotations entry 3: expected 4 num"),
        ],
    )
    def test_contradiction_is_named_with_its_entry(self, tmp_path, key, changes, expected):
        content = truth()
        content[key][2] |= changes
        with pytest.raises(SourceError, match=expected):
            read_annotations(saved(tmp_path / "gt.json", content))


class TestResults:
    def test_columns_are_read(self, tmp_path, tao):
        entries = [result(video_id=5), result(image_id=31, track_id=0, category_id=KITTEN, score=1)]
        found = read_results(saved(tmp_path / "res.json", entries), tao)
        assert found.images.tolist() == [0, 2]
        assert found.tracks.tolist() == [1, 0]
        assert found.classes.tolist() == [CAT, CAT]
        assert found.boxes[1].tolist() == [1, 2, 31, 42.5]
        assert found.scores.tolist() == [0.5, 1.0]

    def test_empty_list_has_no_boxes(self, tmp_path, tao):
        found = read_results(saved(tmp_path / "res.json", []), tao)
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)

    def test_same_track_in_two_videos_is_read(self, tmp_path, tao):
        entries = [result(), result(image_id=31)]
        assert read_results(saved(tmp_path / "r.json", entries), tao).tracks.tolist() == [1, 1]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"image_id": 99}, "expected one of the ground truth as image_id, got 99"),
            ({"image_id": "31"}, "expected a whole number as image_id, got 31"),
            ({"category_id": 7}, "expected one of the ground truth as category_id, got 7"),
            ({"bbox": [1, 2, -3, 4]}, r"expected a width and height of at least 0, got \[1, 2, -3"),
            ({"bbox": [1, 2, 3]}, r"expected 4 numbers below 1e\+09 as bbox, got \[1, 2, 3\]"),
            ({"bbox": [1, 2, 3, None]}, "expected 4 numbers"),
            ({"bbox": [1, 2, 3, "4"]}, "expected 4 numbers"),
            ({"bbox": [1, 2, 3, 1e12]}, "expected 4 numbers"),
            ({"score": None}, "expected a number below"),
            ({"track_id": 2**63}, "expected a whole number as track_id, got 9223372036854775808"),
            ({"track_id": True}, "expected a whole number as track_id, got True"),
            ({"track_id": 1.5}, "expected a whole number as track_id, got 1.5"),
            ({"track_id": 1}, "expected each track once in image 51, got track 1 again"),
            ({"video_id": 3}, "expected video_id 5, that of image 51, got 3"),
        ],
    )
    def test_wrong_value_is_named_with_its_entry(self, tmp_path, tao, changes, expected):
        entries = [result(), result(track_id=2) | changes, result(track_id=3)]
        with pytest.raises(SourceError, match=rf"res\.json entry 2: {expected}"):
            read_results(saved(tmp_path / "res.json", entries), tao)

    @pytest.mark.parametrize("key", ["image_id", "track_id", "category_id", "bbox", "score"])
    def test_missing_key_is_named_with_its_entry(self, tmp_path, tao, key):
        entries = [result(), result(image_id=52)]
        del entries[1][key]
        with pytest.raises(SourceError, match=f'entry 2: expected "{key}", got only'):
            read_results(saved(tmp_path / "res.json", entries), tao)

    def test_results_of_another_set_are_told_apart(self, tmp_path, tao):
        with pytest.raises(SourceError) as error:
            read_results(saved(tmp_path / "res.json", [result(image_id=7)]), tao)
        assert error.value.fix == "compare results with the annotation file they were made for"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('[{"é": 1,\n "score": NaN}]', "line 2 column 11 is not JSON: NaN is no number"),
            ("[-Infinity]", "is not JSON: Infinity is no number"),
            ("[1,", "is not JSON"),
            ("", "is not JSON"),
            ("{}", "is no list of results"),
            ("[1]", "entry 1: expected an object, got 1"),
        ],
    )
    def test_other_text_is_refused(self, tmp_path, tao, text, expected):
        path = tmp_path / "res.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SourceError, match=expected):
            read_results(path, tao)

    def test_file_that_does_not_exist_is_named(self, tmp_path, tao):
        with pytest.raises(SourceError, match=r"none\.json does not exist"):
            read_results(tmp_path / "none.json", tao)


WRITTEN = {
    0: tracks_of((2, 1, (10, 20, 40.5, 60.25), 0.9), (1, 0, (0, 0, 5, 5), 0.3333333)),
    1: Tracks.empty(),
    2: tracks_of((2, 1, (11, 20, 41.004, 60), 0.8)),
}
CLASSES = ("cat", "dog")
INFO = VideoInfo("clip", 640, 480, Fraction(25), Fraction(1, 25))


def write_and_stop(writer):
    with writer:
        writer.write(frame(0), WRITTEN[0])
        raise KeyboardInterrupt


class TestTaoWriter:
    def test_results_are_read_back(self, tmp_path):
        path = tmp_path / "res.json"
        with TaoWriter(path, classes=CLASSES) as writer:
            for index, tracks in WRITTEN.items():
                writer.write(frame(index), tracks)
        found = read_results(path, self.as_truth(tmp_path))
        assert found.images.tolist() == [0, 0, 2]
        assert found.tracks.tolist() == [2, 1, 2]
        assert found.classes.tolist() == [2, 1, 2]
        assert found.boxes.tolist()[:2] == [[10, 20, 40.5, 60.25], [0, 0, 5, 5]]
        assert found.boxes[2] == pytest.approx([11, 20, 41, 60])  # to a hundredth of a pixel
        assert found.scores.tolist() == [0.9, 0.3333, 0.8]

    def as_truth(self, folder):
        lists = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        images = [{"id": n, "video_id": 1, "frame_index": n} for n in (1, 2, 3)]
        content = {
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "videos": [{"id": 1, "name": "clip", **lists}],
            "images": images,
            "annotations": [],
        }
        return read_annotations(saved(folder / "gt.json", content))

    @pytest.mark.parametrize("num_frames", [0, 1])
    def test_video_without_tracks_is_an_empty_list(self, tmp_path, num_frames):
        with TaoWriter(tmp_path / "res.json", classes=CLASSES) as writer:
            for index in range(num_frames):
                writer.write(frame(index), Tracks.empty())
        assert orjson.loads((tmp_path / "res.json").read_bytes()) == []

    def test_interrupted_results_keep_another_name(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            write_and_stop(TaoWriter(tmp_path / "res.json", classes=CLASSES))
        assert [path.name for path in tmp_path.iterdir()] == ["res.json.part"]

    def test_label_without_a_class_is_a_mistake(self, tmp_path):
        with (
            pytest.raises(ValueError, match="below 1"),
            TaoWriter(tmp_path / "r.json", classes=("cat",)) as writer,
        ):
            writer.write(frame(0), WRITTEN[0])


class TestCocoWriter:
    def write(self, path, frames):
        with CocoWriter(path, info=INFO, classes=CLASSES) as writer:
            for index, tracks in frames.items():
                writer.write(frame(index), tracks)
        return orjson.loads(path.read_bytes())

    def test_annotations_are_read_back_as_detections(self, tmp_path):
        self.write(tmp_path / "clip.json", WRITTEN)
        table = coco.read_detections(tmp_path / "clip.json")
        assert table.classes == CLASSES
        assert table.frames.tolist() == [0, 0, 2]
        assert table.labels.tolist() == [1, 0, 1]
        assert table.scores.tolist() == pytest.approx([0.9, 0.3333, 0.8])
        assert table.boxes[0].tolist() == [10, 20, 40.5, 60.25]

    def test_file_is_a_coco_video(self, tmp_path):
        content = self.write(tmp_path / "clip.json", WRITTEN)
        size = {"width": 640, "height": 480}
        assert content["videos"] == [{"id": 1, "name": "clip", **size}]
        assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        assert [image["id"] for image in content["images"]] == [1, 2, 3]
        assert content["images"][1] == {
            "id": 2,
            "video_id": 1,
            "file_name": "clip/000002.jpg",
            "frame_id": 1,
            "frame_index": 1,
            "time": 0.04,
            **size,
        }
        assert content["annotations"][0] == {
            "id": 1,
            "image_id": 1,
            "video_id": 1,
            "category_id": 2,
            "track_id": 2,
            "instance_id": 2,
            "bbox": [10.0, 20.0, 30.5, 40.25],
            "area": 1227.625,
            "iscrowd": 0,
            "score": 0.9,
        }
        assert [entry["id"] for entry in content["annotations"]] == [1, 2, 3]

    @pytest.mark.parametrize("frames", [{}, {0: Tracks.empty()}])
    def test_video_without_tracks_is_complete(self, tmp_path, frames):
        content = self.write(tmp_path / "clip.json", frames)
        assert content["annotations"] == []
        assert len(content["images"]) == len(frames)

    def test_annotations_go_to_the_file_frame_by_frame(self, tmp_path):
        with CocoWriter(tmp_path / "clip.json", info=INFO, classes=CLASSES) as writer:
            writer.write(frame(0), WRITTEN[0])
            part = (tmp_path / "clip.json.part").read_bytes()
        assert part.count(b"track_id") == 2

    def test_interrupted_file_keeps_another_name(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            write_and_stop(CocoWriter(tmp_path / "clip.json", info=INFO, classes=CLASSES))
        assert [path.name for path in tmp_path.iterdir()] == ["clip.json.part"]
