"""What an evaluation gives, whatever the protocol: named scores in rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

# Scores of one row by the name of the metric, unrounded.
Row: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of scores.

    Attributes:
        name: as the field writes it ("HOTA").
        is_fraction: values are 0 to 1 and shown as percent; otherwise they are shown as they are.
        more_is_better: False for errors such as switches; None where neither end is the better.
        is_count: whole numbers.
        printed: format of a shown value, where the reference prints in a way of its own ("1.5g").
    """

    name: str
    is_fraction: bool = False
    more_is_better: bool | None = True
    is_count: bool = False
    printed: str = ".1f"


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of one set of results.

    Attributes:
        metrics: the columns, in the order they are shown.
        combined: over everything.
        sequences: by name of the sequence.
        classes: by name of the class; empty where the protocol has one class.
        groups: of classes, by name ("base", "novel").
        curves: by name of the metric ("HOTA"), its value at each alpha, of the combined row.
        alphas: localisation thresholds of the curves.
        notes: sentences the user should read beside the scores.
    """

    metrics: tuple[Metric, ...]
    combined: Row
    sequences: Mapping[str, Row] = field(default_factory=dict)
    classes: Mapping[str, Row] = field(default_factory=dict)
    groups: Mapping[str, Row] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    alphas: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
