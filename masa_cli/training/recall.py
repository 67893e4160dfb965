"""Validation on pairs: how often the nearest embedding is the same instance in the other view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np
import torch

from masa_cli.models.embedding_head import EmbeddingHead
from masa_cli.structures import FloatArray, Frame
from masa_cli.training.batches import Batch
from masa_cli.training.matching import embed
from masa_cli.training.pairs import Pair
from masa_cli.training.trainee import Trainee

# For the views of one pair: embeddings of the instances in each, (N, D) and (M, D).
Embeddings = tuple[FloatArray, FloatArray]


@torch.inference_mode()
def embed_pair(trainee: Trainee, head: EmbeddingHead, pair: Pair) -> Embeddings:
    """The instances of a pair as the network describes them."""
    seen = trainee.look(Batch.of([pair]).to(trainee.device))
    key, reference = (
        embed(head, seen, views, [views.instances[0].boxes])[0].cpu().numpy()
        for views in (seen.key, seen.reference)
    )
    return key, reference


def embed_pair_with(
    embedder: Callable[[Sequence[Frame], Sequence[FloatArray]], list[FloatArray]],
    pair: Pair,
    number: int,
) -> Embeddings:
    """The instances of a pair as an adapter describes them.

    Args:
        embedder: an adapter's `embed`.
        pair: two views.
        number: of the pair; frames have to come in order.
    """
    views = (pair.key, pair.reference)
    looks = [
        embedder([Frame(2 * number + place, Fraction(number), view.image)], [view.boxes])[0]
        for place, view in enumerate(views)
    ]
    return looks[0], looks[1]


def recall_at_1(pairs: Iterable[tuple[Pair, Embeddings]]) -> dict[str, float]:
    """The share of instances of key views whose nearest in a reference view is their own.

    By cosine; of instances that are in both views. Among those of all pairs, and among those of the
    own pair.
    """
    keys, references, own = [], [], []
    key_names: list[tuple[int, int]] = []
    names: list[tuple[int, int]] = []
    for number, (pair, embeddings) in enumerate(pairs):
        key, reference = map(_unit, embeddings)
        keys.append(key)
        references.append(reference)
        key_names += [(number, int(each)) for each in pair.key.ids]
        names += [(number, int(each)) for each in pair.reference.ids]
        nearest = pair.reference.ids[(key @ reference.T).argmax(1)]
        there = np.isin(pair.key.ids, pair.reference.ids)
        own.append((nearest == pair.key.ids)[there])
    nearest = (np.concatenate(keys) @ np.concatenate(references).T).argmax(1)
    known = set(names)
    found = [
        names[place] == name
        for place, name in zip(nearest.tolist(), key_names, strict=True)
        if name in known
    ]
    return {
        "recall@1": float(np.mean(found)),
        "recall@1 in pair": float(np.concatenate(own).mean()),
    }


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: FloatArray = rows / np.maximum(lengths, 1e-12)
    return units
