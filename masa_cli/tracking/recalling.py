"""Open-set re-identification while a run goes on: tracks are asked about as soon as they are sure.

What is known beforehand is measured once; the tracks of the run are measured against it, and
against each other, whenever some of them are asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from masa_cli.structures import FloatArray, IntArray
from masa_cli.tracking.calibration import NONE_SEEN, Calibration, compared, impostors_between
from masa_cli.tracking.identities import Verdict
from masa_cli.tracking.recognition import (
    Company,
    Floats,
    RecognitionSettings,
    Rows,
    Template,
    overlap,
    scores,
)
from masa_cli.tracking.search import KnownIdentities

MAX_ASKS = 5  # about one track; the stated rate is of all together
_EVERY = 3  # times the boxes that it had when it was asked about before
_PARTS = 2  # videos, whose identities tell what impostors of other videos reach
_PER_FRAME, _ROWS_PER_FRAME = 4, 400_000  # asks at most, and templates that they go through


@dataclass(frozen=True, slots=True, eq=False)
class TrackSoFar:
    """A track of the run.

    Attributes:
        identity: that it has.
        template: what it looks like so far.
    """

    identity: int
    template: Template


@dataclass(frozen=True, slots=True)
class Answer:
    """What a track is taken for.

    Attributes:
        row: of the track.
        verdict: whether it is one that was known.
        identity: that it is, or may be; 0: none comes into question.
        false_matches: how often one that is not known would look so much like it.
        rival: another identity that it may be as well; 0: none.
    """

    row: int
    verdict: Verdict
    identity: int = 0
    false_matches: float = 1.0
    rival: int = 0


def boxes_wanted(num_asks: int, settings: RecognitionSettings) -> int:
    """That a track must have to be asked about, after so many asks."""
    return int(settings.min_boxes * _EVERY**num_asks)


@dataclass(frozen=True, slots=True, eq=False)
class _Class:
    """Known identities of a class: `owners` a row each, `parts` the first rows of some videos."""

    search: KnownIdentities
    owners: IntArray
    parts: Sequence[Rows]


class Recall:
    """Tells which known identity a track is, while it goes on.

    Args:
        gallery: by class, templates of identities by video, and the identity of each.
        occupied: spans of the run's time, in which an identity was somewhere else.
        projection: (D, D), of the whitening.
        settings: thresholds.
    """

    def __init__(
        self,
        gallery: Mapping[str, Sequence[tuple[Company, Sequence[int]]]],
        occupied: Mapping[int, Sequence[Floats]],
        projection: FloatArray,
        settings: RecognitionSettings,
    ) -> None:
        self._occupied, self._projection, self._settings = occupied, projection, settings
        companies = [[company for company, _ in each] for each in gallery.values()]
        rows, self._impostors = compared(companies, projection, NONE_SEEN)
        self._classes: dict[str, _Class] = {}
        for (label, each), own in zip(gallery.items(), rows, strict=True):
            owners = np.array([known for _, ids in each for known in ids], np.int64)
            search = KnownIdentities(Rows.joined(own), owners)
            self._classes[label] = _Class(search, owners, own[:_PARTS])
        self._num_rows = sum(len(each.owners) for each in self._classes.values())

    @property
    def asks_per_frame(self) -> int:
        """How many tracks may be asked about in one frame: the more, the smaller the gallery."""
        return max(1, min(_PER_FRAME, _ROWS_PER_FRAME // max(self._num_rows, 1)))

    def ask(self, label: str, tracks: Sequence[TrackSoFar], asked: Sequence[int]) -> list[Answer]:
        """What tracks are, the surest first; no two that were seen together are one.

        Args:
            label: of their class.
            tracks: of this class, those of the run that are remembered.
            asked: rows of those that are asked about.
        """
        company = Company([each.template for each in tracks])
        ((rows,),), impostors = compared([[company]], self._projection, self._impostors)
        known = self._classes.get(label)
        met = impostors_between([rows, *known.parts]) if known else impostors_between([rows])
        calibration = impostors.calibration().raised(met)
        identities = [each.identity for each in tracks]
        found: dict[int, dict[int, float]] = {}
        for row in asked:
            probe = rows.block(row, row + 1)
            found[row] = dict(known.search.best(probe)[0]) if known else {}
            for other, score in enumerate(scores(probe, rows)[0].tolist()):
                identity = identities[other]
                if identity != identities[row]:
                    found[row][identity] = max(score, found[row].get(identity, score))
        num_others = len(tracks) - 1 + (len(known.owners) if known else 0)
        order = sorted(found, key=lambda row: (-max(found[row].values(), default=0.0), row))
        answers = []
        for row in order:
            answer = self._answer(row, found[row], tracks, identities, calibration, num_others)
            if answer.verdict == "known":
                identities[row] = answer.identity
            answers.append(answer)
        return answers

    def _answer(
        self,
        row: int,
        found: Mapping[int, float],
        tracks: Sequence[TrackSoFar],
        identities: Sequence[int],
        calibration: Calibration,
        num_others: int,
    ) -> Answer:
        settings, spans = self._settings, tracks[row].template.spans
        taken = {
            identity
            for other, identity in enumerate(identities)
            if other != row and overlap(spans, tracks[other].template.spans)
        }
        free = [
            (score, identity)
            for identity, score in found.items()
            if identity not in taken
            and not any(overlap(spans, each) for each in self._occupied.get(identity, ()))
        ]
        if not free:
            return Answer(row, "new")
        free.sort(key=lambda each: (-each[0], each[1]))
        score, best = free[0]
        # Each time it is asked about, it may be taken for another: the rate is of all times.
        rate = min(MAX_ASKS * calibration.false_matches(score, num_others), 1.0)
        close = len(free) > 1 and score - free[1][0] < settings.min_margin * calibration.spread
        rival = free[1][1] if close else 0
        if rate > settings.max_unsure:
            return Answer(row, "new", best, rate, rival)
        sure = rate <= settings.max_false_matches and not close
        return Answer(row, "known" if sure else "unsure", best, rate, rival)
