"""Whether objects are known again in other videos, and how often strangers are taken for them.

    python -m tests.benchmarks.identification --sequences FOLDER [FOLDER ...] --cache DIR \\
        [--adapters raw lite] [--rates 0.01 0.02 0.05 0.1] [--cameras 2 3 4] [--no-rendered] \\
        [--frames 4]
    python -m tests.benchmarks.identification --search
    python -m tests.benchmarks.identification --one-video 30000
    python -m tests.benchmarks.identification --live RUN

FOLDER is a sequence in MOTChallenge's form (a video and gt*.txt, seqinfo.ini). Each is cut by time
into cameras, a second apart; true boxes of about five frames a second are embedded, by an adapter
that begins anew with each camera. Rendered scenes come from the package: 14 objects in three shots
whose backgrounds differ, and the same "changed": darker and warmer and mirrored, or lighter and
colder and smaller. Of these only objects of one class are compared, as masa does.

rank-1 and mAP: for each track and other camera that has its object, whether it comes first of that
camera's tracks, and the mean of the inverse of its rank (each object is there once). false: share
of tracks that are taken for another object when their own is left out of the gallery, at each
stated rate; right and wrong: share of those whose own is there that get it, or another. All
sequences count alike. With several numbers of cameras the cuts lie elsewhere each time: told are
the means of each, and of all with their standard deviation. `--search` measures what a gallery of
100,000 identities costs, in milliseconds of one core beside comparing every view, and how often the
best of all is missed. `--one-video` measures time and memory of comparing so many tracks of one
video, of which a hundred are there at a time, with each other. `--live` gives the tracks of RUN, a
folder of masa track --save-embeddings, identities as a live run does, with an empty gallery and
with one of 100,000 identities in 1,000 videos: milliseconds of each frame. An adapter such as
r50-noise is MASA's, with weights that are noise of the right size: only that it works can be told.
"""

from __future__ import annotations

import argparse
import configparser
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.formats.gallery import changing
from masa_cli.formats.gallery_records import AdapterKey, GalleryUse, Identity
from masa_cli.formats.jsonl import TracksReader
from masa_cli.formats.mot import read_truth
from masa_cli.jobs.link import EMBEDDINGS, TRACKS, find_runs
from masa_cli.jobs.live_gallery import LiveGallery
from masa_cli.jobs.recognise import whitening_of
from masa_cli.jobs.templates import RunTemplates, collect_templates
from masa_cli.sources import open_source
from masa_cli.sources.scenarios import SyntheticSettings
from masa_cli.sources.synthetic import SyntheticVideo
from masa_cli.structures import Detections, Frame, FrameTracks, Observation, Tracks
from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.calibration import compared, impostors_between
from masa_cli.tracking.identities import link
from masa_cli.tracking.recognition import Company, RecognitionSettings, Rows, Template, scores
from masa_cli.tracking.search import KnownIdentities

PER_SECOND = 5
LIGHT = ((1.0, (1, 1, 1), 1.0), (0.65, (1.15, 1, 0.85), 0.8), (1.4, (0.85, 1, 1.15), 1.15))
MIN_BOXES = 3
NOISE = "-noise"  # behind the name of an adapter: its weights are noise of the right size
# Who comes back there has another id in the truth: seen by looking at all that were taken for each
# other (a man in a black coat, one in a leather jacket), never together, in all pairs of cameras.
COME_BACK = {"pets09": {19: 1, 15: 14}}
SETTINGS = {"num_objects": 14, "num_frames": 360, "width": 640, "height": 480}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A frame of a camera: its true boxes, ids and labels."""

    camera: int
    frame: Frame
    boxes: np.ndarray
    ids: np.ndarray
    labels: np.ndarray


def of_sequence(folder: Path, num_cameras: int) -> Iterator[View]:
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    rate = round(float(info["Sequence"].get("frameRate", "25")))
    truth = read_truth(next(folder.glob("gt*.txt")))
    counts = truth.scores != 0
    total = int(truth.frames.max()) + 1
    starts = [
        round(total * each / num_cameras) + (rate if each else 0) for each in range(num_cameras)
    ]
    stops = [round(total * (each + 1) / num_cameras) for each in range(num_cameras)]
    stride = max(1, round(rate / PER_SECOND))
    source = open_source(next(folder.glob("video.*")))
    for frame in source.frames():
        for camera, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            if start <= frame.index < stop and (frame.index - start) % stride == 0:
                here = (truth.frames == frame.index) & counts
                boxes, ids = truth.boxes[here].astype(np.float32), truth.ids[here]
                for one, first in COME_BACK.get(folder.name, {}).items():
                    ids = np.where(ids == one, first, ids)
                yield View(camera, frame, boxes, ids, np.zeros(len(ids), np.int64))
        if frame.index >= total:
            return


def rendered(look: str, seed: int, num_cameras: int, *, is_changed: bool) -> Iterator[View]:
    settings = SyntheticSettings(look=look, seed=seed, num_shots=num_cameras, **SETTINGS)
    video = SyntheticVideo(settings)
    for frame in video.frames():
        if frame.index % 4:
            continue
        camera = frame.index * num_cameras // settings.num_frames
        truth = video.ground_truth(frame.index)
        seen = truth[truth.scores >= 0.4]
        image, boxes = frame.image, seen.boxes
        if is_changed:
            image, boxes = changed(image, boxes, camera)
        yield View(camera, Frame(frame.index, frame.time, image), boxes, seen.ids, seen.labels)


def changed(image: np.ndarray, boxes: np.ndarray, camera: int) -> tuple[np.ndarray, np.ndarray]:
    """As another camera sees it: in other light, mirrored or smaller."""
    gamma, tint, gain = LIGHT[camera % len(LIGHT)]
    lit = np.clip((image / 255) ** gamma * gain * np.array(tint) * 255, 0, 255).astype(np.uint8)
    if camera % 3 == 1:
        width = image.shape[1]
        mirrored = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]])
        return np.ascontiguousarray(lit[:, ::-1]), mirrored.T.astype(np.float32)
    if camera % 3 == 2:
        small = cv2.resize(lit, None, fx=0.6, fy=0.75, interpolation=cv2.INTER_AREA)
        return small, (boxes * (0.6, 0.75, 0.6, 0.75)).astype(np.float32)
    return lit, boxes


def looked_at(views: Iterator[View], adapter: str, file: Path) -> dict[str, np.ndarray]:
    """Rows of boxes with their embeddings; cached."""
    if file.exists():
        return dict(np.load(file))
    from masa_cli.models.adapter import build_adapter, resolve

    if adapter.endswith(NOISE):
        adapter = str(noisy_weights(adapter.removesuffix(NOISE), file.parent))
    name, weights = resolve(adapter)
    rows, camera, embedder = [], -1, None
    for view in views:
        if view.camera != camera:
            camera, embedder = view.camera, build_adapter(name, weights=weights, device="cpu")
        (embeddings,) = embedder.embed([view.frame], [view.boxes])
        size = view.frame.image.shape[1::-1]
        moment = float(view.frame.time)
        for columns in zip(view.boxes, view.ids, view.labels, embeddings, strict=True):
            rows.append((camera, view.frame.index, moment, size, *columns))
    names = ("camera", "frame", "time", "size", "boxes", "ids", "labels", "embeddings")
    kept = {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    np.savez(file, **kept)
    return kept


def noisy_weights(variant: str, folder: Path) -> Path:
    """A published file of that variant, whose numbers are noise."""
    import torch

    from tests.recipe import published_state_dict

    file = folder / f"{variant}{NOISE}.pth"
    if not file.exists():
        part = file.with_suffix(".part")
        torch.save({"meta": {}, "state_dict": published_state_dict(variant)}, part)
        part.replace(file)
    return file


def few(views: Iterator[View], most: int) -> Iterator[View]:
    """So many frames of each camera, the first."""
    counts: Counter[int] = Counter()
    for view in views:
        counts[view.camera] += 1
        if counts[view.camera] <= most:
            yield view


def cameras(kept: dict[str, np.ndarray]) -> list[RunTemplates]:
    """The templates of each camera, as masa makes them of its tracks."""
    found = []
    for camera in np.unique(kept["camera"]):
        frames, observations = [], []
        here = kept["camera"] == camera
        for index in np.unique(kept["frame"][here]):
            rows = np.flatnonzero(here & (kept["frame"] == index))
            boxes = kept["boxes"][rows].astype(np.float32)
            ones, moment = np.ones(len(rows), np.float32), float(kept["time"][rows[0]])
            labels = kept["labels"][rows].astype(np.int64)
            ids = kept["ids"][rows].astype(np.int64)
            frames.append(FrameTracks(int(index), moment, Tracks(boxes, ones, labels, ids)))
            observations.append(
                Observation(
                    int(index),
                    moment,
                    Detections(boxes, ones, labels),
                    kept["embeddings"][rows].astype(np.float32),
                    frame_size=tuple(kept["size"][rows[0]].tolist()),
                )
            )
        names = [str(label) for label in range(int(kept["labels"].max()) + 1)]
        found.append(collect_templates(frames, observations, lambda names=names: names))
    return found


def scored(runs: Sequence[RunTemplates], rates: Sequence[float]) -> dict[str, float]:
    """Percentages."""
    first, inverse = [], []
    at: dict[float, tuple[list[bool], list[bool], list[bool]]] = {r: ([], [], []) for r in rates}
    for probe in runs:
        for other in runs:
            if probe is other:
                continue
            projection = whitening_of([probe, other]).projection()
            labels = [
                label
                for label in sorted({track.label for track in probe.tracks})
                if usable(probe, label) and usable(other, label)
            ]
            classes = [
                [
                    Company([track.template for track in usable(probe, label)]),
                    Company([track.template for track in usable(other, label)], are_distinct=True),
                ]
                for label in labels
            ]
            parts, impostors = compared(classes, projection)
            calibration = impostors.calibration()
            for label, (rows, others) in zip(labels, parts, strict=True):
                own, known = usable(probe, label), usable(other, label)
                found = scores(rows, others)
                of_class = calibration.raised(impostors_between([rows, others]))
                names = np.array([track.id for track in known])
                for track, row in zip(own, found, strict=True):
                    same = names == track.id
                    if same.any():
                        rank = int((row > row[same][0]).sum())
                        first.append(rank == 0)
                        inverse.append(1 / (1 + rank))
                    best = int(row.argmax())
                    for rate, (false, right, wrong) in at.items():
                        least = of_class.threshold(rate, len(names))
                        if (~same).any():
                            false.append(row[~same].max() >= least)
                        if same.any():
                            right.append(row[best] >= least and same[best])
                            wrong.append(row[best] >= least and not same[best])
    if not first:
        return {"tracks": 0.0}
    result = {"rank-1": 100 * np.mean(first), "mAP": 100 * np.mean(inverse), "tracks": len(first)}
    for rate, columns in at.items():
        for name, values in zip(("false", "right", "wrong"), columns, strict=True):
            result[f"{name} at {rate:g}"] = 100 * np.mean(values)
    return {name: float(value) for name, value in result.items()}


def usable(run: RunTemplates, label: str) -> list:
    return [
        track
        for track in run.tracks
        if track.label == label and track.template is not None and track.num_boxes >= MIN_BOXES
    ]


def search() -> None:
    """What a gallery of 100,000 identities costs: time, and how often the best are not found."""
    rng = np.random.default_rng(0)
    count, dim, num_views = 100_000, 256, 4
    # As embeddings of real videos have it, 64 directions hold three quarters of the variance.
    deviations = np.arange(1, dim + 1) ** -0.45

    def seen(objects: np.ndarray) -> Rows:
        noise = 0.5 * deviations * rng.normal(size=(len(objects), num_views, dim))
        noise[:, 0] *= 0.5  # the mean of all
        views = normalised((objects[:, None] + noise).reshape(-1, dim).astype(np.float32))
        starts = np.arange(len(objects)) * num_views
        centres = rng.normal(0, 0.03, len(objects)).astype(np.float32)
        spreads = rng.uniform(0.15, 0.25, len(objects)).astype(np.float32)
        return Rows(views[::num_views], views, starts, centres, spreads)

    objects = deviations * rng.normal(size=(count, dim))
    rows = seen(objects)
    known = KnownIdentities(rows, np.arange(count))
    asked = seen(objects[:100])
    strangers = seen(deviations * rng.normal(size=(100, dim)))
    for new in (1, 2, 4, 5, 20):
        probes = asked.block(0, new)
        quick = milliseconds(lambda probes=probes: known.best(probes), 9)
        whole = milliseconds(lambda probes=probes: scores(probes, rows), 3)
        print(f"{count} identities, {new} tracks: {quick:.1f} ms, every view {whole:.0f} ms")
    for name, probes in (("known", asked), ("strangers", strangers)):
        lost = []
        for row, best in enumerate(known.best(probes)):
            exact = scores(probes.block(row, row + 1), rows)[0]
            lost.append(float(exact.max()) - best[0][1])
        same = np.mean(np.array(lost) < 1e-4)
        print(f"{name}: the best is found of {same:.1%}; its score is {np.mean(lost):.3f} higher")


def live(run: Path) -> None:
    """What a live run waits for its gallery."""
    with tempfile.TemporaryDirectory() as folder:
        for count in (0, 100_000):
            path = Path(folder) / f"{count}.gallery"
            (found,) = find_runs([run])
            frames = TracksReader(run / TRACKS)
            kept = EmbeddingsReader(run / EMBEDDINGS)
            for _ in frames:
                pass
            begin = time.process_time()
            if count:
                fill(path, found.adapter, count, frames.classes[0], dim_of(kept))
                size = path.stat().st_size / 1e6
                print(f"filled in {time.process_time() - begin:.0f} s: {size:.0f} MB", flush=True)
            gallery = LiveGallery(
                GalleryUse(path),
                found.adapter,
                "live",
                run.name,
                lambda frames=frames: frames.classes,
                Path(folder) / "identities.json",
            )
            taken = []
            for tracks, seen in zip(frames, kept, strict=False):
                frame = Frame(seen.index, tracks.time, np.empty((0, 0, 3), np.uint8))
                begin = time.process_time()
                gallery.named(frame, tracks, seen)
                taken.append(1e3 * (time.process_time() - begin))
            begin = time.process_time()
            gallery.finish()
            end = time.process_time() - begin
            first, *rest = taken
            print(
                f"{count} identities, {len(taken)} frames: {first:.0f} ms the first, then "
                f"{np.median(rest):.1f} (median), {np.quantile(rest, 0.95):.1f} (95 %), "
                f"{np.mean(rest):.1f} (mean), {max(rest):.0f} at most; {1e3 * end:.0f} the end",
                flush=True,
            )


def dim_of(kept: EmbeddingsReader) -> int:
    return max(seen.embeddings.shape[1] for seen in kept)


def fill(path: Path, adapter: AdapterKey, count: int, label: str, dim: int) -> None:
    rng = np.random.default_rng(0)
    deviations = np.arange(1, dim + 1) ** -0.45
    in_video, span = 100, np.array([[0.0, 60.0]])
    with changing(path, adapter, dim) as gallery:
        for number in range(count // in_video):
            video = gallery.add_video(f"run {number}", f"video {number}")
            objects = rng.normal(size=(in_video, 1, dim))
            views = deviations * (objects + 0.3 * rng.normal(size=(in_video, 4, dim)))
            for each in views.astype(np.float32):
                identity = gallery.reserve()
                gallery.put(Identity(identity, label))
                gallery.see(identity, video, Template(label, normalised(each), span, 50))


def one_video(count: int) -> None:
    """Time and memory of the statistics of impostors, and of linking all tracks."""
    rng = np.random.default_rng(0)
    begins = np.sort(rng.uniform(0, count / 10, count))
    templates = [
        Template(
            "person",
            normalised(rng.standard_normal((4, 128), dtype=np.float32)),
            np.array([[begin, begin + 8]]),
        )
        for begin in begins.tolist()
    ]
    eye = np.eye(128, dtype=np.float32)
    for name, work in (
        ("seen together", lambda: compared([[Company(templates)]], eye)),
        ("all distinct", lambda: compared([[Company(templates, are_distinct=True)]], eye)),
        ("masa link", lambda: link([[Company(templates)]], eye, RecognitionSettings())),
    ):
        begin = time.process_time()
        work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: {time.process_time() - begin:.1f} s, at most {peak:.0f} MB", flush=True)


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Of processor time, the median."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - begin))
    return float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sequences", type=Path, nargs="*", default=[])
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--adapters", nargs="+", default=["raw", "lite"])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.05, 0.1])
    parser.add_argument("--cameras", type=int, nargs="+", default=[3])
    parser.add_argument("--frames", type=int, default=0, help="of each camera; 0: all")
    parser.add_argument("--no-rendered", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--live", type=Path)
    parser.add_argument("--one-video", type=int, default=0)
    options = parser.parse_args()
    if options.live:
        live(options.live)
        return
    if options.one_video:
        one_video(options.one_video)
        return
    if options.search:
        search()
        return
    options.cache.mkdir(exist_ok=True)
    for adapter in options.adapters:
        means = [of_cut(options, adapter, num_cameras) for num_cameras in options.cameras]
        if len(means) > 1:
            columns = {key: [each[key] for each in means] for key in means[0]}
            tell(adapter, "mean of cuts", {key: float(np.mean(columns[key])) for key in columns})
            tell(adapter, "deviation", {key: float(np.std(columns[key])) for key in columns})


def of_cut(options: argparse.Namespace, adapter: str, num_cameras: int) -> dict[str, float]:
    """The mean of all sequences, each cut into so many cameras."""
    sets = {each.name: (of_sequence, (each, num_cameras), {}) for each in options.sequences}
    for look in ("photographs", "textures") if not options.no_rendered else ():
        for seed in (1, 2):
            for is_changed in (False, True):
                name = f"rendered {look} {seed}{' changed' * is_changed}"
                sets[name] = rendered, (look, seed, num_cameras), {"is_changed": is_changed}
    every = []
    for name, (make, arguments, more) in sets.items():
        views = make(*arguments, **more)
        number = f"{num_cameras}"
        if options.frames:
            views, number = few(views, options.frames), f"{num_cameras}x{options.frames}"
        file = options.cache / f"{adapter}-{name.replace(' ', '-')}-{number}.npz"
        kept = looked_at(views, adapter, file)
        row = scored(cameras(kept), options.rates)
        if not row["tracks"]:
            continue  # cut so often that no track is long enough
        every.append(row)
        tell(adapter, f"{name}, {num_cameras} cameras", every[-1])
    mean = {key: float(np.mean([each[key] for each in every])) for key in every[0]}
    tell(adapter, f"mean, {num_cameras} cameras", mean)
    return mean


def tell(adapter: str, name: str, row: dict[str, float]) -> None:
    print(f"{adapter:5} {name:42}", ", ".join(f"{key} {row[key]:.1f}" for key in row), flush=True)


if __name__ == "__main__":
    main()
