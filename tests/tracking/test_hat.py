"""The history-aware transformation: the reference's own identities, and the published formulas."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from masa_cli.errors import SettingsError
from masa_cli.tracking import build_tracker
from masa_cli.tracking.hat import PRESETS, HatSettings, HatTracker, History, Projection
from masa_cli.tracking.masa import PRESETS as MASA_PRESETS
from masa_cli.tracking.masa import MasaTracker
from tests.tracking.frames import update
from tests.tracking.test_masa import read_scenario

GOLDEN = Path(__file__).parents[1] / "data/association/tracker_hat.npz"
PRESET_OF = {"tao": "masa-hat", "dance": "masa-hat-dance", "sports": "masa-hat-sports"}
with np.load(GOLDEN) as golden:
    CONFIGS = json.loads(str(golden["meta_json"]))
    SCENARIOS = sorted({key.partition("/")[0] for key in golden.files} - {"meta_json"})


@pytest.mark.parametrize("run", PRESET_OF)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ids_equal_the_reference(scenario, run):
    tracker = build_tracker(PRESET_OF[run])
    with np.load(GOLDEN) as golden:
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
        assert tracker.state()["next_id"] == golden[f"{scenario}/{run}/num_tracks"] + 1


def preset_of(config):
    """The reference's configuration as our settings."""
    return HatSettings(
        birth_score=config["init_score_thr"],
        continue_score=config["obj_score_thr"],
        match_similarity=config["match_score_thr"],
        memory_frames=config["memo_tracklet_frames"],
        momentum=config["memo_momentum"],
        bisoftmax_weight=0.0,
        cosine_weight=1.0,
        history_frames=config["transfer_hist_len"],
        min_history=config["transfer_factor_thr"],
        projected_weight=config["transfer_similarity_alpha"],
        standardise=config["use_standard_scaler"],
    )


def test_presets_are_the_configurations_of_the_reference():
    for run, name in PRESET_OF.items():
        assert PRESETS[name] == preset_of(CONFIGS[run])


def test_the_preset_for_bdd_is_that_of_masa_but_for_the_projection():
    settings = PRESETS["masa-hat-bdd"]
    for name in MASA_PRESETS["masa-bdd"].__dataclass_fields__:
        assert getattr(settings, name) == getattr(MASA_PRESETS["masa-bdd"], name)
    assert (settings.history_frames, settings.min_history) == (40, 5)
    assert (settings.projected_weight, settings.optimal) == (1, False)


def published(rows, classes, weights, settings):
    """(D, K) eigenvectors and the centre, by the formulas as they are published."""
    centre = rows.mean(axis=0) if settings.standardise else np.zeros(rows.shape[1])
    scale = rows.std(axis=0) if settings.standardise else np.ones(rows.shape[1])
    scale[scale < 1e-12] = 1
    rows = (rows - centre) / scale
    names = np.unique(classes)
    within = 0
    for name in names:
        own = rows[classes == name]
        own = own - own.mean(axis=0)
        spread = own.std(axis=0)
        spread[spread < 1e-12] = 1
        unit = own / spread
        count, dim = unit.shape
        mean = (unit**2).sum() / (count * dim)
        delta_ = ((unit.T @ unit) ** 2).sum() / count**2
        beta = (((unit**2).T @ unit**2).sum() / count - delta_) / (dim * count)
        trace = ((unit**2).sum(axis=0) / count).sum()
        delta = (delta_ - 2 * mean * trace + dim * mean**2) / dim
        share = min(beta, delta) / delta if beta else 0
        cov = unit.T @ unit / count
        cov = (1 - share) * cov + share * np.trace(cov) / dim * np.eye(dim)
        within = within + count / len(rows) * spread[:, None] * cov * spread
    means = [np.average(rows[classes == n], axis=0, weights=weights[classes == n]) for n in names]
    mean = np.average(rows, axis=0, weights=weights)
    between = sum(
        weights[classes == name].sum() * np.outer(each - mean, each - mean)
        for name, each in zip(names, means, strict=True)
    )
    values, vectors = scipy.linalg.eigh(between, within)
    vectors = vectors[:, np.argsort(-values)][:, : len(names) - 1]
    return vectors / scale[:, None], centre


def remembered(num_tracks, dim, *, num_places=8, seed=0):
    """Tracks that remember several embeddings each, in rings that are full, partly full, or new."""
    generator = np.random.default_rng(seed)
    means = generator.normal(size=(num_tracks, dim))
    spread = generator.uniform(0.1, 1, dim)
    history = History.start(means.astype(np.float32), num_places)
    for step in range(3 * num_places):
        rows = np.flatnonzero(generator.random(num_tracks) < (0.9 if step < 3 else 0.4))
        noise = generator.normal(size=(len(rows), dim)) * spread
        history.append(rows, (means[rows] + noise).astype(np.float32))
    return history


def written_out(history, decay):
    """Rows, tracks and weights of the queues, oldest first."""
    rows, classes, weights = [], [], []
    for track, (ring, count) in enumerate(zip(history.embeddings, history.counts, strict=True)):
        for number in range(max(0, count - len(ring)), count):
            rows.append(ring[number % len(ring)])
            classes.append(track)
            weights.append(decay ** (count - number))
    return np.array(rows, np.float64), np.array(classes), np.array(weights)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize(("num_tracks", "dim"), [(2, 16), (7, 24), (12, 64), (20, 8), (9, 9)])
def test_inner_products_are_those_of_the_published_eigenvectors(num_tracks, dim, standardise):
    settings = HatSettings(standardise=standardise)
    history = remembered(num_tracks, dim)
    vectors, centre = published(*written_out(history, settings.history_decay), settings)
    others = np.random.default_rng(1).normal(size=(5, dim)).astype(np.float32)
    expected = (others - centre) @ vectors
    projected = Projection.fit(history, settings).of(others).astype(np.float64)
    assert projected.shape[1] == min(num_tracks - 1, dim)
    products = expected @ expected.T
    # Float32 of the result; the decompositions are in float64.
    np.testing.assert_allclose(
        projected @ projected.T, products, rtol=1e-4, atol=1e-5 * products.max()
    )


@pytest.mark.parametrize("standardise", [True, False])
def test_dimensions_that_do_not_vary_keep_their_scale(standardise):
    """One of all tracks, one of a single track, and one track that has a single embedding."""
    settings = HatSettings(standardise=standardise)
    history = remembered(6, 20)
    history.embeddings[..., 3] = np.where(history.ages() >= 0, np.float32(0.1), 0)
    history.embeddings[2, :, 5] = np.where(history.ages()[2] >= 0, np.float32(0.3), 0)
    history.embeddings[4, 1:], history.counts[4] = 0, 1
    vectors, centre = published(*written_out(history, settings.history_decay), settings)
    others = np.random.default_rng(1).normal(size=(5, 20)).astype(np.float32)
    others[:, 3] = 0.1
    expected = (others - centre) @ vectors
    projected = Projection.fit(history, settings).of(others).astype(np.float64)
    products = expected @ expected.T
    np.testing.assert_allclose(
        projected @ projected.T, products, rtol=1e-4, atol=1e-5 * products.max()
    )


def test_tracks_that_do_not_vary_are_compared_as_they_are():
    """All scatter within tracks is 0: nothing could be divided by it."""
    tracker = HatTracker(PRESETS["masa-hat"])
    with np.load(GOLDEN) as golden:
        _, detections, _ = next(read_scenario(golden, "basic40"))
    embeddings = np.eye(len(detections), 16, dtype=np.float32)
    frames = [update(tracker, index, 0.0, detections, embeddings) for index in range(12)]
    for tracks in frames[1:]:
        np.testing.assert_array_equal(tracks.ids, frames[0].ids)


def test_a_frame_without_boxes_changes_nothing():
    tracker = HatTracker(PRESETS["masa-hat"])
    with np.load(GOLDEN) as golden:
        frames = list(read_scenario(golden, "basic40"))[:3]
    for index, detections, embeddings in frames:
        update(tracker, index, 0.0, detections, embeddings)
    before = tracker.state()
    assert len(update(tracker, 3, 0.0, detections[:0], embeddings[:0])) == 0
    for name, array in tracker.state().items():
        np.testing.assert_array_equal(array, before[name], name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_restored_tracker_goes_on_as_if_it_had_never_stopped(name):
    with np.load(GOLDEN) as golden:
        frames = list(read_scenario(golden, "crowd30_manycls"))
    straight, before, after = (build_tracker(name) for _ in range(3))
    expected = [update(straight, index, 0.0, *rest).ids for index, *rest in frames]
    for index, *rest in frames[:17]:
        update(before, index, 0.0, *rest)
    after.restore({key: array.copy() for key, array in before.state().items()})
    for (index, *rest), ids in zip(frames[17:], expected[17:], strict=True):
        np.testing.assert_array_equal(update(after, index, 0.0, *rest).ids, ids)
    for key, array in straight.state().items():
        np.testing.assert_array_equal(array, after.state()[key], key)


def test_a_new_tracker_can_be_saved_and_restored():
    tracker = build_tracker("masa-hat")
    tracker.restore(build_tracker("masa-hat").state())
    assert tracker.state().keys() == {"next_id"}


def test_without_weight_of_the_projection_the_bdd_form_is_that_of_masa():
    settings = replace(PRESETS["masa-hat-bdd"], projected_weight=0.0)
    ours, plain = HatTracker(settings), MasaTracker(MASA_PRESETS["masa-bdd"])
    projecting = HatTracker(PRESETS["masa-hat-bdd"])
    with np.load(GOLDEN) as golden:
        frames = list(read_scenario(golden, "crowd30_manycls"))
    differs = False
    for index, *rest in frames:
        ids = update(ours, index, 0.0, *rest).ids
        np.testing.assert_array_equal(ids, update(plain, index, 0.0, *rest).ids)
        differs |= update(projecting, index, 0.0, *rest).ids.tolist() != ids.tolist()
    assert differs


@pytest.mark.parametrize(
    "change", ["history_frames=0", "min_history=-1", "projected_weight=1.5", "history_decay=0"]
)
def test_settings_that_cannot_work_are_refused(change):
    with pytest.raises(SettingsError, match=change.partition("=")[0]):
        build_tracker("masa-hat", changes=[change])
    with pytest.raises(SettingsError, match="momentum"):  # those of MASA are checked, too
        build_tracker("masa-hat", changes=["momentum=2"])
