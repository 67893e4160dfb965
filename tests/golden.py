"""Comparing with golden files: sampled entries, and differences relative to the largest value."""

from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"

# Float32 adds in another order on every machine; a wrong rule is off by tenths.
TOLERANCE = 2e-4


def golden(name):
    return np.load(DATA / f"{name}.npz", allow_pickle=False)


def assert_close(ours, golden_values, tolerance=TOLERANCE):
    """Within `tolerance` of the largest absolute golden value, everywhere."""
    ours, golden_values = np.asarray(ours), np.asarray(golden_values)
    assert ours.shape == golden_values.shape
    assert difference(ours, golden_values) <= tolerance


def difference(ours, golden_values):
    ours, golden_values = np.asarray(ours), np.asarray(golden_values)
    return np.abs(ours - golden_values).max(initial=0) / np.abs(golden_values).max(initial=1e-12)


def assert_samples_close(ours, file, name, tolerance=TOLERANCE):
    """A map against the entries of it that a `full` file holds, its shape and its statistics."""
    ours = np.asarray(ours)
    assert ours.shape == tuple(file[f"{name}/shape"])
    assert_close(ours.flatten()[file[f"{name}/idx"]], file[f"{name}/val"], tolerance)
    mean, deviation, total = file[f"{name}/stat"]
    statistics = [ours.mean(dtype=np.float64), ours.std(dtype=np.float64)]
    np.testing.assert_allclose(statistics, [mean, deviation], atol=tolerance * deviation)
    np.testing.assert_allclose(np.abs(ours).sum(dtype=np.float64), total, rtol=tolerance)
