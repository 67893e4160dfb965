"""Networks as training begins with them."""

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
