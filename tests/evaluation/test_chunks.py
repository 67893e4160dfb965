"""Scores by chunks: of all of them TrackEval's, of some as if there were no others."""

import numpy as np
import pytest

from masa_cli.evaluation.chunks import METRICS, Part, gain_of
from masa_cli.evaluation.metrics import Metrics, data_of

FIELDS = {"idf1": ("Identity", "IDF1"), "hota": ("HOTA", "HOTA"), "mota": ("CLEAR", "MOTA")}


def tracked(seed, num_frames=60, num_objects=5, noise=0.35, births=True):
    """Random overlaps: ids switch, boxes are missing or false, some frames are empty."""
    generator = np.random.default_rng(seed)
    names = np.arange(num_objects)
    gt_ids, ids, similarities = [], [], []
    for index in range(num_frames):
        if generator.random() < 0.1:
            generator.shuffle(names)
        there = np.flatnonzero(generator.random(num_objects) < 0.8)
        found = np.flatnonzero(generator.random(num_objects) < 0.8)
        if index % 17 == 3:
            there = there[:0]
        if index % 19 == 5:
            found = found[:0]
        similarity = generator.random((len(there), len(found))) * noise
        similarity += (there[:, None] == found) * generator.uniform(0.3, 0.65, (1, len(found)))
        gt_ids.append(there)
        ids.append(10 + names[found])
        similarities.append(np.minimum(similarity, 1))
    return gt_ids, ids, similarities


def scored(name, frames, num_chunks=4):
    length = len(frames[0])
    chunks = np.arange(length) * num_chunks // length
    return METRICS[name](data_of(*frames, length), chunks, num_chunks)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_all_chunks_once_are_what_trackeval_says(name, seed):
    pytest.importorskip("trackeval")
    frames = tracked(seed)
    part, field = FIELDS[name]
    expected = np.mean(Metrics().of(data_of(*frames, len(frames[0])))[part][field])
    assert scored(name, frames).of(np.ones(4)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_every_chunk_twice_changes_nothing(name):
    score = scored(name, tracked(1))
    assert score.of(np.full(4, 2.0)) == pytest.approx(score.of(np.ones(4)))


@pytest.mark.parametrize("name", ["idf1", "mota"])
def test_one_chunk_alone_is_scored_as_if_there_were_no_others(name):
    """HOTA matches boxes by what it knows of the whole sequence; MOTA counts a switch where it is
    seen, and this object has none."""
    frames = tracked(2, num_objects=1)
    first = [column[:15] for column in frames]
    alone = scored(name, first, num_chunks=1).of(np.ones(1))
    assert scored(name, frames).of(np.eye(4)[0]) == pytest.approx(alone)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("missing", [(0,), (1,), (0, 1)])
def test_without_truth_or_results_the_score_is_0(name, missing):
    frames = tracked(3)
    for side in missing:
        frames[side][:] = [ids[:0] for ids in frames[side]]
    for index in range(len(frames[2])):
        frames[2][index] = np.empty((len(frames[0][index]), len(frames[1][index])))
    assert scored(name, frames).of(np.ones(4)) == 0


class Always:
    """A score for each chunk; theirs is the mean."""

    def __init__(self, *scores):
        self._scores = np.array(scores)

    def of(self, weights):
        return float(weights @ self._scores / weights.sum())


def part(before, after, chunks=None):
    chunks = np.arange(len(before)) if chunks is None else np.array(chunks)
    return Part(Always(*before), Always(*after), chunks, len(before))


def test_a_gain_in_every_chunk_is_sure():
    gain = gain_of([part([0.5, 0.6, 0.7], [0.6, 0.7, 0.8]), part([0.1], [0.2])])
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert gain.num_chunks == 4


def test_a_gain_in_one_chunk_of_many_is_not():
    gain = gain_of([part([0.5] * 8, [0.5] * 7 + [0.9])])
    assert gain.mean == pytest.approx(0.05)
    assert gain.low <= 0 < gain.high


def test_only_the_chunks_of_a_part_count():
    gain = gain_of([part([0, 0, 0, 0], [1, 1, 0, 0], chunks=[2, 3])])
    assert (gain.mean, gain.low, gain.high, gain.num_chunks) == (0, 0, 0, 2)
