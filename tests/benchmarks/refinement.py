"""Refining the tracks of a simple tracker: `masa refine` beside a split-and-connect after GTA-Link.

    python -m tests.benchmarks.refinement FOLDER [FOLDER ...] --cache DIR [--adapter raw] \\
        [--of SORT]

FOLDER is as for tests.benchmarks.sequences, whose boxes and cache these are. What is refined are
the tracks of `motion`, live, or with `--of` those of another tracker that
tests.benchmarks.sequences --peers left in the cache. split-and-connect (after arXiv 2411.08216,
written anew): embeddings of each track of 100 boxes or more are clustered (DBSCAN by cosine
distance, 10 neighbours within 0.3; three clusters at most), each cluster is a tracklet; then the
two tracklets of least mean cosine distance that are never there at one time are joined, again and
again, while that is below a threshold. Published is 0.4 for embeddings of a re-identification
network; a row for each threshold is shown, as it depends on the embeddings. Only masa's rows
interpolate gaps: compare AssA and IDF1 with that in mind.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from masa_cli.boxes import iou
from masa_cli.formats.tables import TrackTable
from masa_cli.jobs import reassociate
from masa_cli.jobs.reassociate import decided_on
from masa_cli.structures import FrameTracks, Observation, Tracks
from masa_cli.tracking import build_tracker
from masa_cli.tracking.linking import LinkingSettings
from masa_cli.tracking.recognition import RecognitionSettings
from masa_cli.tracking.splitting import SplittingSettings
from tests.benchmarks.identification import COME_BACK
from tests.benchmarks.sequences import (
    PEERS,
    Clip,
    Frames,
    Truth,
    load_clips,
    observations,
    peer_frames,
    scored,
)

MIN_LENGTH, NEAR, NEIGHBOURS, MOST = 100, 0.3, 10, 3
SAME_BOX = 0.7  # IoU
THRESHOLDS = (0.05, 0.1, 0.2, 0.4)


def tracked(seen: Sequence[Observation]) -> list[FrameTracks]:
    tracker = build_tracker("motion")
    return [tracker.update(observation) for observation in seen]


def of_peer(tracks: Frames, seen: Sequence[Observation]) -> list[FrameTracks]:
    """The tracks of another tracker, which tell no scores."""
    frames = []
    for (boxes, ids), observation in zip(tracks, seen, strict=True):
        ones, labels = np.ones(len(ids), np.float32), np.zeros(len(ids), np.int64)
        rows = Tracks(boxes.astype(np.float32), ones, labels, ids.astype(np.int64))
        frames.append(FrameTracks(observation.index, observation.time, rows))
    return frames


def refined(
    clip: Clip,
    frames: Sequence[FrameTracks],
    seen: Sequence[Observation],
    splitting: SplittingSettings | None,
) -> Frames:
    """By masa refine."""
    counts = [len(frame.tracks) for frame in frames]
    rows = [frame.tracks for frame in frames]
    table = TrackTable(
        np.repeat(np.arange(len(frames)), counts),
        type(rows[0]).joined(rows),
        ("object",),
        len(frames),
    )
    size = seen[0].frame_size or (0, 0)
    kept = [with_tracks(*each) for each in zip(frames, seen, strict=True)]
    decided = decided_on(table, kept, splitting, LinkingSettings(), RecognitionSettings(), size)
    found: Frames = [(np.empty((0, 4), np.float32), np.empty(0, np.int64)) for _ in frames]
    for frame in decided.refined():
        ids = np.array([decided.names[id_] for id_ in frame.tracks.ids.tolist()], np.int64)
        found[frame.index] = frame.tracks.boxes, ids
    return found


def every_gap(clip: Clip, frames: Sequence[FrameTracks], seen: Sequence[Observation]) -> Frames:
    """By masa refine, also where a track does not show that interpolated boxes would hit."""
    with patch.object(reassociate, "_MIN_EXPECTED_IOU", 0.0):
        return refined(clip, frames, seen, SplittingSettings())


def with_tracks(frame: FrameTracks, observation: Observation) -> Observation:
    """The observation whose boxes are those of the tracks, in their order.

    Other trackers move boxes a little: the embedding is that of the detection that lies on one.
    """
    embeddings = np.zeros((len(frame.tracks), observation.embeddings.shape[1]), np.float32)
    if len(frame.tracks) and len(observation.detections):
        shared = iou(frame.tracks.boxes, observation.detections.boxes)
        found = shared.max(axis=1) > SAME_BOX
        embeddings[found] = observation.embeddings[shared.argmax(axis=1)[found]]
    tracks = frame.tracks
    return Observation(
        observation.index,
        observation.time,
        type(observation.detections)(tracks.boxes, tracks.scores, tracks.labels),
        embeddings,
        observation.motion,
        observation.frame_size,
    )


def split_and_connect(
    frames: Sequence[FrameTracks], seen: Sequence[Observation]
) -> dict[float, Frames]:
    """For each threshold."""
    rows: dict[int, list[tuple[int, int, np.ndarray]]] = {}
    for frame, observation in zip(frames, seen, strict=True):
        own = with_tracks(frame, observation).embeddings
        for row, id_ in enumerate(frame.tracks.ids.tolist()):
            rows.setdefault(id_, []).append((frame.index, row, own[row]))
    pieces = [piece for track in rows.values() for piece in split(track)]
    return {threshold: connected(pieces, frames, threshold) for threshold in THRESHOLDS}


def split(track: list[tuple[int, int, np.ndarray]]) -> list[list[tuple[int, int, np.ndarray]]]:
    vectors = np.stack([vector for _, _, vector in track])
    if len(track) < MIN_LENGTH:
        return [track]
    near = 1 - vectors @ vectors.T <= NEAR
    core = near.sum(axis=1) >= NEIGHBOURS
    first, second = np.nonzero(near & core & core[:, None])
    graph = coo_array((np.ones(len(first)), (first, second)), shape=near.shape)
    labels = connected_components(graph)[1]
    kinds = [kind for kind in np.unique(labels[core]) if (labels[core] == kind).sum() >= NEIGHBOURS]
    if len(kinds) < 2:
        return [track]
    kinds = sorted(kinds, key=lambda kind: -(labels == kind).sum())[:MOST]
    means = np.stack([vectors[labels == kind].mean(axis=0) for kind in kinds])
    nearest = (vectors @ means.T).argmax(axis=1)
    return [
        [track[row] for row in np.flatnonzero(nearest == number)] for number in range(len(kinds))
    ]


def connected(
    pieces: Sequence[list[tuple[int, int, np.ndarray]]],
    frames: Sequence[FrameTracks],
    threshold: float,
) -> Frames:
    sums = np.stack([np.sum([vector for _, _, vector in piece], axis=0) for piece in pieces])
    counts = np.array([len(piece) for piece in pieces], np.float64)
    there = np.zeros((len(pieces), len(frames)), np.bool_)
    for number, piece in enumerate(pieces):
        there[number, [index for index, _, _ in piece]] = True
    names = np.arange(len(pieces))
    while True:
        distance = 1 - (sums @ sums.T) / np.outer(counts, counts)
        distance[(there.astype(np.int64) @ there.T) > 0] = np.inf
        distance[counts == 1e9] = np.inf
        np.fill_diagonal(distance, np.inf)
        first, second = sorted(np.unravel_index(int(distance.argmin()), distance.shape))
        if not distance[first, second] < threshold:
            break
        sums[first] += sums[second]
        counts[first] += counts[second]
        there[first] |= there[second]
        names[names == second] = first
        sums[second], counts[second], there[second] = 0, 1, True
    ids = [np.zeros(len(frame.tracks), np.int64) for frame in frames]
    for name, piece in zip(names, pieces, strict=True):
        for index, row, _ in piece:
            ids[index][row] = name + 1
    return [(frame.tracks.boxes, own) for frame, own in zip(frames, ids, strict=True)]


def with_returning(clip: Clip) -> Clip:
    """The same; who comes back under a new id in the truth has the old one."""
    known = COME_BACK.get(clip.sequence, {})
    truth = [
        (boxes, np.array([known.get(id_, id_) for id_ in ids.tolist()], np.int64))
        for boxes, ids in clip.truth.boxes
    ]
    return replace(clip, truth=Truth(truth, clip.truth.ignored))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--adapter", default="raw")
    parser.add_argument("--of", choices=PEERS, help="refine its tracks, of sequences --peers")
    parser.add_argument("--boxes", nargs="*", default=[])
    parser.add_argument(
        "--returning", action="store_true", help="who comes back under a new id in the truth is one"
    )
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {}
    for folder in options.folders:
        for given in load_clips(folder):
            clip = with_returning(given) if options.returning else given
            if options.boxes and clip.boxes_name not in options.boxes:
                continue
            seen = observations(clip, options.adapter, options.cache)
            peer = options.of and peer_frames(clip, options.of, options.cache)
            frames = of_peer(peer, seen) if peer else tracked(seen)
            results = {
                "as tracked": [(frame.tracks.boxes, frame.tracks.ids) for frame in frames],
                "masa refine": refined(clip, frames, seen, SplittingSettings()),
                "masa refine, every gap closed": every_gap(clip, frames, seen),
                "masa refine, no split": refined(clip, frames, seen, None),
            }
            for threshold, found in split_and_connect(frames, seen).items():
                results[f"split and connect {threshold:g}"] = found
            for name, found in results.items():
                rows.setdefault(name, []).append(scored(clip.truth, found))
                tell(f"{clip.name}: {name}", rows[name][-1])
    for name, every in rows.items():
        tell(
            f"mean: {name}", {key: float(np.mean([row[key] for row in every])) for key in every[0]}
        )


def tell(name: str, row: dict[str, float]) -> None:
    figures = ", ".join(f"{key} {row[key]:.1f}" for key in ("HOTA", "AssA", "IDF1", "IDSW"))
    print(f"{name:52} {figures}", flush=True)


if __name__ == "__main__":
    main()
