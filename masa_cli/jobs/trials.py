"""Runs of a tracker under candidate settings, from what `masa track --save-embeddings` kept.

What was run once is remembered in a file, so that an interrupted search can be gone on with.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from masa_cli import __version__
from masa_cli.errors import Interrupted, OutputError, SettingsError, SourceError
from masa_cli.evaluation import PROTOCOLS
from masa_cli.evaluation.chunks import CHUNK_FRAMES, METRICS, ChunkedScore
from masa_cli.evaluation.mot_boxes import scored_data, told_unscored
from masa_cli.evaluation.sequences import check_ids
from masa_cli.formats.embeddings import EmbeddingsReader, defaults_in
from masa_cli.formats.mot import MotRows, read_truth
from masa_cli.formats.preset import change_of
from masa_cli.jobs.job import Association
from masa_cli.jobs.search import Dimension, Found
from masa_cli.pipeline import refine
from masa_cli.structures import FrameTracks, IntArray, Observation, Tracks
from masa_cli.tracking import SettingsChanges

logger = logging.getLogger(__name__)

_DISTRACTORS: tuple[int, ...] = PROTOCOLS["mot"].fixed["distractors"]  # type: ignore[assignment]
_INVALID = -1e3  # score of settings that cannot work together
_MAX_BYTES = 2**28  # of files of embeddings that are held in memory; larger ones are read each time


@dataclass(frozen=True, slots=True)
class TunedSequence:
    """A sequence to tune on.

    Attributes:
        name: for people.
        recording: what a run kept of it.
        truth: its true boxes, up to `num_frames`.
        truth_path: file of the truth.
        num_frames: how many are scored, those up to the last that the truth tells of.
    """

    name: str
    recording: EmbeddingsReader
    truth: MotRows
    truth_path: Path
    num_frames: int

    def observations(self) -> list[Observation]:
        """All frames in memory, for reading only."""
        found = list(self.recording)
        for each in found:
            boxes = each.detections
            for array in (boxes.boxes, boxes.scores, boxes.labels, each.embeddings):
                array.flags.writeable = False  # trackers get them again and again
        return found

    @property
    def num_chunks(self) -> int:
        """Of about CHUNK_FRAMES frames."""
        return max(1, round(self.num_frames / CHUNK_FRAMES))

    def chunk_of(self, frames: IntArray) -> IntArray:
        """The chunk of each frame; the last one takes in what is left."""
        return np.minimum(frames // CHUNK_FRAMES, self.num_chunks - 1)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is searched, on what, and for how long.

    Attributes:
        association: with the changes that are not searched.
        dimensions: what is searched.
        sequences: at least one.
        metric: a name of `evaluation.chunks.METRICS`.
        num_trials: settings that each search tries, after the defaults.
        seconds: after so many, no further settings are tried.
        seed: of the searches and of the bootstrap.
        log: file of the trials that are done, to go on from.
    """

    association: Association
    dimensions: Sequence[Dimension]
    sequences: Sequence[TunedSequence]
    log: Path
    metric: str = "idf1"
    num_trials: int = 100
    seconds: float = float("inf")
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PartOf:
    """A sequence, or a stretch of the only one.

    Attributes:
        name: for people.
        sequence: index of it.
        chunks: of the sequence.
    """

    name: str
    sequence: int
    chunks: IntArray


def read_sequence(
    name: str, embeddings: Path, truth: Path, *, all_classes: bool = False
) -> TunedSequence:
    """A sequence, checked and measured.

    Args:
        name: for people.
        embeddings: what a run kept of it.
        truth: file of its truth.
        all_classes: score all objects of the truth, of whatever class, in place of pedestrians.

    Raises:
        SourceError: a file is missing or damaged, or the two do not belong together.
    """
    recording, rows = EmbeddingsReader(embeddings), read_truth(truth)
    check_ids(rows.text, rows.frames, rows.ids)
    if all_classes:
        rows = rows.without_classes(rows.scores > 0)
    elif told := told_unscored(rows, _DISTRACTORS):
        logger.warning(told)
    is_scored = rows.scores.astype(np.int64) != 0
    if rows.classes is not None:
        is_scored &= rows.classes == 1
    if not is_scored.any():
        raise SourceError(
            f"{truth} has nothing to score",
            fix="give the truth of the sequence; of objects that are no pedestrians, --all-classes",
        )
    length = sum(1 for _ in recording)
    num_frames = int(rows.frames.max()) + 1
    if num_frames > length:
        raise SourceError(
            f"{truth} tells of frame {num_frames}, but {embeddings} has {length} frames",
            fix="give the truth of this video, and a run over all of it",
        )
    if num_frames < length:
        logger.info(
            "%s: only frames 1 to %d of %d are scored, as the truth tells of no others",
            name,
            num_frames,
            length,
        )
    return TunedSequence(name, recording, rows, truth, num_frames)


class Trials:
    """Runs the tracker under candidate settings; what was run once is remembered in a file.

    Searches are deterministic: one that is begun again asks for the same candidates, and those that
    the file knows cost nothing.

    Args:
        tuning: what is run.
        parts: that are scored.
        stop_requested: asked after each run.
        resume: take up what the file knows.
    """

    def __init__(
        self,
        tuning: Tuning,
        parts: Sequence[PartOf],
        stop_requested: Callable[[], bool],
        *,
        resume: bool,
    ) -> None:
        self._tuning, self._parts, self._stop_requested = tuning, parts, stop_requested
        self._known: dict[bytes, list[float]] = {}
        self._observations: dict[int, Sequence[Observation]] = {}  # of sequences that are held
        size = sum(each.recording.path.stat().st_size for each in tuning.sequences)
        self._are_held = size < _MAX_BYTES
        self._conditions = _conditions(tuning)
        if resume and tuning.log.exists():
            self._read()
        lines = [self._conditions, *(_line(key, scores) for key, scores in self._known.items())]
        try:
            self._file = tuning.log.open("wb")
            self._file.writelines(line + b"\n" for line in lines)
            self._file.flush()
        except OSError as error:
            raise _unwritable(tuning.log, error) from error

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def score(self, candidate: Found, rows: IntArray) -> float:
        """The mean score of these parts.

        Raises:
            Interrupted: it was asked for.
        """
        scores: dict[int, float] = {}
        wanted = sorted({self._parts[row].sequence for row in rows})
        for sequence in wanted:
            own = [row for row, part in enumerate(self._parts) if part.sequence == sequence]
            scores.update(zip(own, self._of_sequence(candidate, sequence, own), strict=True))
        return float(np.mean([scores[row] for row in rows.tolist()]))

    def chunked(self, sequence: int, candidate: Found) -> ChunkedScore:
        """The score of one sequence under a candidate; it is run anew.

        Raises:
            SettingsError: the settings cannot work together.
        """
        tuning, of = self._tuning, self._tuning.sequences[sequence]
        observations: Iterable[Observation] = of.recording
        if self._are_held:
            if sequence not in self._observations:
                self._observations[sequence] = of.observations()
            observations = self._observations[sequence]
        return _score(of, observations, tuning.association, candidate, tuning.metric)

    def _of_sequence(self, candidate: Found, sequence: int, own: Sequence[int]) -> list[float]:
        key = _key(candidate, sequence)
        if key not in self._known:
            num_chunks = self._tuning.sequences[sequence].num_chunks
            try:
                chunked = self.chunked(sequence, candidate)
            except SettingsError:
                if not candidate:
                    raise
                scores = [_INVALID] * len(own)
            else:
                weights = [weights_of(self._parts[row].chunks, num_chunks) for row in own]
                scores = [chunked.of(each) for each in weights]
            self._remember(key, scores)
        return self._known[key]

    def _remember(self, key: bytes, scores: list[float]) -> None:
        self._known[key] = scores
        try:
            self._file.write(_line(key, scores) + b"\n")
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._tuning.log, error) from error
        if self._stop_requested():
            raise Interrupted(
                f"{len(self._known)} runs are kept in {self._tuning.log}; add --resume to the "
                "command to go on"
            )

    def _read(self) -> None:
        """Take up the file of an interrupted search; a last line that was cut is passed over."""
        first, *lines = self._tuning.log.read_bytes().splitlines() or [b""]
        if first != self._conditions:
            raise OutputError(
                f"{self._tuning.log} is of another search: with other sequences, settings or "
                "options than this one, or of another version",
                fix="give those that it was begun with, or start again with --overwrite",
            )
        for line in lines:
            try:
                candidate, sequence, scores = orjson.loads(line)
            except (orjson.JSONDecodeError, ValueError, TypeError):
                continue
            self._known[_key(candidate, sequence)] = scores
        logger.info("resuming: %d runs are known", len(self._known))


def _key(candidate: Found, sequence: int) -> bytes:
    return orjson.dumps([candidate, sequence], option=orjson.OPT_SORT_KEYS)


def _line(key: bytes, scores: list[float]) -> bytes:
    return key[:-1] + b"," + orjson.dumps(scores) + b"]"


def _unwritable(log: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{log} cannot be written: {error.strerror}",
        fix="choose a folder that may be written to and has space left",
    )


def _conditions(tuning: Tuning) -> bytes:
    """All that scores and candidates depend on."""
    files = [path for each in tuning.sequences for path in (each.recording.path, each.truth_path)]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    association = tuning.association
    return orjson.dumps(
        {
            "masa tune": __version__,
            "association": [association.name, association.changes, association.refine],
            "search": [
                (d.name, d.default, d.low, d.high, d.is_logarithmic) for d in tuning.dimensions
            ],
            "metric": tuning.metric,
            "all classes": [each.truth.classes is None for each in tuning.sequences],
            "seed": tuning.seed,
            "files": stats,
        }
    )


def weights_of(chunks: IntArray, num_chunks: int) -> NDArray[np.float64]:
    """1 for these chunks, 0 for others."""
    weights = np.zeros(num_chunks)
    weights[chunks] = 1
    return weights


# One run of the tracker.


def _score(
    sequence: TunedSequence,
    observations: Iterable[Observation],
    association: Association,
    candidate: Found,
    metric: str,
) -> ChunkedScore:
    """The score of one sequence, from what the tracker makes of its observations."""
    changed = _changed(sequence, association, candidate)
    rows = _rows(_tracked(sequence, observations, changed))
    rows = rows if len(rows.frames) else MotRows.empty()
    data = scored_data(sequence.truth, rows, _DISTRACTORS, sequence.num_frames)
    frames = np.union1d(sequence.truth.frames, rows.frames)
    return METRICS[metric](data, sequence.chunk_of(frames), sequence.num_chunks)


def _changed(sequence: TunedSequence, association: Association, candidate: Found) -> Association:
    """With what the run's detector wants, then the fixed changes, then the candidate's."""
    usual: SettingsChanges = defaults_in(sequence.recording.kept.facts)
    own = [change_of(name, value) for name, value in candidate.items()]
    return Association(
        association.name,
        (*usual.get(association.name, ()), *association.changes, *own),
        refine=association.refine,
    )


def _tracked(
    sequence: TunedSequence, observations: Iterable[Observation], association: Association
) -> Iterator[FrameTracks]:
    """The frames that are scored, refined if the association is; boxes are in memory meanwhile."""
    recording = sequence.recording
    tracker = association.build_tracker(recording.temperature)
    refinement = association.refinement
    if not refinement.changes_tracks:
        return map(tracker.update, itertools.islice(observations, sequence.num_frames))
    # The frames behind those that are scored help to refine them.
    frames = [tracker.update(observation) for observation in observations]
    size = (recording.info.width, recording.info.height)
    return itertools.islice(refine(frames, refinement, tracker.finish(), size), sequence.num_frames)


def _rows(frames: Iterator[FrameTracks]) -> MotRows:
    """The boxes as if they had been written and read."""
    kept: list[Tracks] = []
    indices: list[int] = []
    for frame in frames:
        kept.append(frame.tracks)
        indices.append(frame.index)
    tracks = Tracks.joined(kept)
    numbers = np.repeat(np.array(indices, np.int64), [len(each) for each in kept])
    empty = MotRows.empty()
    boxes, scores = tracks.boxes.astype(np.float64), tracks.scores.astype(np.float64)
    return MotRows(empty.text, numbers, tracks.ids, boxes, scores, None)
