"""Which files of truth and results belong together, and how long each sequence is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masa_cli.errors import SourceError
from masa_cli.formats.files import TextFile
from masa_cli.formats.mot_sequence import INFO, find_sequence, read_seqmap
from masa_cli.structures import BoolArray, IntArray

_LAYOUT = "<sequence>/gt/gt.txt or <sequence>.txt"


@dataclass(frozen=True, slots=True)
class SequencePair:
    """The two files of one sequence.

    Attributes:
        name: of the sequence.
        truth: file of the truth.
        results: file of the results; None where they are missing and count as empty.
        length: number of frames; None where nothing tells it.
        told_by: who tells the length, for errors.
    """

    name: str
    truth: Path
    results: Path | None
    length: int | None = None
    told_by: str = ""


def find_pairs(
    gt: Path, results: Path, seqmap: Path | None = None, *, allow_missing: bool = False
) -> list[SequencePair]:
    """The sequences to score: two files are one, two folders as many as there is truth for.

    Args:
        gt: a file, or a folder of `<sequence>/gt/gt.txt` or `<sequence>.txt`.
        results: a file, or a folder of `<sequence>.txt`.
        seqmap: file that names the sequences to score, of those in the folders.
        allow_missing: a sequence without results is one without tracks.

    Raises:
        SourceError: a sequence is missing on either side, or a file is malformed.
    """
    for path in (gt, results):
        if not path.exists():
            raise SourceError(f"{path} does not exist", fix="check the path")
    if gt.is_dir() != results.is_dir():
        folder, file = (gt, results) if gt.is_dir() else (results, gt)
        raise SourceError(
            f"{folder} is a folder, but {file} is a file", fix="give two files or two folders"
        )
    wanted = read_seqmap(seqmap) if seqmap else None
    if not gt.is_dir():
        return [_pair(_name_of(gt), gt, results, wanted)]
    truths = _truths(gt)
    given = {path.stem: path for path in sorted(results.glob("*.txt"))}
    if wanted is None:
        _check_known(given, truths, results, gt)
    else:
        _check_known(wanted, truths, seqmap, gt)
    names = list(wanted or truths)
    missing = [name for name in names if name not in given]
    if missing and not allow_missing:
        raise SourceError(
            f"{results} has no {missing[0]}.txt ({len(missing)} of {len(names)} sequences missing)",
            fix="add it, or score missing sequences as empty with --allow-missing",
        )
    return [_pair(name, truths[name], given.get(name), wanted) for name in names]


def _truths(folder: Path) -> dict[str, Path]:
    """Files of truth by name of the sequence."""
    found = {path.parent.parent.name: path for path in sorted(folder.glob("*/gt/gt.txt"))}
    found = found or {path.stem: path for path in sorted(folder.glob("*.txt"))}
    if not found:
        raise SourceError(f"{folder} holds no truth", fix=f"give a folder of {_LAYOUT}")
    return found


def _check_known(
    names: Iterable[str], truths: Mapping[str, Path], asked: Path | None, gt: Path
) -> None:
    for name in names:
        if name not in truths:
            raise SourceError(
                f"{asked} has the sequence {name!r}, but {gt} has no truth for it",
                fix="give the truth of the same data set, or name what to score with --seqmap",
            )


def _name_of(truth: Path) -> str:
    """The sequence a file of truth belongs to: of the name of the file, or of its folder."""
    if truth.stem != "gt":
        return truth.stem
    folder = truth.absolute().parent
    return folder.parent.name if folder.name == "gt" else folder.name


def _pair(
    name: str, truth: Path, results: Path | None, wanted: Mapping[str, int | None] | None
) -> SequencePair:
    """With the length of the seqmap, else that of the seqinfo.ini of the truth."""
    length = wanted.get(name) if wanted else None
    if length is not None:
        return SequencePair(name, truth, results, length, "the seqmap")
    sequence = find_sequence(truth) if truth.stem == "gt" else None
    length = sequence.num_frames if sequence else None
    return SequencePair(name, truth, results, length, INFO)


def check_frames(
    text: TextFile, frames: IntArray, length: int | None, told_by: str, first_frame: int = 1
) -> None:
    """Raise SourceError for a frame beyond the sequence.

    Args:
        text: the lines of the rows.
        frames: (N,) from 0.
        length: number of frames; None where nothing tells it.
        told_by: who tells it.
        first_frame: number of the first frame in the file.
    """
    if length is None:
        return
    beyond = np.flatnonzero(frames >= length)
    if len(beyond):
        row = int(beyond[0])
        last = length - 1 + first_frame
        expected = f"a frame from {first_frame} to {last} (of {told_by})"
        raise text.wrong(row, expected, str(frames[row] + first_frame))


def check_ids(
    text: TextFile, frames: IntArray, ids: IntArray, counted: BoolArray | None = None
) -> None:
    """Raise SourceError for an id that comes twice in a frame; blames the later row.

    Args:
        text: the lines of the rows.
        frames: (N,).
        ids: (N,).
        counted: (N,) which rows to look at; all by default.
    """
    rows = np.arange(len(ids)) if counted is None else np.flatnonzero(counted)
    frames, ids = frames[rows], ids[rows]
    order = np.lexsort((ids, frames))  # stable: of equal rows, the later one stays later
    again = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
    if again.any():
        again_at = int(order[1:][again].min())
        raise text.wrong(int(rows[again_at]), "each id once in a frame", f"{ids[again_at]} again")
