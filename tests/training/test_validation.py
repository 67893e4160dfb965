"""What validation says of a detector, of embeddings, and of tracking with them."""

import numpy as np
import pytest
import torch

from masa_cli.errors import SourceError
from masa_cli.formats.mot import MotWriter
from masa_cli.sources import open_source
from masa_cli.structures import Detections
from masa_cli.tracking import build_tracker
from masa_cli.training.pairs import Pair, View
from masa_cli.training.validation import (
    average_precision_in_pairs,
    average_precisions,
    coco_rows,
    find_videos,
    recall_at_1,
    score_videos,
)
from tests.clips import boxes_at, write_clip
from tests.tracking.frames import update

BOX = np.array([[10.0, 10, 30, 40], [40, 10, 60, 40]])


def scored(rows, scores):
    return [row | {"score": score} for row, score in zip(rows, scores, strict=True)]


def test_all_found_and_nothing_else_is_one():
    truth = coco_rows(1, BOX, [1, 2])
    assert average_precisions(truth, scored(truth, [0.9, 0.2]), [1]) == pytest.approx({1: 1, 2: 1})


def test_what_is_not_found_or_wrong_costs():
    truth = coco_rows(1, BOX, [1, 1])
    half = average_precisions(truth, scored(truth[:1], [0.9]), [1])[1]
    assert half == pytest.approx(0.5, abs=0.01)
    wrong = coco_rows(1, BOX[:1] + 30, [1])
    worse = average_precisions(truth, scored([*wrong, *truth], [0.9, 0.8, 0.7]), [1])[1]
    assert half < worse < 1
    assert average_precisions(truth, [], [1]) == {1: 0.0}


def test_what_lies_where_nothing_is_known_costs_nothing():
    truth = coco_rows(1, BOX, [1, 1])
    ignored = [truth[0], truth[1] | {"iscrowd": 1}]
    assert average_precisions(ignored, scored(truth, [0.5, 0.9]), [1]) == pytest.approx({1: 1})


def test_a_detector_is_asked_for_both_views():
    none = np.empty((0, 4), np.float32), np.empty(0, np.int64)
    boxes, labels = BOX.astype(np.float32), np.array([0, 1])
    view = View(np.zeros((64, 64, 3), np.uint8), boxes, labels + 1, labels, *none)

    class Network:
        device = torch.device("cpu")

        def extract(self, batch):
            views = type("Views", (), {"maps": {0: torch.zeros(1)}})
            key, reference = views(), views()
            key.instances, reference.instances = batch.keys, batch.references
            return type("BatchFeatures", (), {"key": key, "reference": reference, "size": 64})()

    def says(first):
        logits = torch.full((1, 2, 3), -9.0)
        logits[0, 0, 0] = 3
        logits[0, 1, 1] = first
        return lambda maps: (logits, torch.tensor(boxes)[None])

    pair = Pair(view, view, 0)
    assert average_precision_in_pairs(Network(), says(3.0), [pair]) == pytest.approx(1)
    assert average_precision_in_pairs(Network(), says(-9.0), [pair]) == pytest.approx(0.5)


def view(ids):
    ids = np.array(ids, np.int64)
    boxes = np.zeros((len(ids), 4), np.float32)
    return View(np.zeros((4, 4, 3), np.uint8), boxes, ids, ids * 0, boxes[:0], ids[:0])


def test_recall_counts_instances_that_are_in_both_views():
    # Of the first pair 1 is found, 2 is taken for 3; 4 has no partner.
    first = Pair(view([1, 2, 4]), view([1, 2, 3]), 0)
    keys = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    references = np.array([[5, 0], [-1, 0.5], [0, 2]], np.float32)
    # The second pair's only instance looks like 1 of the first, in its length alone it differs.
    second = Pair(view([1]), view([1]), 1)
    key, reference = np.array([[3, 0]], np.float32), np.array([[1, 0.5]], np.float32)
    scores = recall_at_1([(first, (keys, references)), (second, (key, reference))])
    assert scores["recall@1 in pair"] == 2 / 3
    assert scores["recall@1"] == 1 / 3


NUM_FRAMES = 8


class Names:
    """An adapter that knows every box by its size, or none."""

    temperature = 1.0

    def __init__(self, knows):
        self._knows = knows

    def embed(self, frames, boxes):
        (rows,) = boxes
        is_first = (rows[:, 2] - rows[:, 0]) > 19
        if not self._knows:
            is_first = np.full(len(rows), frames[0].index % 2 == 0) ^ is_first
        return [np.where(is_first[:, None], [[9.0, 0]], [[0, 9.0]]).astype(np.float32)]


@pytest.fixture
def folder(tmp_path):
    """Two sequences: a video file, and nothing but boxes that do not count."""
    sequence = tmp_path / "truth" / "street"
    (sequence / "gt").mkdir(parents=True)
    write_clip(sequence, NUM_FRAMES)
    (sequence / "dets.txt").unlink()
    rows = [
        f"{index + 1},{number + 1},{','.join(map(str, box))},1,-1,-1,-1"
        for index in range(NUM_FRAMES)
        for number, box in enumerate(boxes_at(index))
    ]
    (sequence / "gt" / "gt.txt").write_text("\n".join(rows))
    return tmp_path / "truth"


def test_embeddings_that_know_objects_score_higher_than_those_that_swap_them(folder, tmp_path):
    videos = find_videos(folder)
    assert [video.name for video in videos] == ["street"]
    known = score_videos(videos, folder, tmp_path / "known", Names(knows=True))
    assert known == {"IDF1": 1.0, "AssA": pytest.approx(1.0)}
    swapped = score_videos(videos, folder, tmp_path / "swapped", Names(knows=False))
    assert swapped["IDF1"] <= 0.5
    assert (tmp_path / "known" / "street.txt").exists()


def test_tracks_are_those_of_a_loop_of_its_own_over_frames_as_version_0_1_0_had(folder, tmp_path):
    adapter = Names(knows=False)
    score_videos(find_videos(folder), folder, tmp_path / "pipeline", adapter)
    tracker = build_tracker("masa-demo", temperature=adapter.temperature)
    with MotWriter(tmp_path / "loop.txt") as writer:
        for frame in open_source(folder / "street" / "street.mp4").frames():
            boxes = np.array(boxes_at(frame.index), np.float32)
            boxes[:, 2:] += boxes[:, :2]  # MOTChallenge has sizes
            found = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int64))
            (embeddings,) = adapter.embed([frame], [boxes])
            writer.write(frame, update(tracker, frame.index, float(frame.time), found, embeddings))
    own, expected = tmp_path / "pipeline" / "street.txt", tmp_path / "loop.txt"
    assert own.read_bytes() == expected.read_bytes() != b""


def test_incomplete_sequences_are_errors(folder, tmp_path):
    with pytest.raises(SourceError, match="no sequences"):
        find_videos(tmp_path / "known")
    (folder / "street" / "other.avi").write_bytes(b"")
    with pytest.raises(SourceError, match="neither img1 nor one video"):
        find_videos(folder)
    (folder / "street" / "other.avi").unlink()
    (folder / "street" / "gt" / "gt.txt").write_text("1,1,0,0,5,5,0,-1,-1,-1\n")
    with pytest.raises(SourceError, match="no boxes that count"):
        find_videos(folder)
