import json
from contextlib import suppress

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.ytvis import YtvisWriter, read_tracks
from masa_cli.masks import mask_fields
from tests.mask_tracks import CLASSES, INFO, frame, square, three_frames, write_three_frames


def written(tmp_path):
    write_three_frames(YtvisWriter(tmp_path / "a.json", info=INFO, classes=CLASSES))
    return json.loads((tmp_path / "a.json").read_text())


def test_each_identity_has_an_entry_for_every_frame(tmp_path):
    content = written(tmp_path)
    assert [entry["id"] for entry in content["annotations"]] == [3, 7, 9]
    seven = content["annotations"][1]
    [first], [last] = (mask_fields([square(*at)]) for at in ((0, 0, 10, 10), (1, 1, 11, 11)))
    assert seven["segmentations"] == [first, None, last]
    assert seven["bboxes"] == [[0, 0, 10, 10], None, [1, 1, 10, 10]]
    assert seven["areas"] == [100, None, 100]
    assert seven["category_id"] == 1
    assert seven["score"] == 0.75
    assert (seven["length"], seven["width"], seven["height"]) == (3, 30, 20)


def test_a_box_without_a_mask_is_there_without_one(tmp_path):
    nine = written(tmp_path)["annotations"][2]
    assert nine["bboxes"] == [[20, 10, 8, 8], None, None]
    assert nine["segmentations"] == nine["areas"] == [None, None, None]


def test_video_and_categories(tmp_path):
    content = written(tmp_path)
    assert content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}]
    [video] = content["videos"]
    assert video["length"] == 3
    assert video["file_names"][2] == "street/000003.jpg"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_category_is_that_of_most_boxes(tmp_path):
    first, _, last = three_frames()
    with YtvisWriter(tmp_path / "a.json", info=INFO, classes=CLASSES) as writer:
        for index, tracks in enumerate((last, first[1:2].renamed(last.ids), last)):
            writer.write(frame(index), tracks)
    [entry] = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert entry["category_id"] == 1


def test_an_interrupted_file_stays_a_part(tmp_path):
    with (
        suppress(KeyboardInterrupt),
        YtvisWriter(tmp_path / "a.json", info=INFO, classes=CLASSES) as writer,
    ):
        writer.write(frame(0), three_frames()[0])
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.json.part"]


def test_what_was_written_is_read(tmp_path):
    written(tmp_path)
    table = read_tracks(tmp_path / "a.json")
    assert (table.classes, table.num_frames) == (CLASSES, 3)
    for index, expected in enumerate(three_frames()):
        got = table.tracks[table.frames == index]
        order = np.argsort(expected.ids)
        np.testing.assert_array_equal(got.ids, expected.ids[order])
        np.testing.assert_array_equal(got.boxes, expected.boxes[order])
        np.testing.assert_array_equal(got.labels, expected.labels[order])
        assert got.masks.tolist() == expected.masks[order].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"videos":[],"categories":[],"annotations":[]}',
        '{"videos":[{"length":"x"}]}',
    ],
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SourceError, match="no YouTube-VIS json of one video"):
        read_tracks(tmp_path / "a.json")


def test_a_length_beyond_all_videos_costs_nothing(tmp_path):
    content = written(tmp_path)
    content["videos"][0] |= {"length": 10**12}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert len(read_tracks(tmp_path / "a.json")) == 4


def test_two_videos_are_named(tmp_path):
    content = written(tmp_path)
    content["videos"] *= 2
    content["videos"][1] = content["videos"][1] | {"id": 8}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(SourceError, match=r'2 videos, .*: "1", "8"'):
        read_tracks(tmp_path / "a.json")
