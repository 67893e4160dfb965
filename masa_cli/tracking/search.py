"""Searching known identities, of which there may be 100,000, for those most like a template."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from masa_cli.structures import FloatArray, IntArray
from masa_cli.tracking.recognition import MAX_VIEWS, Rows, fisher_z, scores

_SHORTLIST = 20  # known identities that come into question for a template
_MANY = 10_000  # templates, of which more are searched by their main directions first
_DIRECTIONS = 48  # of these
_NUM_ROUGH = 1000  # templates, about, whose whole means are then compared
_SAMPLE = 64  # one of so many tells which scores these reach
_BLOCK = 4096  # templates that are compared at a time: their scores stay in the cache
_AT_ONCE = 32  # templates that are searched for


class KnownIdentities:
    """Templates of known identities, to be searched.

    Of many, a product with the main directions of their means finds a thousand, one with their
    whole means a few, whose views are then compared in full: a gallery of 100,000 is gone through
    in milliseconds, without an index that would have to be built first.

    Args:
        rows: their templates.
        owners: (M,) the identity of each.
    """

    def __init__(self, rows: Rows, owners: IntArray) -> None:
        self._rows, self._owners = rows, owners
        self._num_near = min(_SHORTLIST * MAX_VIEWS, len(rows))
        self._directions: FloatArray | None = None  # (D, E)
        if len(rows) > _MANY:
            scaled = rows.means / rows.spreads[:, None]  # (M, D)
            exact = (scaled.T @ scaled).astype(np.float64)
            self._directions = np.linalg.eigh(exact)[1][:, -_DIRECTIONS:].astype(np.float32)
            # A column for the offsets, so that one product gives scores; of cosines, which come
            # near those of their z.
            self._rough = np.empty((len(rows), _DIRECTIONS + 1), np.float32)
            self._rough[:, :-1] = scaled @ self._directions
            self._rough[:, -1] = -rows.centres / rows.spreads
            rows_at_random = np.random.default_rng(0).permutation(len(rows))
            self._sample = self._rough[rows_at_random[: -(-len(rows) // _SAMPLE)]]

    def best(self, own: Rows) -> list[list[tuple[int, float]]]:
        """For each template, the identities that are most like it, and their scores, best first."""
        found = []
        for start in range(0, len(own), _AT_ONCE):
            part = own.block(start, start + _AT_ONCE)
            for row, near in enumerate(self._near(part.means)):
                exact = scores(part.block(row, row + 1), self._rows.chosen(near))[0]
                best: dict[int, float] = {}
                for owner, score in zip(self._owners[near].tolist(), exact.tolist(), strict=True):
                    best[owner] = max(score, best.get(owner, score))
                ranked = sorted(best.items(), key=lambda each: (-each[1], each[0]))
                found.append(ranked[:_SHORTLIST])
        return found

    def _near(self, means: FloatArray) -> Iterator[IntArray]:
        """For each of these means, the rows whose means are most like it, in order."""
        if self._directions is None:
            for mean in means:
                yield np.sort(_largest(self._likeness(mean, slice(None)), self._num_near))
            return
        main = means @ self._directions
        for row, found in enumerate(self._roughly_near(main)):
            some = found
            if len(found) < self._num_near:  # the sample misled: by far too many near ones in it
                rough = self._rough[:, :-1] @ main[row] + self._rough[:, -1]
                some = _largest(rough, _NUM_ROUGH)
            exact = self._likeness(means[row], some)
            yield np.sort(some[_largest(exact, self._num_near)])

    def _likeness(self, mean: FloatArray, some: IntArray | slice) -> FloatArray:
        """How like a mean those of some rows are, beyond impostors of these."""
        rows = self._rows
        similar = fisher_z(rows.means[some] @ mean)
        likeness: FloatArray = (similar - rows.centres[some]) / rows.spreads[some]
        return likeness

    def _roughly_near(self, main: FloatArray) -> list[IntArray]:
        """Of each of these, in main directions, the rows that are most like it: about _NUM_ROUGH.

        How many they are is not counted: a sample tells which score that many rows reach.
        """
        count = len(main)
        main = np.concatenate([main, np.ones((count, 1), np.float32)], axis=1)
        sampled = np.sort(main @ self._sample.T, axis=1)
        lowest = sampled[:, -max(_NUM_ROUGH // _SAMPLE, 1)]
        # The larger matrix first: the other way round it would be rearranged, which costs more
        # than the product.
        columns = np.ascontiguousarray(main.T)
        room = np.empty((_BLOCK, count), np.float32)
        found = []
        for start in range(0, len(self._rough), _BLOCK):
            rows = self._rough[start : start + _BLOCK]
            scores_of = np.matmul(rows, columns, out=room[: len(rows)])
            found.append(np.flatnonzero(scores_of >= lowest) + start * count)
        near, owner = np.divmod(np.concatenate(found), count)
        order = np.argsort(owner.astype(np.uint8), kind="stable")  # of bytes, it counts only
        return np.split(near[order], np.cumsum(np.bincount(owner, minlength=count))[:-1])


def _largest(values: FloatArray, count: int) -> IntArray:
    """Positions of the largest, in any order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, -count)[-count:]
