"""Which templates are one object, decided for all at once, and how sure that is.

Templates are joined best first, as long as what they have in common is more than impostors reach
(average linkage), and no two of them were seen at the same time in different places. Identities
that are known beforehand, those of a gallery, take part, and are never joined to each other.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from masa_cli.structures import FloatArray
from masa_cli.tracking.calibration import Calibration, compared, impostors_between
from masa_cli.tracking.recognition import (
    Company,
    Floats,
    Pairs,
    RecognitionSettings,
    Rows,
    merged_spans,
    overlap,
    pairs_above,
)
from masa_cli.tracking.search import KnownIdentities

Verdict: TypeAlias = Literal["known", "new", "unsure"]
_FEW = 500  # templates, of which all scores are remembered
_SHARE_KEPT = 0.7  # of the threshold, that scores of more templates must reach to be remembered


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on some templates.

    Attributes:
        members: rows of the templates that are one object.
        verdict: whether it is one that was known.
        known: number of the identity it is, or may be; -1: none comes into question.
        false_matches: how often an object that is not known would look so much like it.
        rival: another identity that it may be as well; -1: none.
    """

    members: tuple[int, ...]
    verdict: Verdict
    known: int = -1
    false_matches: float = 1.0
    rival: int = -1


@dataclass(slots=True, eq=False)
class _Cluster:
    members: list[int]
    anchor: int  # the known identity it stands for; -1: none
    times: dict[int, Floats]  # by clock, spans in order
    sums: dict[int, float] = field(default_factory=dict)  # of scores, by the number of another

    @property
    def size(self) -> int:
        return len(self.members) + (self.anchor >= 0)


class Clusters:
    """Average-linkage clustering of templates, of which no two that were seen together are one.

    Args:
        times: of each template: the clock, and spans on it.
        num_known: identities that are known, and different; templates may be joined to them.
    """

    def __init__(self, times: Sequence[tuple[int, Floats]], num_known: int = 0) -> None:
        self._clusters = {
            number: _Cluster([number], -1, {clock: spans})
            for number, (clock, spans) in enumerate(times)
        }
        self._num_templates = len(times)
        for known in range(num_known):
            self._clusters[len(times) + known] = _Cluster([], known, {})
        self._known: dict[int, dict[int, float]] = {}  # scores by template and known identity

    def occupy(self, known: int, clock: int, spans: Floats) -> None:
        """A known identity was somewhere else at these times."""
        times = self._clusters[self._num_templates + known].times
        times[clock] = _together(times.get(clock), spans)

    def add(self, first: int, second: int, score: float) -> None:
        """The score of two templates."""
        self._clusters[first].sums[second] = score
        self._clusters[second].sums[first] = score

    def add_known(self, template: int, known: int, score: float) -> None:
        """The score of a template and a known identity."""
        self._known.setdefault(template, {})[known] = score
        self.add(template, self._num_templates + known, score)

    def join(self, threshold: float) -> None:
        """Join the best two, again and again, while their mean score reaches the threshold.

        Pairs that have no score count as 0, that of an average impostor.
        """
        heap = [
            (-score, first, second)
            for first, cluster in self._clusters.items()
            for second, score in cluster.sums.items()
            if first < second and score >= threshold
        ]
        heapq.heapify(heap)
        fresh = len(self._clusters)
        while heap:
            _, first, second = heapq.heappop(heap)
            one, other = self._clusters.get(first), self._clusters.get(second)
            if one is None or other is None or not _may_join(one, other):
                continue
            del self._clusters[first], self._clusters[second]
            joined = self._clusters[fresh] = _joined(one, other, first, second)
            for number, total in joined.sums.items():
                neighbour = self._clusters[number]
                for gone in (first, second):
                    neighbour.sums.pop(gone, None)
                neighbour.sums[fresh] = total
                if (mean := total / joined.size / neighbour.size) >= threshold:
                    heapq.heappush(heap, (-mean, number, fresh))
            fresh += 1

    def near(self, min_mean: float) -> list[tuple[int, int, float]]:
        """Groups that may be one: the first templates of both, and their mean score, best first."""
        found = []
        for number, cluster in self._clusters.items():
            for other, total in cluster.sums.items():
                neighbour = self._clusters[other]
                mean = total / cluster.size / neighbour.size
                if number < other and mean >= min_mean and not _meet(cluster, neighbour):
                    first, second = sorted((min(cluster.members), min(neighbour.members)))
                    found.append((first, second, mean))
        return sorted(found, key=lambda row: (-row[2], row[0], row[1]))

    def groups(self) -> list[tuple[list[int], int, list[tuple[float, int]]]]:
        """Templates that are one object, the known identity it is or -1, and all it could be.

        The latter are mean scores and known identities, best first; those that were somewhere else
        meanwhile are left out.
        """
        clusters = list(self._clusters.values())
        anchors = {each.anchor: each for each in clusters if each.anchor >= 0}
        found = []
        for cluster in (each for each in clusters if each.members):
            totals: dict[int, float] = {}
            for member in cluster.members:
                for known, score in self._known.get(member, {}).items():
                    totals[known] = totals.get(known, 0.0) + score
            could_be = [
                (total / len(cluster.members), known)
                for known, total in totals.items()
                if known == cluster.anchor or not _meet(cluster, anchors[known])
            ]
            could_be.sort(key=lambda row: (-row[0], row[1]))
            found.append((sorted(cluster.members), cluster.anchor, could_be))
        return sorted(found, key=lambda group: group[0])


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Templates of one class, and the known identities that they may be.

    Attributes:
        probes: the templates, by video.
        gallery: templates of known identities, by video, with the number of the identity of each
            (from 0, without gaps).
        occupied: where known identities were meanwhile: clocks and spans.
    """

    probes: Sequence[Company]
    gallery: Sequence[tuple[Company, Sequence[int]]] = ()
    occupied: Mapping[int, Sequence[tuple[int, Floats]]] = field(default_factory=dict)


def decide(
    questions: Sequence[Question], projection: FloatArray, settings: RecognitionSettings
) -> list[list[Decision]]:
    """Which templates are one object, and which of the known ones each is.

    Args:
        questions: one for each class.
        projection: (D, D), of the whitening.
        settings: thresholds.

    Returns:
        For each class, decisions on all templates, which are numbered through all its probes.
    """
    classes = [[*each.probes, *(company for company, _ in each.gallery)] for each in questions]
    rows, impostors = compared(classes, projection)
    calibration = impostors.calibration()
    return [
        _decided(each, own, calibration, settings)
        for each, own in zip(questions, rows, strict=True)
    ]


def _decided(
    question: Question,
    rows: Sequence[Rows],
    calibration: Calibration,
    settings: RecognitionSettings,
) -> list[Decision]:
    probes = question.probes
    calibration = calibration.raised(impostors_between(rows))
    own = Rows.joined(rows[: len(probes)])
    owners = np.array([known for _, each in question.gallery for known in each], np.int64)
    num_known = int(owners.max(initial=-1)) + 1
    clusters = Clusters(list(_times(probes)), num_known)
    for known, times in question.occupied.items():
        for clock, spans in times:
            clusters.occupy(known, clock, spans)
    num_others = len(own) - 1 + len(owners)
    threshold = calibration.threshold(settings.max_false_matches, num_others)
    _add_pairs(clusters, pairs_above(own, _floor(len(own), threshold)))
    if num_known:
        known_rows = KnownIdentities(Rows.joined(rows[len(probes) :]), owners)
        for row, best in enumerate(known_rows.best(own)):
            for known, score in best:
                clusters.add_known(row, known, score)
    clusters.join(threshold)
    return [
        _decision(members, anchor, could_be, calibration, num_others, settings)
        for members, anchor, could_be in clusters.groups()
    ]


@dataclass(frozen=True, slots=True)
class Linked:
    """What templates of several videos turned out to be.

    Attributes:
        groups: rows of templates that are one object.
        doubts: two groups that may be one, and how often two objects look so much alike.
        threshold: that the mean score of a group reached.
    """

    groups: Sequence[Sequence[int]]
    doubts: Sequence[tuple[int, int, float]]
    threshold: float


def link(
    classes: Sequence[Sequence[Company]],
    projection: FloatArray,
    settings: RecognitionSettings,
    compare: Callable[[int, Rows, float], Iterable[Pairs]] | None = None,
) -> list[Linked]:
    """Which templates of several videos are one object.

    Args:
        classes: the templates of each class, by video.
        projection: (D, D), of the whitening.
        settings: thresholds.
        compare: gives, for a class of that number, all pairs of rows that reach a score, in the
            order of `pairs_above`, which does so by default.

    Returns:
        For each class; templates are numbered through all its companies.
    """
    parts, impostors = compared(classes, projection)
    calibration = impostors.calibration()
    linked = []
    for number, (companies, own) in enumerate(zip(classes, parts, strict=True)):
        pairs = pairs_above if compare is None else partial(compare, number)
        raised = calibration.raised(impostors_between(own))
        linked.append(_linked(companies, Rows.joined(own), raised, settings, pairs))
    return linked


def _linked(
    companies: Sequence[Company],
    rows: Rows,
    calibration: Calibration,
    settings: RecognitionSettings,
    compare: Callable[[Rows, float], Iterable[Pairs]],
) -> Linked:
    num_others = len(rows) - 1
    threshold = calibration.threshold(settings.max_false_matches, num_others)
    clusters = Clusters(list(_times(companies)))
    _add_pairs(clusters, compare(rows, _floor(len(rows), threshold)))
    clusters.join(threshold)
    groups = [members for members, _, _ in clusters.groups()]
    number_of = {members[0]: number for number, members in enumerate(groups)}
    low = calibration.threshold(settings.max_unsure, num_others)
    doubts = [
        (number_of[first], number_of[second], calibration.false_matches(score, num_others))
        for first, second, score in clusters.near(low)
    ]
    return Linked(groups, doubts, threshold)


def _floor(count: int, threshold: float) -> float:
    """The least score that is remembered: of many templates only what may come near the rest."""
    return 0.0 if count <= _FEW else _SHARE_KEPT * threshold


def _add_pairs(clusters: Clusters, pairs: Iterable[Pairs]) -> None:
    for first, second, found in pairs:
        for row, column, score in zip(first.tolist(), second.tolist(), found.tolist(), strict=True):
            clusters.add(row, column, score)


def _times(companies: Sequence[Company]) -> Iterator[tuple[int, Floats]]:
    """Clock and spans of each template."""
    for company in companies:
        for template in company.templates:
            yield company.clock, template.spans + company.offset


def _decision(
    members: Sequence[int],
    anchor: int,
    could_be: Sequence[tuple[float, int]],
    calibration: Calibration,
    num_others: int,
    settings: RecognitionSettings,
) -> Decision:
    if not could_be:
        return Decision(tuple(members), "new")
    score, best = could_be[0]
    if anchor >= 0:
        score, best = next(row for row in could_be if row[1] == anchor)
    rate = calibration.false_matches(score, num_others)
    others = [row for row in could_be if row[1] != best]
    close = others and score - others[0][0] < settings.min_margin * calibration.spread
    rival = others[0][1] if close else -1
    if anchor >= 0:
        return Decision(tuple(members), "unsure" if close else "known", best, rate, rival)
    verdict: Verdict = "unsure" if rate <= settings.max_unsure else "new"
    return Decision(tuple(members), verdict, best, rate, rival)


def _may_join(one: _Cluster, other: _Cluster) -> bool:
    return not (one.anchor >= 0 and other.anchor >= 0) and not _meet(one, other)


def _meet(one: _Cluster, other: _Cluster) -> bool:
    """Whether both were seen at one time of one clock."""
    return any(
        overlap(spans, other.times[clock])
        for clock, spans in one.times.items()
        if clock in other.times
    )


def _joined(one: _Cluster, other: _Cluster, first: int, second: int) -> _Cluster:
    times = dict(one.times)
    for clock, spans in other.times.items():
        times[clock] = _together(times.get(clock), spans)
    sums = dict(one.sums)
    for number, score in other.sums.items():
        sums[number] = sums.get(number, 0.0) + score
    for gone in (first, second):
        sums.pop(gone, None)
    return _Cluster([*one.members, *other.members], max(one.anchor, other.anchor), times, sums)


def _together(spans: Floats | None, more: Floats) -> Floats:
    return more if spans is None else merged_spans(np.concatenate([spans, more]), 0.0)
