"""Association on real sequences with true identities, beside other trackers on the same boxes.

    python -m tests.benchmarks.sequences FOLDER [FOLDER ...] --cache DIR [--adapter raw] \\
        [--peers PYTHON] [--ablate] [--try "name=value linking.name=value"] [--strides 1 2 5]

FOLDER is a sequence in MOTChallenge's form (video.mp4 or img1, gt.txt, seqinfo.ini, det_*.txt), or
holds such folders. Boxes are those of its det_*.txt and, made from the truth, `noisy-1`, `noisy-2`:
sides off by 4 % (one standard deviation), 10 % missed, 0.4 false ones per frame, scores about 0.8
(false ones 0.45). Truth rows whose 7th column is 0 do not count: boxes on them (IoU 0.5, one to
one, after those that count) are taken out before scoring. Each stride keeps every such frame.

PYTHON has roboflow's `trackers`. `--try` adds a row of hybrid with other settings, `--ablate` one
without each of its ingredients. The gain of each is told with a bootstrap over chunks of 100 frames
(an interval around 0 is noise) and with one sequence left out: how often the others would choose
it, and what it gives the one left out. Everything that is slow is kept in DIR.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from masa_cli.boxes import iou
from masa_cli.evaluation.metrics import Metrics, data_of
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_results, read_truth
from masa_cli.models.adapter import build_adapter, resolve
from masa_cli.pipeline import Refinement, refine
from masa_cli.settings import with_changes
from masa_cli.sources import open_source
from masa_cli.structures import CameraMotion, Detections, FloatArray, IntArray, Observation
from masa_cli.tracking import build_tracker
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.linking import LinkingSettings
from tests.benchmarks.association_ablation import WITHOUT

METRICS = ("HOTA", "AssA", "DetA", "IDF1", "MOTA", "IDSW")
CHUNK = 100  # frames, of the bootstrap
BATCH = 8  # frames that are embedded together
PEERS = ("SORT", "ByteTrack", "OCSORT", "BoTSORT", "CBIoU")

Frames = list[tuple[FloatArray, IntArray]]  # boxes xyxy and ids of each frame


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What there is in each frame of a sequence.

    Attributes:
        boxes: boxes and ids that count.
        ignored: boxes that do not.
    """

    boxes: Frames
    ignored: list[FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A sequence with one set of boxes.

    Attributes:
        sequence: its name.
        boxes_name: of the set of boxes.
        stride: of its frames, every so many are kept.
        frame_rate: of those that are kept.
        video: what the images come from; None where there are none.
        truth: of all frames.
        detections: of each frame.
    """

    sequence: str
    boxes_name: str
    stride: int
    frame_rate: float
    video: Path | None
    truth: Truth
    detections: list[Detections]

    @property
    def name(self) -> str:
        return f"{self.sequence}/{self.boxes_name}" + (f"/{self.stride}" * (self.stride > 1))

    def strided(self, stride: int) -> Clip:
        return Clip(
            self.sequence,
            self.boxes_name,
            stride,
            self.frame_rate / stride,
            self.video,
            Truth(self.truth.boxes[::stride], self.truth.ignored[::stride]),
            self.detections[::stride],
        )


class Entry(NamedTuple):
    """A tracker: its name, its settings, whether tracks are refined and embeddings used."""

    label: str
    tracker: str
    changes: tuple[str, ...] = ()
    is_refined: bool = True
    is_blind: bool = False


def load_clips(folder: Path) -> list[Clip]:
    """A sequence with each set of boxes."""
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    of_sequence = info["Sequence"]
    rate = float(of_sequence.get("frameRate", "25"))
    width, height = int(of_sequence.get("imWidth", "0")), int(of_sequence.get("imHeight", "0"))
    truth = read_counted(
        next(path for path in (folder / "gt.txt", folder / "gt/gt.txt") if path.exists())
    )
    num_frames = len(truth.boxes)
    videos = (folder / "video.mp4", folder / "video.avi", folder / "img1")
    video = next((path for path in videos if path.exists()), None)
    sets = {}
    for path in sorted(folder.glob("det_*.txt")):
        table = read_detections(path)
        sets[path.stem.removeprefix("det_")] = [table.of_frame(i) for i in range(num_frames)]
    for seed in (1, 2):
        sets[f"noisy-{seed}"] = noisy_boxes(truth.boxes, seed, (width, height))
    return [Clip(folder.name, name, 1, rate, video, truth, found) for name, found in sets.items()]


def read_counted(path: Path, most_frames: int | None = None) -> Truth:
    """MOTChallenge's truth, of so many frames at most: class 1 alone counts, where there is one."""
    true = read_truth(path)
    counts = true.scores != 0
    if true.classes is not None and (true.classes == 1).any():
        counts &= true.classes == 1
    boxes, truth = true.boxes.astype(np.float32), Truth([], [])
    for index in range(min(int(true.frames.max()) + 1, most_frames or sys.maxsize)):
        here = true.frames == index
        truth.boxes.append((boxes[here & counts], true.ids[here & counts]))
        truth.ignored.append(boxes[here & ~counts])
    return truth


def noisy_boxes(truth: Frames, seed: int, size: tuple[int, int]) -> list[Detections]:
    """What a weak detector could have found of the truth."""
    rng = np.random.default_rng(seed)
    sides = np.concatenate([boxes[:, 2:] - boxes[:, :2] for boxes, _ in truth])
    found = []
    for boxes, _ in truth:
        kept = boxes[rng.random(len(boxes)) >= 0.1]
        side = np.tile(kept[:, 2:] - kept[:, :2], 2)
        kept = kept + rng.normal(0, 0.04, kept.shape) * side
        scores = np.clip(rng.normal(0.8, 0.08, len(kept)), 0.05, 0.99)
        count = rng.poisson(0.4)
        false_sides = sides[rng.integers(0, len(sides), count)]
        corners = rng.random((count, 2)) * np.maximum(np.array(size) - false_sides, 1)
        false = np.concatenate([corners, corners + false_sides], axis=1)
        false_scores = np.clip(rng.normal(0.45, 0.1, count), 0.05, 0.99)
        together = np.concatenate([kept, false]).astype(np.float32)
        found.append(
            Detections(
                together,
                np.concatenate([scores, false_scores]).astype(np.float32),
                np.zeros(len(together), np.int64),
            )
        )
    return found


def observations(clip: Clip, adapter: str, folder: Path) -> list[Observation]:
    """All that trackers are told; cached."""
    key = hashlib.sha256(adapter.encode())
    key.update(f"{clip.stride} {clip.video}".encode())
    for found in clip.detections:
        key.update(found.boxes.tobytes())
    file = folder / f"{clip.sequence}-{clip.boxes_name}-{key.hexdigest()[:16]}.npz"
    if not file.exists():
        kept = look(clip, adapter)
        part = file.with_suffix(".part.npz")
        np.savez(part, **kept)
        part.replace(file)
    kept = dict(np.load(file))
    ends = np.cumsum([len(found) for found in clip.detections])[:-1]
    size = tuple(int(side) for side in kept["size"])
    rows = zip(
        clip.detections,
        np.split(kept["embeddings"], ends),
        kept["matrices"],
        kept["cuts"],
        strict=True,
    )
    return [
        Observation(
            index,
            index / clip.frame_rate,
            found,
            embeddings,
            CameraMotion(matrix, bool(is_cut)),
            size if size[0] else None,
        )
        for index, (found, embeddings, matrix, is_cut) in enumerate(rows)
    ]


def look(clip: Clip, adapter: str) -> dict[str, np.ndarray]:
    """Embeddings, camera motion and the frame's size."""
    if clip.video is None:
        num_boxes = sum(len(found) for found in clip.detections)
        still = np.tile(np.eye(2, 3), (len(clip.detections), 1, 1))
        return {
            "embeddings": np.zeros((num_boxes, 0), np.float32),
            "matrices": still,
            "cuts": np.zeros(len(still), bool),
            "size": np.zeros(2),
        }
    name, weights = resolve(adapter)
    embedder = build_adapter(name, weights=weights, device="cpu")
    estimator = CameraMotionEstimator()
    embeddings: list[FloatArray] = []
    motions: list[CameraMotion] = []
    source = open_source(clip.video)
    frames = islice(source.frames(), 0, None, clip.stride)
    for first in range(0, len(clip.detections), BATCH):
        found = clip.detections[first : first + BATCH]
        batch = list(islice(frames, len(found)))
        boxes = [each.boxes for each in found]
        embeddings += embedder.embed(batch, boxes)
        motions += [
            estimator.update(frame.image, rows) for frame, rows in zip(batch, boxes, strict=True)
        ]
    return {
        "embeddings": np.concatenate(embeddings),
        "matrices": np.stack([motion.matrix for motion in motions]),
        "cuts": np.array([motion.is_cut for motion in motions]),
        "size": np.array([source.info.width, source.info.height]),
    }


def track(entry: Entry, seen: Sequence[Observation]) -> tuple[Frames, float]:
    """Boxes and ids of each frame, and milliseconds per frame."""
    own = [text for text in entry.changes if not text.startswith("linking.")]
    linking = with_changes(
        LinkingSettings(),
        [text.removeprefix("linking.") for text in entry.changes if text not in own],
    )
    tracker = build_tracker(entry.tracker, changes=own)
    start = time.perf_counter()
    frames = []
    for observation in seen:
        frames.append(tracker.update(unseen(observation) if entry.is_blind else observation))
    if entry.is_refined and frames[0].record is not None:
        size = seen[0].frame_size or (0, 0)
        frames = list(refine(frames, Refinement(linking), tracker.finish(), size))
    milliseconds = (time.perf_counter() - start) / len(seen) * 1e3
    return [(frame.tracks.boxes, frame.tracks.ids) for frame in frames], milliseconds


def unseen(observation: Observation) -> Observation:
    """As a tracker is told of it that has no images."""
    nothing = np.empty((len(observation.detections), 0), np.float32)
    return Observation(observation.index, observation.time, observation.detections, nothing)


@cache
def metrics() -> Metrics:
    return Metrics()


def scored(truth: Truth, tracks: Frames, part: slice = slice(None)) -> dict[str, float]:
    """Percentages, and switches as they are counted."""
    gt_ids, ids, similarities = [], [], []
    for (true, true_ids), ignored, (boxes, own) in zip(
        truth.boxes[part], truth.ignored[part], tracks[part], strict=True
    ):
        similarity = iou(true, boxes)
        kept = ~on_ignored(similarity, iou(ignored, boxes))
        gt_ids.append(true_ids)
        ids.append(own[kept])
        similarities.append(similarity[:, kept].astype(np.float64))
    result = metrics().of(data_of(gt_ids, ids, similarities, len(ids)))
    merged = {**result["Identity"], **result["CLEAR"], **result["HOTA"]}
    scale = {"IDSW": 1.0}
    return {name: float(np.mean(merged[name])) * scale.get(name, 100.0) for name in METRICS}


def on_ignored(similarity: FloatArray, with_ignored: FloatArray) -> np.ndarray:
    """(N,) which boxes lie on truth that does not count, and on none that does."""
    taken = matched(similarity, np.zeros(similarity.shape[1], bool))
    return matched(with_ignored, taken)


def matched(similarity: FloatArray, taken: np.ndarray) -> np.ndarray:
    good = np.where((similarity >= 0.5) & ~taken, similarity, 0)
    rows, columns = linear_sum_assignment(good, maximize=True)
    found = np.zeros(similarity.shape[1], bool)
    found[columns[good[rows, columns] > 0]] = True
    return found


def peers_tracks(clips: Sequence[Clip], python: str, folder: Path) -> None:
    """Have the other trackers track all clips that they have not tracked yet."""
    jobs = []
    for clip in clips:
        out = peers_folder(clip, folder)
        if (out / f"{PEERS[-1]}.txt").exists():
            continue
        out.mkdir(parents=True, exist_ok=True)
        counts = [len(found) for found in clip.detections]
        np.savez(
            out / "boxes.npz",
            frames=np.repeat(np.arange(len(counts)), counts),
            boxes=np.concatenate([found.boxes for found in clip.detections]),
            scores=np.concatenate([found.scores for found in clip.detections]),
        )
        jobs.append(
            {
                "video": str(clip.video) if clip.video and clip.stride == 1 else None,
                "boxes": str(out / "boxes.npz"),
                "frame_rate": clip.frame_rate,
                "num_frames": len(counts),
                "out": str(out),
            }
        )
    if jobs:
        listed = folder / "jobs.json"
        listed.write_text(json.dumps(jobs))
        subprocess.run([python, str(Path(__file__).with_name("peers.py")), str(listed)], check=True)


def peers_folder(clip: Clip, folder: Path) -> Path:
    key = hashlib.sha256(str(clip.frame_rate).encode())
    for found in clip.detections:
        key.update(found.boxes.tobytes())
    return folder / "peers" / f"{clip.name.replace('/', '-')}-{key.hexdigest()[:12]}"


def peer_frames(clip: Clip, name: str, folder: Path) -> Frames | None:
    """The tracks of another tracker; None where it was not run."""
    path = peers_folder(clip, folder) / f"{name}.txt"
    if not path.exists():
        return None
    if not path.stat().st_size:
        return [(np.empty((0, 4), np.float32), np.empty(0, np.int64)) for _ in clip.truth.boxes]
    rows = read_results(path)
    return [
        (rows.boxes[rows.frames == index].astype(np.float32), rows.ids[rows.frames == index])
        for index in range(len(clip.truth.boxes))
    ]


ENTRIES = (
    Entry("hybrid", "hybrid"),
    Entry("hybrid live", "hybrid", is_refined=False),
    Entry("motion", "motion", is_blind=True),
    Entry("motion live", "motion", is_refined=False, is_blind=True),
)


class Measured(NamedTuple):
    """Scores of one clip: by tracker, whole and by chunk; milliseconds of our own."""

    clip: str
    sequence: str
    whole: dict[str, dict[str, float]]
    chunks: dict[str, list[float]]  # IDF1
    milliseconds: dict[str, float]


def measure(clip: Clip, entries: Sequence[Entry], adapter: str, folder: Path) -> Measured:
    """All trackers on one clip."""
    whole, chunks, milliseconds = {}, {}, {}
    for name in PEERS:
        tracks = peer_frames(clip, name, folder)
        if tracks is not None:
            whole[name] = scored(clip.truth, tracks)
    seen = observations(clip, adapter, folder)
    for entry in entries:
        tracks, milliseconds[entry.label] = track(entry, seen)
        whole[entry.label] = scored(clip.truth, tracks)
        starts = range(0, max(len(tracks) - CHUNK // 2, 1), CHUNK)
        parts = [slice(start, start + CHUNK) for start in starts]
        chunks[entry.label] = [scored(clip.truth, tracks, part)["IDF1"] for part in parts]
    return Measured(clip.name, clip.sequence, whole, chunks, milliseconds)


def print_all(results: Sequence[Measured], entries: Sequence[Entry], metric: str) -> None:
    """A line for each clip, a column for each tracker; means, and the worst gap to the best."""
    names = [name for name in (*PEERS, *(entry.label for entry in entries))]
    names = [name for name in names if all(name in result.whole for result in results)]
    print(f"\n{metric:32}" + "".join(f"{name[:13]:>14}" for name in names))
    table = np.array([[each.whole[name][metric] for name in names] for each in results])
    peers = [column for column, name in enumerate(names) if name in PEERS]
    for result, row in zip(results, table, strict=True):
        print(f"{result.clip[:31]:32}" + "".join(f"{value:14.1f}" for value in row))
    print(f"{'MEAN':32}" + "".join(f"{value:14.1f}" for value in table.mean(axis=0)))
    if peers and metric in ("HOTA", "IDF1"):
        gaps = table - table[:, peers].max(axis=1, keepdims=True)
        print(
            f"{'worst gap to the best other':32}" + "".join(f"{v:14.1f}" for v in gaps.min(axis=0))
        )


def print_gains(results: Sequence[Measured], labels: Sequence[str]) -> None:
    """Of each other setting beside hybrid: the gain in IDF1, its interval, and left-out gains."""
    rng = np.random.default_rng(0)
    sequences = sorted({result.sequence for result in results})
    print(f"\n{'gain in IDF1':44}{'mean':>7}{'95 % of chunks':>18}{'chosen':>9}{'left out':>10}")
    for label in labels:
        pairs = [(each.chunks[label], each.chunks["hybrid"]) for each in results]
        chunks = np.concatenate([np.subtract(*pair) for pair in pairs])
        means = chunks[rng.integers(0, len(chunks), (2000, len(chunks)))].mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        gains = {
            name: [
                each.whole[label]["IDF1"] - each.whole["hybrid"]["IDF1"]
                for each in results
                if each.sequence == name
            ]
            for name in sequences
        }
        left_out = [
            float(np.mean(own))
            for name, own in gains.items()
            if np.mean([gain for other in gains if other != name for gain in gains[other]]) > 0
        ]
        mean = np.mean([gain for own in gains.values() for gain in own])
        kept = f"{np.mean(left_out):10.1f}" if left_out else f"{'-':>10}"
        share = f"{len(left_out)}/{len(sequences)}"
        print(f"{label[:43]:44}{mean:7.1f}{f'{low:.1f} to {high:.1f}':>18}{share:>9}{kept}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--adapter", default="raw")
    parser.add_argument("--peers", help="a Python that has `trackers`")
    parser.add_argument("--strides", nargs="+", type=int, default=[1])
    parser.add_argument("--boxes", nargs="+", help="sets of boxes, e.g. yolox noisy")
    parser.add_argument("--try", dest="tried", action="append", default=[])
    parser.add_argument("--ablate", action="store_true", help="hybrid without each ingredient")
    parser.add_argument("--metrics", nargs="+", default=METRICS, choices=METRICS)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    folders = [
        each
        for folder in options.folders
        for each in ([folder] if (folder / "seqinfo.ini").exists() else sorted(folder.iterdir()))
        if (each / "seqinfo.ini").exists()
    ]
    clips = [
        clip.strided(stride)
        for folder in folders
        for clip in load_clips(folder)
        for stride in options.strides
        if not options.boxes or clip.boxes_name in options.boxes
    ]
    tried = [Entry(text, "hybrid", tuple(text.split())) for text in options.tried]
    if options.ablate:
        tried += [Entry(f"- {label}", "hybrid", changes) for label, changes in WITHOUT]
    entries = [*ENTRIES, *tried]
    if options.peers:
        peers_tracks(clips, options.peers, options.cache)
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(measure, clip, entries, options.adapter, options.cache) for clip in clips
        ]
        results = [job.result() for job in jobs]
    for metric in options.metrics:
        print_all(results, ENTRIES, metric)
    times = {entry.label: [each.milliseconds[entry.label] for each in results] for entry in entries}
    print(
        "\nmilliseconds per frame: "
        + ", ".join(f"{e.label} {np.mean(times[e.label]):.1f}" for e in ENTRIES)
    )
    print_gains(results, [entry.label for entry in tried])


if __name__ == "__main__":
    main()
