"""What became of the boxes of a file: which were dropped, and why nothing was tracked."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from masa_cli.boxes import iou
from masa_cli.formats.tables import DetectionTable
from masa_cli.jobs.job import TrackJob
from masa_cli.progress import Summary
from masa_cli.sources.excerpt import Excerpt
from masa_cli.structures import BoolArray, Detections, IntArray
from masa_cli.tracking import Birth, find_tracker

logger = logging.getLogger(__name__)


def warn_of_losses(dets: Path | None, job: TrackJob, summary: Summary) -> None:
    """Say which detections of a file came to nothing, and if all did, the true reason.

    Args:
        dets: the file; None where a detector found the boxes.
        job: that was run.
        summary: what it did.
    """
    table, source = job.input.table, job.input.source
    if dets is None or table is None:
        if not summary.num_tracks:
            logger.warning("nothing was tracked: %s", _of_found(summary.num_frames, _birth(job)))
        return
    if not len(table):
        return
    if isinstance(source, Excerpt):
        numbers = [source.in_whole(index) for index in range(summary.num_frames)]
        index_of = {number: index for index, number in enumerate(numbers)}
        frames = np.array([index_of.get(number, -1) for number in table.frames.tolist()], np.int64)
    else:
        frames = np.where(table.frames < summary.num_frames, table.frames, -1)
        if num_late := int(np.sum(frames < 0)):
            logger.warning(
                "%s: %d boxes of frames past the last one (%d) were dropped; frames count from 1 "
                "in MOTChallenge files, from 0 in the others",
                dets,
                num_late,
                summary.num_frames - 1,
            )
    if not summary.num_tracks:
        logger.warning(
            "%s: nothing was tracked: %s", dets, _reason(table, frames, summary.num_frames, job)
        )


def _reason(table: DetectionTable, frames: IntArray, num_frames: int, job: TrackJob) -> str:
    """Why no track began, and what helps.

    Args:
        table: the boxes.
        frames: (N,) the frame of each in what was tracked, -1 if it is not in there.
        num_frames: of what was tracked.
        job: that was run.
    """
    left = frames >= 0
    if not left.any():
        return (
            f"its {len(table)} boxes are of frames {table.frames[0]} to {table.frames[-1]}, "
            f"counted from 0, and none of these is among the {num_frames} that were tracked; give "
            "the boxes of this video, or the whole of it"
        )
    wanted = left & _wanted(table, job)
    if not wanted.any():
        return (
            f"none of its {int(left.sum())} boxes is wanted by --classes, --roi, --ignore and "
            "--min-area; widen them, or leave them out"
        )
    birth = _birth(job)
    scores = table.scores[wanted]
    if not birth.is_reached(float(scores.max())):
        return _of_scores(len(scores), float(scores.max()), birth)
    strong = np.array([birth.is_reached(score) for score in table.scores.tolist()], np.bool_)
    begins = wanted & strong
    return _of_time(table, np.where(begins, frames, -1), num_frames, birth, job)


def _wanted(table: DetectionTable, job: TrackJob) -> BoolArray:
    """(N,) which boxes the selection of the job leaves."""
    found = Detections(table.boxes, table.scores, np.arange(len(table)))
    # Labels come back as the numbers of rows; the classes are one for each row.
    classes = [table.classes[label] for label in table.labels.tolist()]
    wanted = np.zeros(len(table), np.bool_)
    wanted[job.perception.selection.of(found, classes).labels] = True
    return wanted


def _birth(job: TrackJob) -> Birth:
    return find_tracker(job.association.name).birth(job.association.tracker_changes)


def _of_found(num_frames: int, birth: Birth) -> str:
    """The reason where a detector looked for objects, of which nothing else is known."""
    if num_frames < birth.frames:
        return _of_length(f"there are {num_frames} frames", num_frames, birth)
    return (
        "what was asked for was not found, or in too few frames; other words, a lower --min-score "
        "or another --detector may help"
    )


def _of_length(what: str, longest: int, birth: Birth) -> str:
    return (
        f"{what}, and a track begins when it is found in {birth.frames}; to have shorter ones: "
        f"--set {birth.frames_name}={longest}"
    )


def _of_scores(count: int, highest: float, birth: Birth) -> str:
    reason = f"scores of its {count} boxes reach {highest:g}, too low for {birth.score_name}="
    if highest <= 0:
        return f"{reason}{birth.score:g}; write scores from 0 to 1, and 1 where there are none"
    return f"{reason}{birth.score:g}; give a lower one with --set {birth.score_name}=…"


def _of_time(
    table: DetectionTable, frames: IntArray, num_frames: int, birth: Birth, job: TrackJob
) -> str:
    """The reason if scores are none; `frames` are those of boxes that may begin a track."""
    seen = np.unique(frames[frames >= 0])
    breaks = np.flatnonzero(np.diff(seen) > 1)
    longest = int(np.diff(np.concatenate([[-1], breaks, [len(seen) - 1]])).max())
    if longest < birth.frames:
        what = (
            f"there are {num_frames} frames"
            if num_frames < birth.frames
            else (f"its boxes are in at most {longest} frames on end")
        )
        return _of_length(what, longest, birth)
    min_length = job.association.min_track_length
    if len(seen) < min_length:
        return f"its boxes are in {len(seen)} frames, fewer than --min-track-length {min_length}"
    if not _any_overlap(table, frames, seen):
        return (
            "no box overlaps one of the frame before, so objects move by more than their size from "
            "frame to frame; take more frames, or check their order"
        )
    return (
        "no box goes on where another was, as far as motion and appearance tell"
        + (f", in {min_length} frames or more (--min-track-length)" if min_length > 1 else "")
        + "; --association motion may find more"
    )


def _any_overlap(table: DetectionTable, frames: IntArray, seen: IntArray) -> bool:
    """Whether a box overlaps one of the frame before."""
    for frame in seen[1:][np.diff(seen) == 1].tolist():
        before, now = (table.boxes[frames == each] for each in (frame - 1, frame))
        if iou(before, now).max() > 0:
            return True
    return False
