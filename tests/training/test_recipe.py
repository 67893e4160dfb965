from dataclasses import replace

import pytest

from masa_cli.training.recipe import OptimiserSettings, RunSettings, learning_rate

MASA = OptimiserSettings()


def test_the_published_schedule():
    run = RunSettings()  # 12 epochs of 3125 steps
    assert learning_rate(0, MASA, run) == pytest.approx(0.08 * 0.001)
    assert learning_rate(500, MASA, run) == pytest.approx(0.08 * (0.001 + 0.999 / 2))
    assert learning_rate(1000, MASA, run) == pytest.approx(0.08)
    assert learning_rate(8 * 3125 - 1, MASA, run) == pytest.approx(0.08)
    assert learning_rate(8 * 3125, MASA, run) == pytest.approx(0.008)
    assert learning_rate(11 * 3125, MASA, run) == pytest.approx(0.0008)


def test_the_learning_rate_follows_the_real_batch():
    assert learning_rate(2000, MASA, RunSettings(batch=16)) == pytest.approx(0.02)


def test_a_cosine_falls_from_all_to_nearly_nothing():
    cosine = replace(MASA, cosine=True, warm_up_steps=0)
    run = RunSettings(steps=100)
    rates = [learning_rate(step, cosine, run) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.08, 0.08 * 0.505, 0.08 * 0.01])
