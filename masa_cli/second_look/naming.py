"""One class for each identity: a detector may change its mind from frame to frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from masa_cli.second_look.tracklets import Tracklet


def labels_of(tracklets: Iterable[Tracklet], identities: Mapping[int, int]) -> dict[int, int]:
    """The label of each identity: the one that has the most score over all of its boxes.

    Args:
        tracklets: all that there are.
        identities: by the number of the tracklet.
    """
    totals: dict[int, Counter[int]] = {}
    for tracklet in tracklets:
        totals.setdefault(identities[tracklet.number], Counter()).update(tracklet.scores)
    # Of equal scores the smaller label, so that the order of boxes never matters.
    return {
        identity: min(total, key=lambda label: (-total[label], label))
        for identity, total in totals.items()
    }
