"""What each ingredient of `hybrid` is worth: each removed in turn, beside the other trackers.

    python tests/benchmarks/association_ablation.py --scenarios all --seeds 3 --cache DIR \\
        [--clip VIDEO BOXES TRUTH ...] [--also "momentum=0.3 look_nats=8" ...]

Scenarios are those of masa_cli.sources.scenarios, seeds count from 1. VIDEO is what `masa track`
reads (a folder: img1 itself), BOXES a detections file, TRUTH MOTChallenge ground truth; frames up
to its last are tracked and scored. `--also` adds hybrid with other settings, to tune it. Embeddings
are those of the adapter `raw`, computed once with --cache. Prints IDF1 in percent, switches, and
milliseconds per frame of the tracker alone: mean and standard deviation over seeds, mean of means.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from masa_cli.association import PRESETS
from masa_cli.errors import MasaError
from masa_cli.evaluation.identity import Identified, identity_scores
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_truth
from masa_cli.models.variants import VARIANTS
from masa_cli.sources import open_source
from masa_cli.sources.scenarios import SCENARIOS, scenario
from masa_cli.structures import Detections, FloatArray, Frame
from masa_cli.trackers import build_tracker

ADAPTER = "raw"
BATCH = 8  # frames that are embedded together

# The name and seed of a scenario, or the files of video, boxes and truth.
Wanted: TypeAlias = tuple[str, int] | tuple[str, str, str]

# Settings of hybrid that take one ingredient away; its defaults are in masa_cli/hybrid.py.
WITHOUT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("appearance", ("look_nats=0", "return_seconds=0")),
    ("appearance in matching", ("look_nats=0",)),
    ("return by looks", ("return_seconds=0",)),
    ("margin of return", ("return_margin=-1",)),
    ("gate of motion", ("gate=1e9",)),
    ("prediction when unseen", ("memory_seconds=0.25",)),
    ("evidence of size", ("size_weight=0",)),
    ("least evidence", ("least_nats=-1e5", "weak_nats=-1e5")),
    ("pass for weak boxes", ("continue_score=0.5",)),
    ("tentative tracks", ("tentative_score=0.7",)),
    ("confirmation", ("confirm_hits=1",)),
    ("check for duplicates", ("duplicate_iou=2",)),
    ("mean look (last alone)", ("momentum=1",)),
    ("clear looks alone", ("clear_iou=2",)),
    ("camera motion (--see)", ("follow_camera=false",)),
)


class Row(NamedTuple):
    label: str
    name: str
    changes: tuple[str, ...] = ()


class Clip(NamedTuple):
    family: str
    times: list[float]  # seconds
    detections: list[Detections]
    truth: list[Identified]
    embeddings: list[FloatArray]
    frames: Callable[[], Iterator[Frame]]


class Score(NamedTuple):
    idf1: float  # percent
    switches: float
    milliseconds: float  # per frame


def rows(also: Sequence[str]) -> list[Row]:
    named = [Row(name, name) for name in ("motion", *PRESETS, "hybrid")]
    ablated = [Row(f"- {label}", "hybrid", changes) for label, changes in WITHOUT]
    tried = [Row(text, "hybrid", tuple(text.split())) for text in also]
    return [*named, *ablated, *tried]


def scenario_clip(name: str, seed: int, cache: Path | None) -> Clip:
    video = scenario(name, seed)
    indices = range(video.info.num_frames or 0)
    truths = [video.ground_truth(index) for index in indices]
    detections = [video.detections(index) for index in indices]
    return Clip(
        name,
        [float(index / video.info.frame_rate) for index in indices],
        detections,
        [(truth.boxes, truth.ids) for truth in truths],
        embeddings(video.frames(), detections, cache),
        video.frames,
    )


def file_clip(video: str, boxes: str, truth: str, cache: Path | None) -> Clip:
    true = read_truth(Path(truth))
    scored = true.scores != 0
    frames, table = true.frames[scored], read_detections(Path(boxes))
    identified = [
        (true.boxes[scored][frames == index].astype(np.float32), true.ids[scored][frames == index])
        for index in range(int(frames.max(initial=-1)) + 1)
    ]
    detections = [table.of_frame(index) for index in range(len(identified))]
    source = open_source(Path(video))

    def shown() -> Iterator[Frame]:
        return islice(source.frames(), len(identified))

    times = [float(index / source.info.frame_rate) for index in range(len(identified))]
    name = f"{source.info.name[-8:]}/{Path(boxes).stem[:8]}"
    return Clip(name, times, detections, identified, embeddings(shown(), detections, cache), shown)


def embeddings(
    frames: Iterator[Frame], detections: Sequence[Detections], cache: Path | None
) -> list[FloatArray]:
    """(N, D) of each frame; from the cache if these boxes on this first picture are there."""
    first = next(frames)
    key = hashlib.sha256(repr(VARIANTS[ADAPTER]).encode() + first.image.tobytes())
    for found in detections:
        key.update(found.boxes.tobytes())
    file = cache / f"{key.hexdigest()[:24]}.npy" if cache else None
    ends = np.cumsum([len(found) for found in detections])[:-1]
    if file and file.exists():
        return list(np.split(np.load(file), ends))
    looks = np.concatenate(list(embed(first, frames, detections)))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npy")
        np.save(part, looks)
        part.replace(file)
    return list(np.split(looks, ends))


def embed(
    first: Frame, others: Iterator[Frame], detections: Sequence[Detections]
) -> Iterator[FloatArray]:
    from masa_cli.models.adapter import build_adapter  # noqa: PLC0415 - slow, and often not needed

    adapter = build_adapter(ADAPTER, device="cpu")
    frames = chain([first], others)
    while batch := list(islice(frames, BATCH)):
        yield from adapter.embed(batch, [detections[frame.index].boxes for frame in batch])


def measure(row: Row, clip: Clip, see: bool) -> Score:
    temperature = VARIANTS[ADAPTER].temperature
    tracker = build_tracker(row.name, changes=row.changes, temperature=temperature)
    seconds, tracks = 0.0, []
    frames = zip(clip.times, clip.detections, clip.embeddings, strict=True)
    pictures = clip.frames() if see else iter(())
    for index, frame in enumerate(frames):
        picture, start = next(pictures, None), time.perf_counter()
        if picture:
            tracker.see(picture.image, frame[1].boxes)
        tracks.append(tracker.update(index, *frame))
        seconds += time.perf_counter() - start
    scores = identity_scores(clip.truth, [(found.boxes, found.ids) for found in tracks])
    return Score(100 * scores.idf1, scores.num_switches, 1e3 * seconds / max(len(tracks), 1))


def measure_all(
    everything: Sequence[Row], wanted: Wanted, cache: Path | None, see: bool
) -> tuple[str, list[Score]]:
    try:
        if isinstance(wanted[1], int):
            clip = scenario_clip(wanted[0], wanted[1], cache)
        else:
            clip = file_clip(*wanted, cache)
    except MasaError as error:  # which cannot pass between processes
        raise RuntimeError(f"{wanted}: {error}") from None
    return clip.family, [measure(row, clip, see) for row in everything]


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
    parser.add_argument("--see", action="store_true", help="show trackers the pictures: slower")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    names = tuple(SCENARIOS) if "all" in options.scenarios else options.scenarios
    seeds = range(1, options.seeds + 1)
    wanted: list[Wanted] = [(name, seed) for name in names for seed in seeds]
    wanted += [(video, boxes, truth) for video, boxes, truth in options.clip]
    if not wanted:
        parser.error("nothing to track: give --scenarios or --clip")
    everything = rows(options.also)
    for row in everything:  # a wrong setting is found before anything is rendered
        build_tracker(row.name, changes=row.changes)

    results: dict[str, list[list[Score]]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        given = options.cache, options.see
        jobs = [pool.submit(measure_all, everything, clip, *given) for clip in wanted]
        for job in jobs:
            family, scores = job.result()
            results.setdefault(family, []).append(scores)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, numpy {np.__version__}, {options.seeds} seeds, {options.jobs} processes")
    print_tables(everything, results)


if __name__ == "__main__":
    main()
