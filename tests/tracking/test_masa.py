"""The tracker against the reference's own outputs, and what it promises beyond them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masa_cli.structures import Detections
from masa_cli.tracking.masa import PRESETS, MasaSettings, MasaTracker
from tests.tracking.frames import update

DATA = Path(__file__).parents[1] / "data" / "association"

# The reference's configuration names, as fields of ours.
METRICS = {
    "bisoftmax": {"bisoftmax_weight": 1.0, "softmax_weight": 0.0, "cosine_weight": 0.0},
    "softmax": {"bisoftmax_weight": 0.0, "softmax_weight": 1.0, "cosine_weight": 0.0},
    "cosine": {"bisoftmax_weight": 0.0, "softmax_weight": 0.0, "cosine_weight": 1.0},
}


def reference_settings(config):
    """The reference's own configuration as our settings, with its constructors' defaults."""
    if config["type"] == "MasaTaoTracker":
        distance = config.get("max_distance", -1)
        return MasaSettings(
            birth_score=config.get("init_score_thr", 0.8),
            continue_score=config.get("obj_score_thr", 0.5),
            max_distance=math.inf if distance == -1 else distance,
            frame_rate=config.get("fps", 1),
        )
    continue_score = config.get("obj_score_thr", 0.5)
    return MasaSettings(
        birth_score=config.get("init_score_thr", 0.8),
        continue_score=continue_score,
        match_similarity=config.get("match_score_thr", 0.5),
        same_label=config.get("with_cats", False),
        duplicate_score=continue_score,
        confident_duplicate_iou=config.get("nms_class_iou_thr", 0.7),
        ambiguous_similarity=config.get("nms_conf_thr", 0.5),
        distractor_frames=config.get("memo_backdrop_frames", 1),
        **METRICS[config.get("match_metric", "bisoftmax")],
    )


def golden_runs():
    for name in ("tracker_tao", "tracker_bdd"):
        with np.load(DATA / f"{name}.npz") as golden:
            meta = json.loads(str(golden["meta_json"]))
        for scenario, description in meta["scenarios"].items():
            for run in description["runs"]:
                yield pytest.param(
                    name, scenario, run, meta["configs"][run], id=f"{name}-{scenario}-{run}"
                )


def read_scenario(golden, scenario):
    """The frames of a scenario: index, detections, embeddings."""
    column = {
        key: golden[f"{scenario}/{key}"]
        for key in ("frame_id", "num", "boxes", "scores", "labels", "embeds")
    }
    ends = np.cumsum(column["num"])
    for index, start, end in zip(column["frame_id"], ends - column["num"], ends, strict=True):
        rows = slice(start, end)
        detections = Detections(
            column["boxes"][rows], column["scores"][rows], column["labels"][rows]
        )
        yield int(index), detections, column["embeds"][rows]


@pytest.mark.parametrize(("name", "scenario", "run", "config"), list(golden_runs()))
def test_ids_equal_the_reference(name, scenario, run, config):
    tracker = MasaTracker(reference_settings(config))
    with np.load(DATA / f"{name}.npz") as golden:
        ends = np.cumsum(golden[f"{scenario}/{run}/out_num"])
        starts = ends - golden[f"{scenario}/{run}/out_num"]
        all_ids, all_sources = (golden[f"{scenario}/{run}/out_{key}"] for key in ("ids", "src"))
        frames = list(read_scenario(golden, scenario))
        for (index, detections, embeddings), start, end in zip(frames, starts, ends, strict=True):
            tracks = update(tracker, index, 0.0, detections, embeddings)
            # The reference counts ids from 0, every output of ours from 1.
            np.testing.assert_array_equal(tracks.ids - 1, all_ids[start:end], f"frame {index}")
            sources = all_sources[start:end]
            np.testing.assert_array_equal(tracks.boxes, detections.boxes[sources])
            np.testing.assert_array_equal(tracks.labels, detections.labels[sources])
        state = tracker.state()
        # The order of memory differs only if the reference re-inserts; compare by id.
        order = np.argsort(state["0.ids"])
        np.testing.assert_array_equal(
            state["0.ids"][order] - 1, np.sort(golden[f"{scenario}/{run}/mem_ids"])
        )
        np.testing.assert_allclose(
            state["0.embeddings"], golden[f"{scenario}/{run}/mem_embed"], atol=1e-6
        )
        assert state["next_id"] == golden[f"{scenario}/{run}/num_tracks"] + 1


def test_presets_are_the_configurations_of_the_reference():
    configs = {}
    for name in ("tracker_tao", "tracker_bdd"):
        with np.load(DATA / f"{name}.npz") as golden:
            configs[name] = json.loads(str(golden["meta_json"]))["configs"]
    assert PRESETS["masa-demo"] == reference_settings(configs["tracker_tao"]["demo"])
    assert PRESETS["masa-bdd"] == reference_settings(configs["tracker_bdd"]["bench"])
    # Without a distance gate the frame rate has no meaning.
    assert PRESETS["masa-benchmark"] == replace(
        reference_settings(configs["tracker_tao"]["bench"]), frame_rate=30.0
    )


def boxes_of(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def one_box(x=0.0, score=0.9, label=0):
    return Detections(
        boxes_of([x, 0, x + 10, 10]), np.array([score], np.float32), np.array([label], np.int64)
    )


EMBEDDING = np.eye(4, dtype=np.float32) * 3


def test_a_frame_without_boxes_gives_none_and_ages_nothing():
    tracker = MasaTracker(MasaSettings(memory_frames=2))
    update(tracker, 0, 0.0, one_box(), EMBEDDING[:1])
    for index in range(1, 50):
        assert len(update(tracker, index, 0.0, Detections.empty(), np.empty((0, 4)))) == 0
    assert update(tracker, 50, 0.0, one_box(), EMBEDDING[:1]).ids.tolist() == [1]


def test_a_track_is_forgotten_after_its_memory():
    tracker = MasaTracker(MasaSettings(memory_frames=2))
    update(tracker, 0, 0.0, one_box(), EMBEDDING[:1])
    for index in (1, 2, 3):  # another object keeps the clock running
        update(tracker, index, 0.0, one_box(x=500), EMBEDDING[1:2])
    assert update(tracker, 4, 0.0, one_box(), EMBEDDING[:1]).ids.tolist() == [3]


def test_two_trackers_do_not_touch_each_other():
    first, second = MasaTracker(PRESETS["masa-demo"]), MasaTracker(PRESETS["masa-demo"])
    assert update(first, 0, 0.0, one_box(), EMBEDDING[:1]).ids.tolist() == [1]
    assert update(second, 0, 0.0, one_box(), EMBEDDING[1:2]).ids.tolist() == [1]
    assert update(first, 1, 0.0, one_box(x=500), EMBEDDING[2:3]).ids.tolist() == [2]
    assert update(second, 1, 0.0, one_box(), EMBEDDING[1:2]).ids.tolist() == [1]


def test_ids_never_repeat_within_a_run():
    generator = np.random.default_rng(0)
    tracker = MasaTracker(MasaSettings(memory_frames=1))
    first_seen = {}
    for index in range(40):
        boxes = generator.uniform(0, 900, (5, 2)).astype(np.float32)
        detections = Detections(
            np.concatenate([boxes, boxes + 20], axis=1),
            generator.uniform(0.2, 1, 5).astype(np.float32),
            np.zeros(5, np.int64),
        )
        tracks = update(
            tracker, index, 0.0, detections, generator.normal(size=(5, 8)).astype(np.float32)
        )
        assert len(set(tracks.ids.tolist())) == len(tracks)
        for identity in tracks.ids.tolist():
            assert identity >= 1
            # With a memory of one frame nothing unseen for longer may return under its old id.
            assert index - first_seen.get(identity, index) <= 1
            first_seen[identity] = index


@pytest.mark.parametrize("name", ["tracker_tao", "tracker_bdd"])
def test_a_restored_tracker_goes_on_as_if_it_had_never_stopped(name):
    with np.load(DATA / f"{name}.npz") as golden:
        frames = list(read_scenario(golden, "crowd30_manycls"))
        configs = json.loads(str(golden["meta_json"]))["configs"]
    settings = reference_settings(configs.get("backdrop3", configs["bench"]))
    straight, before = MasaTracker(settings), MasaTracker(settings)
    expected = [
        update(straight, index, 0.0, found, embeddings) for index, found, embeddings in frames
    ]
    for index, found, embeddings in frames[:11]:
        update(before, index, 0.0, found, embeddings)
    after = MasaTracker(settings)
    after.restore(before.state())
    for (index, found, embeddings), tracks in zip(frames[11:], expected[11:], strict=True):
        again = update(after, index, 0.0, found, embeddings)
        np.testing.assert_array_equal(again.ids, tracks.ids)
        np.testing.assert_array_equal(again.boxes, tracks.boxes)
    for key, array in straight.state().items():
        np.testing.assert_array_equal(array, after.state()[key], key)


def test_a_new_tracker_can_be_saved_and_restored():
    tracker = MasaTracker(PRESETS["masa-demo"])
    tracker.restore(MasaTracker(PRESETS["masa-demo"]).state())
    assert update(tracker, 0, 0.0, one_box(), EMBEDDING[:1]).ids.tolist() == [1]


def test_temperature_sharpens_the_softmax():
    settings = MasaSettings(bisoftmax_weight=1.0, cosine_weight=0.0, match_similarity=0.9)
    pair = Detections(
        boxes_of([0, 0, 10, 10], [50, 0, 60, 10]),
        np.array([0.9, 0.8], np.float32),
        np.zeros(2, np.int64),
    )
    for temperature, ids in ((1.0, [3, 4]), (0.1, [1, 2])):
        tracker = MasaTracker(settings, temperature=temperature)
        update(tracker, 0, 0.0, pair, np.eye(2, dtype=np.float32))
        # Softmax of (1, 0): 0.73 at temperature 1, 0.99995 at 0.1.
        assert update(tracker, 1, 0.0, pair, np.eye(2, dtype=np.float32)).ids.tolist() == ids


def test_missing_rows_of_embeddings_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match=r"embeddings must be \(1, D\)"):
        update(MasaTracker(PRESETS["masa-demo"]), 0, 0.0, one_box(), EMBEDDING[:2])


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="memory_frames"):
        MasaSettings(memory_frames=0)
    with pytest.raises(ValueError, match="momentum"):
        MasaSettings(momentum=1.5)
