"""Where better settings are looked for, and how: CMA-ES about the defaults.

A tracker's settings may say in a class variable `search_ranges` between which numbers each may be,
or that it is not looked for (None). For others a rule says it, from the name and the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import numpy as np
from cmaes import CMA

from masa_cli.errors import SettingsError
from masa_cli.formats.preset import OF_LINKING

Number: TypeAlias = int | float
# Numbers by the names of settings; those that are left out keep their defaults.
Found: TypeAlias = Mapping[str, Number]

# Last words of names that stand for shares of 1, and how far from the default these may be.
_SHARES = frozenset(("score", "iou", "similarity", "momentum", "weight", "share", "decay"))
_STEP = 0.3
_FACTOR = 3.0  # how many times more or less than the default others may be
_DIGITS = 3  # of the numbers that are tried: more would mean nothing
_SPREAD = 0.2  # of the first candidates about the defaults, as part of the ranges


@dataclass(frozen=True, slots=True)
class Dimension:
    """One setting that is searched.

    Attributes:
        name: of the setting.
        default: its value now.
        low: smallest value that is tried.
        high: largest value that is tried.
        is_logarithmic: whether factors count, not differences; only of positive numbers.
    """

    name: str
    default: Number
    low: float
    high: float
    is_logarithmic: bool = False

    def at(self, position: float) -> Number:
        """The value at a position, 0 to 1, in the type of the default."""
        low, high = self.low, self.high
        if self.is_logarithmic:
            value = low * (high / low) ** position
        else:
            value = low + (high - low) * position
        if isinstance(self.default, int):
            return int(min(max(round(value), math.ceil(low)), math.floor(high)))
        return min(max(_rounded(value), low), high)

    @property
    def start(self) -> float:
        """Position of the default, within 0 to 1 though the default may be outside the range."""
        value = min(max(float(self.default), self.low), self.high)
        if self.is_logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def dimensions_of(settings: Any, prefix: str = "") -> list[Dimension]:  # noqa: ANN401 - any of them
    """All numbers of settings that can be searched.

    Args:
        settings: a dataclass of numbers, or of other such dataclasses.
        prefix: of the names.
    """
    found = []
    declared = getattr(settings, "search_ranges", {})
    for field in fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if is_dataclass(value):
            found += dimensions_of(value, f"{prefix}{name}.")
            continue
        if isinstance(value, bool):
            continue  # a choice of method
        is_share = name.rpartition("_")[2] in _SHARES and 0 <= value <= 1
        limits = declared[name] if name in declared else _usual_range(value, is_share)
        if limits:
            low, high = map(float, limits)
            is_wide = not is_share and low > 0 and high / low > _FACTOR
            found.append(Dimension(prefix + name, value, low, high, is_wide))
    return found


def _usual_range(value: Number, is_share: bool) -> tuple[float, float] | None:
    """By the rule; None for what is off (0 or infinite) or negative."""
    if not (math.isfinite(value) and value > 0):
        return None
    if is_share:
        return max(0.0, _rounded(value - _STEP)), min(1.0, _rounded(value + _STEP))
    if isinstance(value, int):
        return max(1, round(value / _FACTOR)), max(2, round(value * _FACTOR))
    return _rounded(value / _FACTOR), _rounded(value * _FACTOR)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def chosen(
    dimensions: Sequence[Dimension], asked: Sequence[str], fixed: Sequence[str] = ()
) -> list[Dimension]:
    """Those that the user asks for; all that are not fixed, if nothing is asked for.

    Args:
        dimensions: all that there are.
        asked: "name" or "name=low:high" texts.
        fixed: names that are set.

    Raises:
        SettingsError: there is no such number, or no such range.
    """
    known = {each.name: each for each in dimensions}
    if not asked:
        return [each for each in dimensions if each.name not in fixed]
    found = {}
    for text in asked:
        name, equals, limits = (part.strip() for part in text.partition("="))
        if name not in known:
            raise SettingsError(
                f'--search: no setting "{name}" to search', fix=f"use one of: {', '.join(known)}"
            )
        own = known[name]
        if equals:
            low, high = _limits(text, limits)
            own = Dimension(name, own.default, low, high, own.is_logarithmic and low > 0)
        found[name] = own
    return list(found.values())


def _limits(text: str, limits: str) -> tuple[float, float]:
    low, _, high = limits.partition(":")
    try:
        pair = float(low), float(high)
    except ValueError:
        pair = math.nan, math.nan
    if not (math.isfinite(pair[0]) and math.isfinite(pair[1]) and pair[0] < pair[1]):
        raise SettingsError(
            f'--search: "{text}" gives no range', fix="write it as NAME=LOW:HIGH, such as x=0.2:0.8"
        )
    return pair


def linking_dimensions(settings: Any) -> list[Dimension]:  # noqa: ANN401 - LinkingSettings
    """Those of the offline refinement, named as the command line names them."""
    return dimensions_of(settings, OF_LINKING)


class Search:
    """Candidates one by one, the defaults first; the same seed and scores give the same ones.

    Args:
        dimensions: at least one.
        seed: of the search.
    """

    def __init__(self, dimensions: Sequence[Dimension], seed: int) -> None:
        self._dimensions = dimensions
        # CMA-ES needs two dimensions: where there is one, the other means nothing.
        count = max(2, len(dimensions))
        start = np.full(count, 0.5)
        start[: len(dimensions)] = [each.start for each in dimensions]
        bounds = np.tile([0.0, 1.0], (count, 1))
        self._start = start
        self._cma = CMA(mean=start, sigma=_SPREAD, bounds=bounds, seed=seed)
        self._generation: list[tuple[Any, float]] = []
        self._position: Any = None  # of the candidate in hand; None for the defaults
        self.num_trials = 0
        self.best: Found = {}
        self.best_score = -math.inf
        self.default_score = -math.inf

    def ask(self) -> Found:
        """The next candidate: what differs from the defaults."""
        if not self.num_trials:
            return {}
        if self.num_trials <= self._cma.population_size and len(self._generation) % 2:
            # At first, both sides of the defaults: with few trials, chance may leave one out.
            self._position = np.clip(2 * self._start - self._position, 0, 1)
        else:
            self._position = self._cma.ask()
        pairs = zip(self._dimensions, self._position, strict=False)
        values = [(each, each.at(float(position))) for each, position in pairs]
        return {each.name: value for each, value in values if value != each.default}

    def tell(self, candidate: Found, score: float) -> None:
        """The score of the candidate that was asked for; more is better."""
        if not self.num_trials:
            self.default_score = score
        else:
            self._generation.append((self._position, -score))
            if len(self._generation) == self._cma.population_size:
                self._cma.tell(self._generation)
                self._generation = []
        self.num_trials += 1
        if score > self.best_score:
            self.best, self.best_score = candidate, score
