"""Settings of an association, searched on sequences whose truth is known, from what runs kept.

One search sees all sequences, and its best settings are recommended. Others each do without some of
the sequences, and are judged by those: only if their gain exceeds what chance makes of chunks of
time are settings recommended at all. Of a single sequence, stretches of time take the place of
sequences.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from masa_cli.errors import SettingsError
from masa_cli.evaluation.chunks import CHUNK_FRAMES, ChunkedScore, Gain, Part, gain_of
from masa_cli.formats.preset import OF_LINKING
from masa_cli.jobs.job import Association
from masa_cli.jobs.search import Found, Search
from masa_cli.jobs.trials import PartOf, Trials, TunedSequence, Tuning, weights_of
from masa_cli.settings import values_of, with_changes
from masa_cli.structures import IntArray
from masa_cli.threads import limited
from masa_cli.tracking import find_tracker
from masa_cli.tracking.linking import LinkingSettings

logger = logging.getLogger(__name__)

_MAX_FOLDS = 5
_TOLD = 10  # times that a search tells how far it is


@dataclass(frozen=True, slots=True)
class Held:
    """A part that a search did without, scored under its best settings and under the defaults."""

    name: str
    default: float
    tuned: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found.

    Attributes:
        found: the best settings on all sequences: what differs from the defaults.
        default_score: mean of the defaults over all parts.
        found_score: the same of `found`, on the very parts that it was chosen by.
        held: the parts, each scored under settings that were chosen without it.
        gain: mean of these, with its confidence interval.
        num_trials: settings that were tried, of all searches.
    """

    found: Found
    default_score: float
    found_score: float
    held: tuple[Held, ...]
    gain: Gain
    num_trials: int

    @property
    def is_gain(self) -> bool:
        """Whether the settings are better by more than chance."""
        return bool(self.found) and self.gain.low > 0


def start_settings(association: Association) -> dict[str, bool | int | float]:
    """The settings that the changes of an association change, by name."""
    row = find_tracker(association.name)
    own, other = values_of(row.settings()), values_of(LinkingSettings())
    now = values_of(with_changes(row.settings(), association.tracker_changes))
    linking = values_of(association.linking_settings)
    changed = {name: value for name, value in now.items() if value != own[name]}
    return changed | {
        OF_LINKING + name: value for name, value in linking.items() if value != other[name]
    }


def tune(
    tuning: Tuning, *, resume: bool = False, stop_requested: Callable[[], bool] = lambda: False
) -> Outcome:
    """Search, and judge what is found.

    Args:
        tuning: what and how.
        resume: use the trials that an interrupted search left in the log.
        stop_requested: asked after each run of the tracker.

    Raises:
        SettingsError: nothing is searched, or there are too few frames to judge anything.
        OutputError: the log is of another search, or cannot be written.
        Interrupted: as requested; what was tried is in the log.
    """
    parts = _parts(tuning.sequences)
    if not tuning.dimensions:
        raise SettingsError("there is nothing to search", fix="leave out --set or --search")
    trials = Trials(tuning, parts, stop_requested, resume=resume)
    folds = [*_folds(len(parts), tuning.seed), np.empty(0, np.int64)]  # the last has all parts
    # With one seed they ask for the same at first, which costs but one run for all.
    searches = [Search(tuning.dimensions, tuning.seed) for _ in folds]
    kept = [np.setdiff1d(np.arange(len(parts)), fold) for fold in folds]
    begun = time.monotonic()
    with trials, limited():
        for number in range(tuning.num_trials + 1):
            for search, rows in zip(searches, kept, strict=True):
                candidate = search.ask()
                search.tell(candidate, trials.score(candidate, rows))
            spent = time.monotonic() - begun
            _tell(tuning, searches[-1], number, spent)
            if spent > tuning.seconds:
                logger.info("%d trials in %.0f s: time is up", number, spent)
                break
        held, gain = _judged(tuning, trials, parts, folds[:-1], searches[:-1])
    best = searches[-1]
    num_trials = sum(search.num_trials for search in searches)
    return Outcome(best.best, best.default_score, best.best_score, held, gain, num_trials)


def _tell(tuning: Tuning, search: Search, number: int, spent: float) -> None:
    step = max(1, tuning.num_trials // _TOLD)
    if number and number % step == 0:
        logger.info(
            "trial %d of %d, after %.0f s: %s %.1f, defaults %.1f",
            number,
            tuning.num_trials,
            spent,
            tuning.metric.upper(),
            100 * search.best_score,
            100 * search.default_score,
        )


def _parts(sequences: Sequence[TunedSequence]) -> list[PartOf]:
    """One for each sequence; of a single one, up to _MAX_FOLDS stretches of time."""
    if len(sequences) > 1:
        return [
            PartOf(each.name, index, np.arange(each.num_chunks))
            for index, each in enumerate(sequences)
        ]
    (only,) = sequences
    if only.num_chunks < 2:
        raise SettingsError(
            f"{only.name} has {only.num_frames} frames: what is chosen on them could not be judged",
            fix=f"give further sequences, or one of at least {2 * CHUNK_FRAMES} frames",
        )
    stretches = np.array_split(np.arange(only.num_chunks), min(_MAX_FOLDS, only.num_chunks))
    parts = []
    for chunks in stretches:
        first = int(chunks[0]) * CHUNK_FRAMES
        is_last = chunks[-1] == only.num_chunks - 1
        end = only.num_frames if is_last else (int(chunks[-1]) + 1) * CHUNK_FRAMES
        parts.append(PartOf(f"{only.name}, frames {first + 1} to {end}", 0, chunks))
    return parts


def _folds(num_parts: int, seed: int) -> list[IntArray]:
    """Which parts each search does without: one, or a share of them where they are many."""
    order = np.arange(num_parts)
    if num_parts > _MAX_FOLDS:
        np.random.default_rng(seed).shuffle(order)
    return np.array_split(order, min(num_parts, _MAX_FOLDS))


def _judged(
    tuning: Tuning,
    trials: Trials,
    parts: Sequence[PartOf],
    folds: Sequence[IntArray],
    searches: Sequence[Search],
) -> tuple[tuple[Held, ...], Gain]:
    """Each part under the settings that were chosen without it, and what they gain."""
    compared: dict[int, Part] = {}
    for fold, search in zip(folds, searches, strict=True):
        for index in fold.tolist():
            part = parts[index]
            sequence = tuning.sequences[part.sequence]
            before = trials.chunked(part.sequence, {})
            after = trials.chunked(part.sequence, search.best) if search.best else before
            compared[index] = Part(before, after, part.chunks, sequence.num_chunks)
    ordered = [compared[index] for index in range(len(parts))]
    held = [
        Held(part.name, _score_of(each.before, part, each), _score_of(each.after, part, each))
        for part, each in zip(parts, ordered, strict=True)
    ]
    return tuple(held), gain_of(ordered, tuning.seed)


def _score_of(score: ChunkedScore, part: PartOf, of: Part) -> float:
    return score.of(weights_of(part.chunks, of.num_chunks))
