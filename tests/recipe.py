"""Weights and inputs that are a pure function of their names: the golden files were made with them.

The rule is that of the reference (spec section 12): whoever knows a tensor's published name and
shape knows its values, so nothing large has to be stored.
"""

import gzip
import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"


def noise(name, shape):
    """(shape) float64 standard normal."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return np.asarray(generator.standard_normal(size=shape))


def recipe_input(name, shape):
    return torch.from_numpy(noise(f"input/{name}", shape).astype(np.float32))


def recipe_weight(name, shape):
    """What the published tensor of that name holds in the golden files."""
    z, last, num_axes = noise(name, shape), name.split(".")[-1], len(shape)
    if last == "running_var":
        z = 1 + 0.2 * np.abs(z)
    elif last == "running_mean":
        z = 0.1 * z
    elif num_axes >= 2 and (
        last.startswith("pos_embed") or "rel_pos" in name or "relative_position_bias_table" in name
    ):
        z = 0.02 * z
    elif num_axes >= 2:
        z = z * (0.2 if "rpn_reg" in name else 1) / math.sqrt(math.prod(shape[1:]))
    elif last in {"weight", "scale"} or last.startswith("gamma"):
        z = 1 + 0.1 * z
    else:
        z = 0.1 * z
    if name.startswith("detector.decoder.norm."):
        z = 0.05 * z
    return torch.from_numpy(np.asarray(z, np.float32))  # of one number, numpy makes no array


def published_keys(variant):
    """Published name to (shape, dtype), as the official class has them."""
    with gzip.open(DATA / "keys" / f"{variant}.json.gz", "rt") as file:
        return {name: (tuple(shape), dtype) for name, (shape, dtype) in json.load(file).items()}


def relative_position_index(side):
    """(side^2, side^2): the row of Swin's table for each pair of cells of a window."""
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
    places = places.reshape(-1, 2)
    steps = places[:, None] - places[None] + side - 1
    return torch.from_numpy(steps[..., 0] * (2 * side - 1) + steps[..., 1])


def published_tensor(name, shape, dtype):
    """One entry of a published-like file."""
    if dtype == "float32":
        return recipe_weight(name, shape)
    if name.endswith("relative_position_index"):
        return relative_position_index(math.isqrt(shape[0]))
    return torch.zeros(shape, dtype=getattr(torch, dtype))


def published_state_dict(variant, parts=("",)):
    """The entries whose names begin with one of `parts`, as in a published file."""
    return {
        name: published_tensor(name, shape, dtype)
        for name, (shape, dtype) in published_keys(variant).items()
        if name.startswith(tuple(parts))
    }
