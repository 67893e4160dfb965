"""How fast weights change at each step. No torch."""

from __future__ import annotations

import math

from masa_cli.training.recipe import OptimiserSettings, RunSettings


def learning_rate(step: int, optimiser: OptimiserSettings, run: RunSettings) -> float:
    """The learning rate of a step, counted from 0: grows linearly at first, falls later."""
    full = optimiser.lr * run.batch / optimiser.lr_batch
    grown = 1.0
    if step < optimiser.warm_up_steps:
        share = step / optimiser.warm_up_steps
        grown = optimiser.warm_up_from + share * (1 - optimiser.warm_up_from)
    done = step / run.steps
    if optimiser.cosine:
        last = optimiser.drop**2
        return full * grown * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)
    num_drops = (done >= optimiser.first_drop) + (done >= optimiser.second_drop)
    return float(full * grown * optimiser.drop**num_drops)
