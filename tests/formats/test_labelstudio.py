"""Label Studio's JSON of a video: keyframes, what is between them, and its other forms."""

import json

import numpy as np
import pytest

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats import FORMATS, Hints, read_tracks, recognise

SIZE = (200, 100)


def key(frame, x=10.0, *, enabled=True, rotation=0, y=20.0, width=10.0, height=40.0):
    box = {"x": x, "y": y, "width": width, "height": height}
    return {"frame": frame, "enabled": enabled, "rotation": rotation, "time": 0.04 * frame, **box}


def an_object(*sequence, label="car", frames=10, **more):
    value = {"framesCount": frames, "duration": frames / 25, "sequence": list(sequence)}
    if label:
        value["labels"] = [label]
    return {"id": "x1", "type": "videorectangle", "value": value, **more}


def a_task(*results, video="/data/a.mp4", **annotation):
    made = [{"id": 3, "was_cancelled": False, "result": list(results), **annotation}]
    return {"id": 18, "annotations": made, "data": {"video": video}}


def read(folder, content, size=SIZE):
    path = folder / "o.json"
    path.write_text(json.dumps(content))
    assert recognise(path) == "labelstudio"
    return read_tracks(path, hints=Hints(size))


def test_boxes_between_keyframes_move_evenly_and_the_last_stays(tmp_path, caplog):
    table = read(tmp_path, [a_task(an_object(key(2, 10), key(6, 50), frames=8))])
    assert table.frames.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert table.tracks.boxes[:, 0].tolist() == [20, 40, 60, 80, 100, 100, 100]
    assert table.tracks.boxes[0].tolist() == [20, 20, 40, 60]
    assert table.tracks.interpolated.tolist() == [False, True, True, True, False, True, True]
    assert (table.num_frames, table.classes) == (8, ("car",))
    assert np.allclose(table.times.at(np.array([0, 5])), [0, 0.2])
    assert "its frames are counted at 25 frames/s" in caplog.text


def test_an_object_is_gone_after_a_keyframe_that_is_not_enabled(tmp_path):
    keys = key(1), key(3, enabled=False), key(6), key(7, enabled=False)
    assert read(tmp_path, [a_task(an_object(*keys))]).frames.tolist() == [0, 1, 2, 5, 6]


def test_a_turned_box_becomes_the_upright_one_around_it(tmp_path):
    turned = key(1, 50, enabled=False, rotation=90)  # 20 x 40 around 100, 20, clockwise
    assert np.allclose(
        read(tmp_path, [a_task(an_object(turned))]).tracks.boxes, [[60, 20, 100, 40]]
    )


def test_objects_are_numbered_and_labels_may_stand_apart(tmp_path):
    apart = {"id": "x2", "type": "labels", "value": {"labels": ["dog"]}}
    second = an_object(key(1, enabled=False), label="") | {"id": "x2", "score": 0.5}
    table = read(tmp_path, a_task(an_object(key(1, enabled=False)), second, apart))
    assert table.tracks.ids.tolist() == [1, 2]
    assert [table.classes[label] for label in table.tracks.labels] == ["car", "dog"]
    assert table.tracks.scores.tolist() == [1, 0.5]


def test_the_short_form_is_read(tmp_path):
    value = an_object(key(1, enabled=False))["value"]
    table = read(tmp_path, [{"video": "/data/a.mp4", "id": 1, "box": [value], "annotator": 1}])
    assert (table.frames.tolist(), table.classes) == ([0], ("car",))


def test_predictions_are_read_where_there_is_no_annotation(tmp_path):
    task = a_task(an_object(key(1, enabled=False)))
    task["predictions"] = task.pop("annotations")
    task["annotations"] = []
    assert len(read(tmp_path, [task])) == 1


def test_of_several_annotations_the_first_that_counts_is_read(tmp_path, caplog):
    task = a_task(an_object(key(1, 30, enabled=False)), was_cancelled=True)
    for x in (10, 20):
        task["annotations"] += a_task(an_object(key(1, x, enabled=False)))["annotations"]
    assert read(tmp_path, [task]).tracks.boxes[:, 0].tolist() == [20]
    assert "of 2 annotations, the first is read" in caplog.text


def test_two_videos_are_refused_by_their_names(tmp_path):
    tasks = [a_task(an_object(key(1)), video=name) for name in ("/data/a.mp4", "/data/b.mp4")]
    with pytest.raises(SourceError, match=r'2 videos, .*"/data/a.mp4", "/data/b.mp4"'):
        read(tmp_path, tasks)


def test_the_size_must_be_known(tmp_path):
    with pytest.raises(SettingsError, match="percent of the picture, whose size is not known"):
        read(tmp_path, [a_task(an_object(key(1)))], size=None)
    told = an_object(key(1, enabled=False), original_width=200, original_height=100)
    assert read(tmp_path, [a_task(told)], size=None).tracks.boxes.tolist() == [[20, 20, 40, 60]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": 0}, "expected a frame from 1 to"),
        ({"frame": 10**9}, "expected a frame from 1 to"),
        ({"frame": "1"}, "a whole number as frame"),
        ({"x": None}, "a number below 1e.09 as x"),
        ({"rotation": "left"}, "as rotation"),
    ],
)
def test_a_malformed_keyframe_is_named(tmp_path, change, message):
    with pytest.raises(
        SourceError, match=rf"object 1 sequence entry 1: expected .*{message}|{message}"
    ):
        read(tmp_path, [a_task(an_object(key(1) | change))])


def test_it_is_read_only():
    assert FORMATS["labelstudio"].write is None
