"""Which box is which track: an optimal assignment of evidence, and how sure each pair is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.structures import BoolArray, FloatArray, IntArray


def assign(
    evidence: FloatArray, passes: Sequence[tuple[BoolArray, float]]
) -> tuple[IntArray, FloatArray]:
    """Join boxes to tracks, one kind of box after the other, for the greatest total evidence.

    Args:
        evidence: (N, M) nats for each pair of box and track.
        passes: for each pass, (N,) which boxes take part, and the nats that a pair must exceed.

    Returns:
        (N,) the track of each box, -1 for none; and (N,) how many nats any other identity would
        cost, infinite for boxes that are not joined.
    """
    matches = np.full(len(evidence), -1, np.int64)
    sureness = np.full(len(evidence), np.inf, np.float32)
    for eligible, least in passes:
        rows = np.flatnonzero(eligible)
        if not len(rows):
            continue
        free = np.ones(evidence.shape[1], np.bool_)
        free[matches[matches >= 0]] = False
        columns = np.flatnonzero(free)
        # No pair at all has a gain of 0.
        gain = np.maximum(evidence[np.ix_(rows, columns)] - least, 0)
        first, second = linear_sum_assignment(gain, maximize=True)
        joined = gain[first, second] > 0
        first, second = first[joined], second[joined]
        matches[rows[first]] = columns[second]
        sureness[rows[first]] = _sureness(gain, first, second)
    return matches, sureness


def _sureness(gain: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """(P,) what the total loses if a box is joined to no track, to a free one, or to a swapped one.

    Other boxes for its track do not count: they may be the same object, found twice.
    """
    own = gain[rows, columns]
    pairs = gain[np.ix_(rows, columns)]
    swapped = own[:, None] + own - pairs - pairs.T
    np.fill_diagonal(swapped, np.inf)
    others = gain[rows]
    others[:, columns] = 0
    alone = own - others.max(axis=1, initial=0)
    sureness: FloatArray = np.minimum(alone, swapped.min(axis=1, initial=np.inf))
    return sureness
