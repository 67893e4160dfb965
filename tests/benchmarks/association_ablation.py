"""What each ingredient of `hybrid` is worth: each removed in turn, beside the other trackers.

    python tests/benchmarks/association_ablation.py --scenarios all --seeds 3 --cache DIR \\
        [--clip VIDEO BOXES TRUTH ...] [--also "momentum=0.3 linking.seconds=5" ...] [--only-also]

Scenarios are those of masa_cli.sources.synthetic, seeds count from 1. VIDEO is what `masa track`
reads (a folder: img1 itself), BOXES a detections file, TRUTH MOTChallenge ground truth; frames up
to its last are tracked and scored, hybrid after offline refinement unless the row says otherwise.
`--also` adds hybrid with other settings, to tune it. Embeddings are those of --adapter, or
of --net: a re-identification net in ONNX that takes crops of 128 x 256 BGR (needs onnxruntime).
They and the motion of the camera are computed once with --cache. Prints IDF1 in percent, switches,
and milliseconds per frame of association alone: mean and standard deviation over seeds, mean of
means.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np

from masa_cli.errors import MasaError
from masa_cli.evaluation.metrics import Identified, identity_scores
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_truth
from masa_cli.models.adapter import resolve
from masa_cli.models.trained_weights import variant_in
from masa_cli.pipeline import Refinement, refine
from masa_cli.settings import with_changes
from masa_cli.sources import open_source
from masa_cli.sources.synthetic import SCENARIOS, scenario
from masa_cli.structures import CameraMotion, Detections, FloatArray, Frame, Observation
from masa_cli.tracking import build_tracker
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.linking import LinkingSettings
from masa_cli.tracking.masa import PRESETS

BATCH = 8  # frames that are embedded together

# The name and seed of a scenario, or the files of video, boxes and truth.
Wanted: TypeAlias = tuple[str, int] | tuple[str, str, str]

# Changes that take one ingredient of hybrid away; its defaults are HybridSettings and, of offline
# refinement, LinkingSettings.
WITHOUT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("score of a new track", ("birth_score=0",)),
    ("confirmation", ("confirm_hits=1",)),
    ("pass for weak boxes", ("confident_score=0.3",)),
    ("weak boxes", ("continue_score=0.5",)),
    ("smallest llr", ("min_llr=-1e5",)),
    ("deferred matches", ("defer_margin=-1e9",)),
    ("prediction when unseen", ("memory_seconds=0.25",)),
    ("jumps", ("jump_share=1e-9",)),
    ("camera motion", ("camera_motion=false",)),
    ("mean embedding (last alone)", ("momentum=1",)),
    ("unoccluded updates alone", ("occlusion_iou=2",)),
    ("whitening", ("whitening_pairs=0",)),
    ("re-identification", ("reid_seconds=0",)),
    ("price of re-identification", ("reid_llr=-1e5",)),
    ("linking", ("linking.seconds=0",)),
    ("price of a link", ("linking.min_llr=-1e5",)),
    ("trust in the tracker", ("linking.tracker_llr=0",)),
    ("gap interpolation", ("linking.interpolation_seconds=0",)),
)


class Row(NamedTuple):
    label: str
    name: str
    changes: tuple[str, ...] = ()
    is_refined: bool = False

    @property
    def of_tracker(self) -> list[str]:
        return [change for change in self.changes if not change.startswith("linking.")]

    @property
    def of_linking(self) -> list[str]:
        return [
            text.removeprefix("linking.") for text in self.changes if text not in self.of_tracker
        ]


class Eyes(NamedTuple):
    """What embeds boxes, and where that is kept."""

    net: Path | None
    cache: Path | None
    adapter: str = "raw"


class Clip(NamedTuple):
    family: str
    times: list[float]  # seconds
    detections: list[Detections]
    truth: list[Identified]
    embeddings: list[FloatArray]
    camera: list[CameraMotion]
    frame_size: tuple[int, int]  # width, height
    temperature: float  # of the embeddings


class Score(NamedTuple):
    idf1: float  # percent
    switches: float
    milliseconds: float  # per frame


def rows(also: Sequence[str], only_also: bool) -> list[Row]:
    tried = [Row(text, "hybrid", tuple(text.split()), is_refined=True) for text in also]
    whole = Row("hybrid", "hybrid", is_refined=True)
    if only_also:
        return [whole, *tried]
    named = [Row("motion", "motion", is_refined=True), *(Row(name, name) for name in PRESETS)]
    live = Row("- offline refinement", "hybrid")
    changed = [Row(f"- {label}", "hybrid", changes, is_refined=True) for label, changes in WITHOUT]
    return [*named, whole, live, *changed, *tried]


def scenario_clip(name: str, seed: int, eyes: Eyes) -> Clip:
    video = scenario(name, seed)
    indices = range(video.info.num_frames or 0)
    truths = [video.ground_truth(index) for index in indices]
    detections = [video.detections(index) for index in indices]
    return Clip(
        name,
        [float(index / video.info.frame_rate) for index in indices],
        detections,
        [(truth.boxes, truth.ids) for truth in truths],
        *perceived(video.frames(), detections, eyes),
        (video.info.width, video.info.height),
        temperature_of(eyes.adapter),
    )


def file_clip(video: str, boxes: str, truth: str, eyes: Eyes) -> Clip:
    true = read_truth(Path(truth))
    scored = true.scores != 0
    frames, table = true.frames[scored], read_detections(Path(boxes))
    identified = [
        (true.boxes[scored][frames == index].astype(np.float32), true.ids[scored][frames == index])
        for index in range(int(frames.max(initial=-1)) + 1)
    ]
    detections = [table.of_frame(index) for index in range(len(identified))]
    source = open_source(Path(video))
    frames_shown = islice(source.frames(), len(identified))
    times = [float(index / source.info.frame_rate) for index in range(len(identified))]
    name = f"{source.info.name[-8:]}/{Path(boxes).stem[:8]}"
    seen = perceived(frames_shown, detections, eyes)
    size, temperature = (source.info.width, source.info.height), temperature_of(eyes.adapter)
    return Clip(name, times, detections, identified, *seen, size, temperature)


def temperature_of(adapter: str) -> float:
    return variant_in(*resolve(adapter)).temperature


def perceived(
    frames: Iterator[Frame], detections: Sequence[Detections], eyes: Eyes
) -> tuple[list[FloatArray], list[CameraMotion]]:
    """Embeddings (N, D) and camera of each frame; cached by the boxes and the first picture."""
    first, cache = next(frames), eyes.cache
    net = str(eyes.net or known_as(eyes.adapter))
    key = hashlib.sha256(net.encode() + first.image.tobytes())
    for found in detections:
        key.update(found.boxes.tobytes())
    file = cache / f"{key.hexdigest()[:24]}.npz" if cache else None
    ends = np.cumsum([len(found) for found in detections])[:-1]
    if not file or not file.exists():
        embeddings, camera = perceive(chain([first], frames), detections, eyes)
        numbers = {
            "embeddings": np.concatenate(embeddings),
            "matrices": np.stack([motion.matrix for motion in camera]),
            "cuts": np.array([motion.is_cut for motion in camera]),
        }
        if not file:
            return embeddings, camera
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, **numbers)
        part.replace(file)
    kept = np.load(file)
    pairs = zip(kept["matrices"], kept["cuts"], strict=True)
    camera = [CameraMotion(matrix, bool(is_cut)) for matrix, is_cut in pairs]
    return list(np.split(kept["embeddings"], ends)), camera


def perceive(
    frames: Iterator[Frame], detections: Sequence[Detections], eyes: Eyes
) -> tuple[list[FloatArray], list[CameraMotion]]:
    from masa_cli.models.adapter import build_adapter

    name, weights = resolve(eyes.adapter)
    adapter = OnnxNet(eyes.net) if eyes.net else build_adapter(name, weights=weights, device="cpu")
    estimator = CameraMotionEstimator()
    embeddings, camera = [], []
    while batch := list(islice(frames, BATCH)):
        embeddings += adapter.embed(batch, [detections[frame.index].boxes for frame in batch])
        camera += [estimator.update(frame.image, detections[frame.index].boxes) for frame in batch]
    return embeddings, camera


def known_as(adapter: str) -> str:
    """What its embeddings depend on."""
    name, weights = resolve(adapter)
    own = f"{weights.stat().st_size} {weights.stat().st_mtime_ns}" if weights else ""
    return f"{variant_in(name, weights)} {own}".strip()


class OnnxNet:
    """Embeds each crop by itself."""

    WIDTH, HEIGHT = 128, 256

    def __init__(self, file: Path) -> None:
        import onnxruntime

        self._net = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self._input = self._net.get_inputs()[0].name

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        return [self._embed(*pair) for pair in zip(frames, boxes, strict=True)]

    def _embed(self, frame: Frame, boxes: FloatArray) -> FloatArray:
        rows = []
        for left, top, right, bottom in boxes.round().astype(int).clip(0).tolist():
            crop = frame.image[top : max(bottom, top + 1), left : max(right, left + 1), ::-1]
            crop = crop if crop.size else np.zeros((1, 1, 3), np.uint8)
            crop = cv2.resize(np.ascontiguousarray(crop), (self.WIDTH, self.HEIGHT))
            rows.append(self._net.run(None, {self._input: crop[None].astype(np.float32)})[0][0])
        return np.array(rows, np.float32).reshape(len(boxes), -1)


def measure(row: Row, clip: Clip) -> Score:
    tracker = build_tracker(row.name, changes=row.of_tracker, temperature=clip.temperature)
    still = [CameraMotion.identity()] * len(clip.times)
    motions = clip.camera if tracker.uses_camera_motion else still
    columns = zip(clip.times, clip.detections, clip.embeddings, motions, strict=True)
    start = time.perf_counter()
    found = [
        tracker.update(Observation(index, *frame, clip.frame_size))
        for index, frame in enumerate(columns)
    ]
    if row.is_refined:
        refinement = Refinement(with_changes(LinkingSettings(), row.of_linking))
        found = list(refine(found, refinement, tracker.finish(), clip.frame_size))
    seconds = time.perf_counter() - start
    results = [(frame.tracks.boxes, frame.tracks.ids) for frame in found]
    scores = identity_scores(clip.truth, results)
    return Score(100 * scores.idf1, scores.num_switches, 1e3 * seconds / max(len(found), 1))


def measure_all(everything: Sequence[Row], wanted: Wanted, eyes: Eyes) -> tuple[str, list[Score]]:
    try:
        if isinstance(wanted[1], int):
            clip = scenario_clip(wanted[0], wanted[1], eyes)
        else:
            clip = file_clip(*wanted, eyes)
    except MasaError as error:  # which cannot pass between processes
        raise RuntimeError(f"{wanted}: {error}") from None
    return clip.family, [measure(row, clip) for row in everything]


def print_tables(everything: Sequence[Row], results: dict[str, list[list[Score]]]) -> None:
    """A table for each of IDF1, switches and time; results are per family, clip and tracker."""
    columns = (("IDF1", "idf1", 1), ("switches", "switches", 1), ("ms/frame", "milliseconds", 2))
    for title, field, decimals in columns:
        table = {
            family: np.array([[getattr(score, field) for score in clip] for clip in clips])
            for family, clips in results.items()
        }
        print_table(title, [row.label for row in everything], table, decimals)


def print_table(
    title: str, labels: Sequence[str], table: dict[str, FloatArray], decimals: int
) -> None:
    """A line for each tracker, a column for each family: (clips, trackers) numbers."""
    means = {family: numbers.mean(axis=0) for family, numbers in table.items()}
    overall = np.mean(list(means.values()), axis=0)
    print(f"\n{title:26}{'MEAN':>8}" + "".join(f"{family[:17]:>18}" for family in table))
    for place, label in enumerate(labels):
        cells = []
        for family, numbers in table.items():
            spread = f"±{numbers[:, place].std():.{decimals}f}" if len(numbers) > 1 else ""
            cells.append(f"{means[family][place]:.{decimals}f}{spread}".rjust(18))
        print(f"{label[:25]:26}{overall[place]:8.{decimals}f}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", nargs="+", default=[], choices=("all", *SCENARIOS))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1 on")
    parser.add_argument(
        "--clip", nargs=3, action="append", default=[], metavar="FILE", help="VIDEO BOXES TRUTH"
    )
    parser.add_argument("--also", nargs="+", default=[], help="changes to hybrid, each a row")
    parser.add_argument("--cache", type=Path, help="folder for embeddings")
    parser.add_argument("--adapter", default="raw", help="name or file of what embeds")
    parser.add_argument("--net", type=Path, help="ONNX net that embeds instead of the adapter")
    parser.add_argument("--only-also", action="store_true", help="beside hybrid, no other rows")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    names = tuple(SCENARIOS) if "all" in options.scenarios else options.scenarios
    seeds = range(1, options.seeds + 1)
    wanted: list[Wanted] = [(name, seed) for name in names for seed in seeds]
    wanted += [(video, boxes, truth) for video, boxes, truth in options.clip]
    if not wanted:
        parser.error("nothing to track: give --scenarios or --clip")
    everything = rows(options.also, options.only_also)
    for row in everything:  # a wrong setting is found before anything is rendered
        build_tracker(row.name, changes=row.of_tracker)
        with_changes(LinkingSettings(), row.of_linking)

    results: dict[str, list[list[Score]]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        eyes = Eyes(options.net, options.cache, options.adapter)
        jobs = [pool.submit(measure_all, everything, clip, eyes) for clip in wanted]
        for job in jobs:
            family, scores = job.result()
            results.setdefault(family, []).append(scores)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, numpy {np.__version__}, {options.seeds} seeds, {options.jobs} processes")
    print_tables(everything, results)


if __name__ == "__main__":
    main()
