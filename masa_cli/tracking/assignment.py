"""The optimal assignment of boxes to tracks, and how sure each match of it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.structures import BoolArray, FloatArray, IntArray


def assign(
    llr: FloatArray, passes: Sequence[tuple[BoolArray, float]]
) -> tuple[IntArray, FloatArray]:
    """Match boxes with tracks, one kind of box after the other, for the greatest total llr.

    Args:
        llr: (N, M) log-likelihood ratio of each pair of box and track.
        passes: for each pass, (N,) which boxes take part, and the llr that a match must exceed.

    Returns:
        (N,) the track of each box, -1 for none; and (N,) the margin of each match, the llr that any
        other identity would cost; infinite for boxes without a match.
    """
    matches = np.full(len(llr), -1, np.int64)
    margins = np.full(len(llr), np.inf, np.float32)
    for eligible, min_llr in passes:
        rows = np.flatnonzero(eligible)
        if not len(rows):
            continue
        free = np.ones(llr.shape[1], np.bool_)
        free[matches[matches >= 0]] = False
        columns = np.flatnonzero(free)
        # No pair at all has a gain of 0.
        gain = np.maximum(llr[np.ix_(rows, columns)] - min_llr, 0)
        first, second = linear_sum_assignment(gain, maximize=True)
        matched = gain[first, second] > 0
        first, second = first[matched], second[matched]
        matches[rows[first]] = columns[second]
        margins[rows[first]] = _margins(gain, first, second)
    return matches, margins


def _margins(gain: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """(P,) what the total loses if a box gets no track, a free one, or swaps its own.

    Other boxes for its track do not count: they may be the same object, found twice.
    """
    own = gain[rows, columns]
    pairs = gain[np.ix_(rows, columns)]
    swapped = own[:, None] + own - pairs - pairs.T
    np.fill_diagonal(swapped, np.inf)
    others = gain[rows]
    others[:, columns] = 0
    alone = own - others.max(axis=1, initial=0)
    margins: FloatArray = np.minimum(alone, swapped.min(axis=1, initial=np.inf))
    return margins
