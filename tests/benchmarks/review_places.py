"""The share of true identity switches that are near one of the first suspicious places.

    python -m tests.benchmarks.review_places TRACKS GT --size 768x576 --truth-until 397

A switch is where an object of the truth is matched (IoU 0.5, as CLEAR does) with another identity
than when it was last matched. It is found by a place within a second of that frame, or of the one
in which it was last matched, that names the identity before or after it. Places are those of the
whole video, also where there is no truth. The same is done with as many boxes taken at random.
Needs motmetrics, of the extra `eval`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import motmetrics
import numpy as np

from masa_cli import formats
from masa_cli.boxes import iou
from masa_cli.review.hints import AROUND
from masa_cli.review.places import suspicious_places
from masa_cli.settings import parse_size

DRAWS = 200


def switches(tracks, truth, last):
    """(frame, identity before, frame in which it was last matched, identity after) of each."""
    events = motmetrics.MOTAccumulator(auto_id=False)
    for frame in range(last):
        objects, found = truth.frames == frame, tracks.frames == frame
        far = 1 - iou(truth.tracks.boxes[objects], tracks.tracks.boxes[found]).astype(np.float64)
        far[far > 0.5] = np.nan
        events.update(truth.tracks.ids[objects], tracks.tracks.ids[found], far, frameid=frame)
    rows = events.mot_events.reset_index()
    rows = rows[rows.Type.isin(["MATCH", "SWITCH"])]
    found = []
    for _, row in rows[rows.Type == "SWITCH"].iterrows():
        before = rows[(rows.OId == row.OId) & (rows.FrameId < row.FrameId)].iloc[-1]
        found.append((int(row.FrameId), int(before.HId), int(before.FrameId), int(row.HId)))
    return found


def share(places, wanted, seconds):
    """How many switches are found by places of (frame, identities)."""

    def finds(frame, ids, switch):
        now, old, before, new = switch
        gap = min(abs(seconds[frame] - seconds[at]) for at in (now, before))
        return gap <= AROUND + 1e-6 and bool({old, new} & ids)

    return sum(any(finds(frame, ids, switch) for frame, ids in places) for switch in wanted)


def ids_of(tracks, boxes):
    found = set()
    for frame, *box in boxes:
        same = (tracks.frames == frame) & (np.abs(tracks.tracks.boxes - box).max(axis=1) < 0.02)
        found |= set(tracks.tracks.ids[same].tolist())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracks", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--size", required=True, help="of the video: WxH")
    parser.add_argument("--truth-until", type=int, help="frames that have truth")
    parser.add_argument("--first", type=int, default=20, help="places that are looked at")
    given = parser.parse_args()
    size = parse_size(given.size)
    tracks = replace(formats.read_tracks(given.tracks), size=size)
    truth = formats.read_tracks(given.truth)
    wanted = switches(tracks, truth, given.truth_until or truth.num_frames)
    seconds = tracks.times.at(np.arange(tracks.num_frames))
    for name, margins in (("as told", tracks.tracks.margins), ("boxes alone", None)):
        table = replace(tracks, tracks=replace(tracks.tracks, margins=margins))
        all_places = suspicious_places(table)
        places = [(p.frame, ids_of(table, p.boxes)) for p in all_places[: given.first]]
        told = share(places, wanted, seconds)
        print(f"{name}: {told} of {len(wanted)} switches by {len(places)} of {len(all_places)}")
    generator, counts = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = generator.choice(len(tracks), given.first, replace=False)
        drawn = []
        for row in rows.tolist():
            there = np.flatnonzero(tracks.frames == tracks.frames[row])
            far = np.abs(tracks.tracks.boxes[there] - tracks.tracks.boxes[row]).max(axis=1)
            nearest = there[np.argsort(far)[:2]]  # itself, and who is next to it
            drawn.append((int(tracks.frames[row]), set(tracks.tracks.ids[nearest].tolist())))
        counts.append(share(drawn, wanted, seconds))
    print(f"at random: {np.mean(counts):.1f} of {len(wanted)} on average")


if __name__ == "__main__":
    main()
