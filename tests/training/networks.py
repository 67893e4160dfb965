"""Networks as training begins with them, and what they learn of one batch."""

import torch

from masa_cli.models.variants import VARIANTS
from masa_cli.training.loop import Trainee
from masa_cli.training.objectives import OBJECTIVES, initial_weights
from masa_cli.training.recipe import find_recipe


def objectives_of(variant):
    return [(OBJECTIVES[type(s)], s) for s in find_recipe(variant).objectives.values()]


def lite(seed=0):
    objectives = objectives_of("lite")
    rows = [objective for objective, _ in objectives]
    parts = initial_weights(
        "lite-learned", rows, ("object",), start=None, weights_dir=None, seed=seed
    )
    return Trainee(VARIANTS["lite-learned"], parts, objectives).train()


def fitted(network, losses_of, steps, lr):
    """The losses of each step; `losses_of` gives a batch's by name."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        total = sum(losses_of().values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    return losses
