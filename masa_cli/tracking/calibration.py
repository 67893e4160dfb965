"""What impostors reach: how often a score is one that two different objects have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from masa_cli.structures import FloatArray

PRIOR_COHORT = 3.0  # values, as which a prior counts in statistics of impostors
MIN_SPREAD = 0.02  # of similarities or scores
_PRIOR_FREEDOM = 20.0  # templates whose scores would be as those of most videos are
_PRIOR_BETWEEN = 30.0  # pairs of two videos, as which those of one video count


@dataclass(frozen=True, slots=True)
class Calibration:
    """What scores impostors reach.

    Attributes:
        mean: of their scores.
        spread: standard deviation.
        num_templates: that they were measured on.
    """

    mean: float = 0.0
    spread: float = 1.0
    num_templates: int = 0

    def false_matches(self, score: float, num_candidates: int) -> float:
        """How often the best of so many impostors would have such a score, 0 to 1."""
        single = float(stdtr(self._freedom, (self.mean - score) / self.spread))
        return float(-np.expm1(max(num_candidates, 1) * np.log1p(-min(single, 1 - 1e-12))))

    def threshold(self, rate: float, num_candidates: int) -> float:
        """The score that the best of so many impostors reaches that often."""
        single = -math.expm1(math.log1p(-rate) / max(num_candidates, 1))
        return self.mean - float(stdtrit(self._freedom, single)) * self.spread

    def raised(self, seen: Moments) -> Calibration:
        """With scores of different objects of several videos, if these reach more."""
        if not seen.count:
            return self
        mean, spread = seen.fitted(self.mean, self.spread)
        share = seen.count / (seen.count + _PRIOR_BETWEEN)
        return Calibration(
            self.mean + share * max(mean - self.mean, 0.0),
            self.spread + share * max(spread - self.spread, 0.0),
            self.num_templates,
        )

    @property
    def _freedom(self) -> float:
        """Degrees of freedom of Student's t: with few templates, high scores are less rare."""
        return self.num_templates + _PRIOR_FREEDOM


@dataclass(frozen=True, slots=True)
class Moments:
    """Of some values: how many, their sum and that of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @staticmethod
    def of(values: FloatArray) -> Moments:
        """Of (N,) values."""
        exact = values.astype(np.float64)
        return Moments(len(exact), float(exact.sum()), float(exact @ exact))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def fitted(self, mean: float, spread: float) -> tuple[float, float]:
        """Mean and standard deviation, with a prior like a few values."""
        number = self.count + PRIOR_COHORT
        centre = (self.total + PRIOR_COHORT * mean) / number
        squares = self.squares - 2 * centre * self.total + centre**2 * self.count
        return centre, max(math.sqrt((squares + PRIOR_COHORT * spread**2) / number), MIN_SPREAD)


@dataclass(frozen=True, slots=True)
class Impostors:
    """What templates of different objects had in common, so far.

    Attributes:
        similar: their similarities.
        reached: their scores.
        num_templates: of these.
    """

    similar: Moments = Moments()
    reached: Moments = Moments()
    num_templates: int = 0

    def calibration(self) -> Calibration:
        """What scores they reach."""
        if not self.reached.count:
            return Calibration()
        mean, deviation = self.reached.fitted(0.0, 1.0)
        return Calibration(mean, deviation, self.num_templates)


NONE_SEEN = Impostors()
