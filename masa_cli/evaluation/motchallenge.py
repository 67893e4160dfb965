"""MOTChallenge and MOTS: HOTA, CLEAR and identity scores of boxes and masks.

All files are read and checked before the first is scored, so that an error costs no waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from masa_cli.evaluation import mot_preprocessing, mots_preprocessing
from masa_cli.evaluation.mot_sequences import Pair, find_pairs
from masa_cli.evaluation.report import Metric, Report, Row
from masa_cli.evaluation.trackeval_scores import Data, Metrics, Scores, curve_of, row_of
from masa_cli.formats.mot import MotRows, read_tracks, read_truth
from masa_cli.formats.mots import MotsRows, read_masks
from masa_cli.structures import IntArray

CURVES = ("HOTA", "DetA", "AssA")


@dataclass(frozen=True, slots=True)
class Rules:
    """How one protocol differs from the others.

    Attributes:
        classes: number of each class that is scored, by name.
        masks: rows hold masks, not boxes.
        distractors: classes of truth that are neither wanted nor wrong; boxes only.
        first_frame: number of the first frame in the files.
    """

    classes: Mapping[str, int]
    masks: bool = False
    distractors: tuple[int, ...] = ()
    first_frame: int = 1


PROTOCOLS: Mapping[str, Rules] = MappingProxyType(
    {
        # Person on a vehicle, static person, distractor, reflection; 6 is a vehicle without motor.
        "mot": Rules({"pedestrian": 1}, distractors=(2, 7, 8, 12)),
        "mot20": Rules({"pedestrian": 1}, distractors=(2, 6, 7, 8, 12)),
        "mots": Rules({"pedestrian": 2}, masks=True),
        "kitti-mots": Rules({"car": 1, "pedestrian": 2}, masks=True, first_frame=0),
    }
)

_ERRORS = (
    Metric("IDSW", more_is_better=False, is_count=True),
    Metric("CLR_FP", more_is_better=False, is_count=True),
    Metric("CLR_FN", more_is_better=False, is_count=True),
    Metric("Frag", more_is_better=False, is_count=True),
    Metric("MT", is_count=True),
    Metric("ML", more_is_better=False, is_count=True),
)


def _metrics(clear: tuple[str, ...]) -> tuple[Metric, ...]:
    names = ("HOTA", "DetA", "AssA", "LocA", *clear, "IDF1", "IDP", "IDR")
    return (*(Metric(name, is_fraction=True) for name in names), *_ERRORS)


BOX_METRICS = _metrics(("MOTA", "MOTP"))
MASK_METRICS = _metrics(("sMOTSA", "MOTSA", "MOTSP"))


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A sequence that was read and checked.

    Attributes:
        name: of the sequence.
        data: gives what is to be scored of each class; called late, for it is large.
        has_classes: whether its truth has classes.
    """

    name: str
    data: Callable[[], Sequence[Data]]
    has_classes: bool


def evaluate(
    gt: Path,
    results: Path,
    *,
    protocol: str,
    allow_missing: bool = False,
    seqmap: Path | None = None,
) -> Report:
    """Score the results of one sequence (two files) or of many (two folders).

    Rows hold all of TrackEval's fields as fractions and counts, those over alphas as their mean;
    `metrics` names those worth a column. With several classes, `combined` is their plain mean, and
    `sequences` has a row per sequence and class.

    Args:
        gt: file, or folder of `<sequence>/gt/gt.txt` or `<sequence>.txt`.
        results: file, or folder of `<sequence>.txt`.
        protocol: one of PROTOCOLS.
        allow_missing: score a sequence without results as empty, and say so in `notes`.
        seqmap: file with the names of the sequences to score.

    Raises:
        SettingsError: a library is missing.
        SourceError: a file is missing or malformed, or cannot be scored.
    """
    rules = PROTOCOLS[protocol]
    metrics = Metrics()
    pairs = find_pairs(gt, results, seqmap, allow_missing=allow_missing)
    load = _load_masks if rules.masks else _load_boxes
    sequences = [load(pair, rules) for pair in pairs]
    scores: dict[str, dict[str, Scores]] = {name: {} for name in rules.classes}
    for sequence in sequences:
        for class_, data in zip(rules.classes, sequence.data(), strict=True):
            scores[class_][sequence.name] = metrics.of(data)
    return _report(metrics, rules, scores, _notes(pairs, sequences))


def _load_boxes(pair: Pair, rules: Rules) -> _Sequence:
    truth = read_truth(pair.truth)
    results = read_tracks(pair.results) if pair.results else MotRows.empty()
    mot_preprocessing.check(truth, results, pair.length, pair.told_by)
    length = _length(pair, truth.frames, results.frames)

    def data() -> list[Data]:
        return [mot_preprocessing.scored_data(truth, results, rules.distractors, length)]

    return _Sequence(pair.name, data, has_classes=truth.classes is not None)


def _load_masks(pair: Pair, rules: Rules) -> _Sequence:
    first_frame = rules.first_frame
    truth = read_masks(pair.truth, first_frame=first_frame)
    results = (
        read_masks(pair.results, first_frame=first_frame) if pair.results else MotsRows.empty()
    )
    mots_preprocessing.check(truth, results, pair.length, pair.told_by, first_frame)
    length = _length(pair, truth.frames, results.frames)
    numbers = tuple(rules.classes.values())

    def data() -> list[Data]:
        return mots_preprocessing.scored_data(truth, results, numbers, length)

    return _Sequence(pair.name, data, has_classes=True)


def _length(pair: Pair, *frames: IntArray) -> int:
    """Number of frames: as told, else up to the last that occurs on either side.

    Only CLR_Frames and FP_per_frame depend on it.
    """
    if pair.length is not None:
        return pair.length
    return max((int(side.max()) + 1 for side in frames if len(side)), default=0)


def _report(
    metrics: Metrics,
    rules: Rules,
    scores: Mapping[str, Mapping[str, Scores]],
    notes: tuple[str, ...],
) -> Report:
    """The scores of each class and sequence as rows."""
    of_class = {class_: metrics.of_sequences(of) for class_, of in scores.items()}
    combined = next(iter(of_class.values()))
    several = len(of_class) > 1
    groups = {}
    if several:
        combined = metrics.of_classes(of_class)
        groups = {"class mean": combined, "detection mean": metrics.of_detections(of_class)}
        notes = (*notes, "The combined row is the plain mean of the classes, counts are summed.")
    row = _masks_row if rules.masks else row_of
    return Report(
        metrics=MASK_METRICS if rules.masks else BOX_METRICS,
        combined=row(combined),
        sequences={
            f"{sequence} {class_}" if several else sequence: row(of[sequence])
            for sequence in next(iter(scores.values()))
            for class_, of in scores.items()
        },
        classes={class_: row(of) for class_, of in of_class.items()} if several else {},
        groups={name: row(of) for name, of in groups.items()},
        curves={field: curve_of(combined, field) for field in CURVES},
        alphas=metrics.alphas,
        notes=notes,
    )


def _masks_row(scores: Scores) -> Row:
    """All fields, and again those that MOTS has names of its own for."""
    row = row_of(scores)
    return {**row, "sMOTSA": row["sMOTA"], "MOTSA": row["MOTA"], "MOTSP": row["MOTP"]}


def _notes(pairs: Sequence[Pair], sequences: Sequence[_Sequence]) -> tuple[str, ...]:
    missing = [pair.name for pair in pairs if pair.results is None]
    classless = [sequence.name for sequence in sequences if not sequence.has_classes]
    notes = []
    if missing:
        notes.append(f"Scored as empty, for want of results: {', '.join(missing)}.")
    if classless:
        notes.append(f"Truth without classes, so no distractors: {', '.join(classless)}.")
    return tuple(notes)
