"""What the user points at, in which frames that is, and what is seen of it before these."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from masa_cli.detectors import Detector
from masa_cli.detectors.pointed import PointedDetector
from masa_cli.errors import Interrupted, SettingsError, SourceError, UsageError, shortened
from masa_cli.formats.files import explained
from masa_cli.formats.json_fields import read_json
from masa_cli.jobs.build import Networks
from masa_cli.jobs.job import TrackJob
from masa_cli.masks import frames_of, read_masks
from masa_cli.pipeline import Embedder, associate, observe
from masa_cli.progress import RunProgress
from masa_cli.settings import parse_time
from masa_cli.sources import Source, is_live
from masa_cli.sources.prefetch import prefetch
from masa_cli.structures import Frame, State, Tracks
from masa_cli.tracking import Tracker
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.follow import FollowSettings, FollowTracker
from masa_cli.tracking.targets import Pointing, Target

UNNAMED = "object"
RULES = (
    "write X1,Y1,X2,Y2@TIME (a box in pixels), X,Y@TIME (a point), perhaps with a name in front "
    "(ball=...), or name a .json of boxes, polygons or masks"
)
_HELD_BYTES = 256e6  # of frames, that are held to go through them backwards
_FEWEST_HELD = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """One --follow, or one entry of a file of them, before the video is looked at.

    Attributes:
        said: how, for errors.
        name: of the target; "": it has none, and is a target of its own.
        time: seconds of the video; None where `frame` is given.
        frame: number in what is tracked, from 0.
        box: xyxy in source pixels; None: there is a point.
        point: x and y in source pixels.
    """

    said: str
    name: str = ""
    time: Fraction | None = None
    frame: int | None = None
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None


def parse_follow(texts: Sequence[str]) -> tuple[Wish, ...]:
    """What --follow asks for, each time it is given.

    Raises:
        UsageError: a text is malformed.
        SourceError: a file is.
    """
    return tuple(
        wish
        for text in texts
        for wish in (_read(Path(text)) if text.endswith(".json") else [_parse(text)])
    )


def _parse(text: str) -> Wish:
    name, _, rest = text.rpartition("=")
    place, at, time = rest.partition("@")
    try:
        numbers = tuple(float(part) for part in place.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 4) or not np.isfinite(numbers).all() or (at and not time):
        raise UsageError(f'--follow: "{shortened(text)}" is no box and no point', fix=RULES)
    seconds = parse_time(time, "--follow") if at else Fraction(0)
    said = f"--follow {text}"
    if len(numbers) == 2:
        return Wish(said, name.strip(), seconds, point=(numbers[0], numbers[1]))
    return Wish(said, name.strip(), seconds, box=_ordered(numbers, said))


def _ordered(numbers: Sequence[float], said: str) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = numbers
    if x2 <= x1 or y2 <= y1:
        raise UsageError(
            f"{said}: the box has no area", fix="write its left, top, right and lower edge"
        )
    return x1, y1, x2, y2


def _read(path: Path) -> list[Wish]:
    """The entries of a file."""
    content = read_json(path, fix=RULES)
    entries = content.get("targets", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise SourceError(f"{path} has no list of what to follow", fix=_FILE_RULES)
    return [_entry(entry, path, number) for number, entry in enumerate(entries, start=1)]


_FILE_RULES = (
    'write a list of {"name": ..., "time": seconds or "frame": number, and one of "box": [x1, y1, '
    'x2, y2], "point": [x, y], "polygon": [[x, y], ...], "mask": {"size": [h, w], "counts": ...} '
    "or a picture's file}"
)


def _entry(entry: Any, path: Path, number: int) -> Wish:  # noqa: ANN401 - JSON
    said = f"{path} entry {number}"
    kinds = {"box", "point", "polygon", "mask"}
    own = kinds & entry.keys() if isinstance(entry, dict) else set()
    strange = entry.keys() - kinds - {"name", "time", "frame"} if own else set()
    if len(own) != 1 or strange or ("time" in entry and "frame" in entry):
        wrong = f' with "{min(strange)}"' if strange else ""
        raise SourceError(f"{said}: expected one place at one time{wrong}", fix=_FILE_RULES)
    kind = own.pop()
    name, frame = str(entry.get("name", "")), entry.get("frame")
    if frame is not None and (type(frame) is not int or frame < 0):
        raise SourceError(f'{said}: "frame" is no number from 0', fix=_FILE_RULES)
    time = None if frame is not None else parse_time(str(entry.get("time", 0)), f'{said}, "time"')
    if kind == "mask":
        return Wish(said, name, time, frame, box=_box_of_mask(entry[kind], path, said))
    try:
        numbers = np.array(entry[kind], np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    shapes = {"box": numbers.shape == (4,), "point": numbers.shape == (2,)}
    is_polygon = numbers.ndim == 2 and numbers.shape[1:] == (2,) and len(numbers) >= 3
    if not shapes.get(kind, is_polygon) or not np.isfinite(numbers).all():
        raise SourceError(f'{said}: "{kind}" is none', fix=_FILE_RULES)
    if kind == "point":
        return Wish(said, name, time, frame, point=(float(numbers[0]), float(numbers[1])))
    if kind == "polygon":
        numbers = np.concatenate([numbers.min(axis=0), numbers.max(axis=0)])
    return Wish(said, name, time, frame, box=_ordered(numbers.tolist(), said))


def _box_of_mask(
    mask: Any,  # noqa: ANN401 - JSON
    path: Path,
    said: str,
) -> tuple[float, float, float, float]:
    """The box around run lengths, or around what is not black in a picture beside the file."""
    if isinstance(mask, str):
        from PIL import Image, UnidentifiedImageError

        file = path.parent / mask
        with explained(file):
            try:
                with Image.open(file) as picture:
                    pixels = np.array(picture.convert("L")) > 0
            except UnidentifiedImageError:
                raise SourceError(f"{file} is no picture", fix=_FILE_RULES) from None
        rows, columns = np.nonzero(pixels)
        if not len(rows):
            raise SourceError(f"{file}: the mask is empty", fix="give one with an object")
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return tuple(float(edge) for edge in edges)  # type: ignore[return-value]
    try:
        (found,) = read_masks([mask], 1)
    except ValueError as error:
        raise SourceError(f"{said}: {error} is no mask", fix=_FILE_RULES) from None
    if found is None:
        raise SourceError(f"{said}: the mask is empty", fix="give one with an object")
    return tuple(frames_of([found])[0].tolist())


def find_targets(wishes: Sequence[Wish], source: Source) -> tuple[Target, ...]:
    """The targets that are wished for, at the times of the frames in which they were shown.

    Wishes of one name are one target, shown several times.

    Args:
        wishes: at least one.
        source: what is tracked; of a file, the frames up to the last of the times are counted.

    Raises:
        SettingsError: a time or place is outside the video.
    """
    info = source.info
    if not info.width:
        raise SettingsError(
            "what --follow points at is looked for in images, but there are no images",
            fix="give the video or the folder of frames as well",
        )
    size = np.array([info.width, info.height, info.width, info.height], np.float64)
    named: dict[str, list[Pointing]] = {}
    times = None if is_live(source) else _times_until(source, wishes)
    for number, wish in enumerate(wishes):
        box = None if wish.box is None else np.clip(wish.box, 0, size)
        x, y = wish.point or (0.0, 0.0)
        if (box is not None and (box[2:] - box[:2]).min() < 1) or not (
            0 <= x < info.width and 0 <= y < info.height
        ):
            raise SettingsError(
                f"{wish.said}: that is outside the frames of {info.width} x {info.height} pixels",
                fix="give places in pixels of the video, x to the right, y down",
            )
        time = _time_in(times, wish, source)
        pointing = Pointing(time, None if box is None else tuple(box.tolist()), wish.point)
        named.setdefault(wish.name or f" {number}", []).append(pointing)
    return tuple(
        Target(UNNAMED if name.startswith(" ") else name, tuple(_by_time(each, name)))
        for name, each in named.items()
    )


def _by_time(pointings: list[Pointing], name: str) -> list[Pointing]:
    ordered = sorted(pointings, key=lambda each: each.time)
    for first, second in pairwise(ordered):
        if first.time == second.time:
            raise SettingsError(
                f"--follow shows {name} twice in the frame at {first.time:g} s",
                fix="give two things two names",
            )
    return ordered


def _times_until(source: Source, wishes: Sequence[Wish]) -> list[Fraction]:
    """Times of the frames up to the last that is wished for, and one more if there is one."""
    last = max((wish.time for wish in wishes if wish.time is not None), default=Fraction(-1))
    number = max((wish.frame for wish in wishes if wish.frame is not None), default=-1)
    times: list[Fraction] = []

    def is_past(index: int, time: Fraction) -> bool:
        times.append(time)
        return time + source.info.start > last and index >= number

    # Sources that can leave out frames make no images of them.
    chosen = getattr(source, "chosen", None)
    if chosen is not None:
        with closing(chosen(is_past)) as frames:
            next(frames, None)
        return times
    with closing(source.frames()) as frames:  # type: ignore[type-var] # a generator, see Source
        for frame in frames:
            if is_past(frame.index, frame.time):
                break
    return times


def _time_in(times: list[Fraction] | None, wish: Wish, source: Source) -> float:
    """The time of the frame that is wished for, among those of a file; None: a live source."""
    info = source.info
    if times is None:
        if wish.time is None:
            raise SettingsError(
                f"{wish.said}: frames of a live source have no numbers beforehand",
                fix="give its time, in seconds from the beginning",
            )
        return float(wish.time)
    if wish.frame is not None or wish.time is None:
        if (wish.frame or 0) >= len(times):
            raise SettingsError(
                f"{wish.said}: there are {len(times)} frames", fix="count them from 0"
            )
        return float(times[wish.frame or 0])
    time = wish.time - info.start
    half = 1 / (2 * info.frame_rate)
    if not times or not times[0] - half <= time <= times[-1] + 2 * half:
        begin, end = (
            float(each + info.start) for each in (times[:1] + times[-1:] or [Fraction(0)] * 2)
        )
        raise SettingsError(
            f"{wish.said}: {float(wish.time):g} s is outside what is tracked, {begin:g} s to "
            f"{end:g} s",
            fix="give a time within the video, as --start and --end count it",
        )
    return float(min(times, key=lambda each: (abs(each - time), each)))


def check_following(association: str | None, batch_size: int, *, keeps: bool) -> None:
    """Raise MasaError for what cannot be when something pointed at is followed.

    Args:
        association: that the user named.
        batch_size: frames that networks are given at a time.
        keeps: whether embeddings are kept.
    """
    if association:
        raise UsageError(
            "--follow has an association of its own, and --association another", fix="leave one out"
        )
    unfit = {"--batch-size": batch_size > 1, "--save-embeddings": keeps}
    for option in [option for option, is_wanted in unfit.items() if is_wanted]:
        raise SettingsError(
            "with --follow, each frame is looked at with what was found in the one before, and "
            f"{option} cannot be",
            fix=f"leave out {option}",
        )


class Following:
    """What a run that follows something pointed at has beside any other; nothing in all others."""

    def __init__(
        self,
        job: TrackJob,
        networks: Networks | None,
        tracker: Tracker,
        states: Mapping[str, State] | None = None,
    ) -> None:
        states = states or {}
        self._job, self._networks, self._tracker = job, networks, tracker
        self._pointed: PointedDetector | None = None
        self._past = states.get("past")
        if networks and isinstance(tracker, FollowTracker):
            self._pointed = PointedDetector(networks.detector, tracker)
            self._pointed.restore(states.get("pointed", {}))

    def states(self) -> dict[str, State]:
        """What must be kept of it to go on."""
        if self._pointed is None:
            return {}
        past = {} if self._past is None else {"past": self._past}
        return {"pointed": self._pointed.state(), **past}

    def in_one_direction(self) -> Networks | None:
        """The networks, for frames that come once."""
        if self._networks is None or self._pointed is None:
            return self._networks
        # What was found in a frame tells where to look in the next: no frame is looked at ahead.
        return replace(self._networks, detector=self._pointed, ahead=0)

    def prepared(self, progress: RunProgress) -> Networks | None:
        """The networks, after the frames before what was pointed at were gone through.

        Raises:
            Interrupted: the user asked to stop meanwhile.
        """
        networks, tracker = self._networks, self._tracker
        if networks is None or self._pointed is None or not isinstance(tracker, FollowTracker):
            return networks
        if self._past is None:
            progress.on_pass("tracking backwards", 0)
            self._past = past_state(
                follow_back(
                    self._job.input.source,
                    networks.detector,
                    networks.embedder,
                    tracker.targets,
                    tracker.settings,
                    progress,
                )
            )
        tracker.past = past_of(self._past)
        return self.in_one_direction()


def follow_back(
    source: Source,
    detector: Detector,
    embedder: Embedder,
    targets: Sequence[Target],
    settings: FollowSettings,
    progress: RunProgress,
) -> dict[int, Tracks]:
    """By frame, the tracks of the targets before they were shown for the first time.

    Frames are gone through from the last of these times to the beginning of the video. A file that
    can be read only from its beginning is read again for every 256 MB of frames.

    Raises:
        Interrupted: the user asked to stop; nothing of it is kept.
    """
    starts = {k: target.pointings[0].time for k, target in enumerate(targets, start=1)}
    tracker = FollowTracker(settings, targets, len(detector.classes), backwards=True)
    pointed = PointedDetector(detector, tracker)
    camera = CameraMotionEstimator() if tracker.uses_camera_motion else None

    def stop() -> None:
        if progress.stop_requested:
            raise Interrupted("nothing was tracked forwards yet; what was asked for is kept")

    frames = prefetch(_backwards(source, max(starts.values())), 1)
    observations = observe(frames, pointed, embedder, camera, progress=progress, after_batch=stop)
    found: dict[int, Tracks] = {}
    with closing(associate(observations, tracker, progress=progress)) as tracked:
        for number, (frame, frame_tracks) in enumerate(tracked, start=1):
            tracks, time = frame_tracks.tracks, frame_tracks.time
            before = [starts[id_] > time for id_ in tracks.ids.tolist()]
            if any(before):
                found[frame.index] = tracks[np.array(before, np.bool_)]
            progress.on_frame(number, len(tracks))
    return found


def _backwards(source: Source, last: float) -> Generator[Frame, None, None]:
    """The frames up to that time, in seconds, from the last to the first."""
    info = source.info
    held = max(_FEWEST_HELD, int(_HELD_BYTES / max(1, 3 * info.width * info.height)))
    # The first reading finds where the end is, and keeps what lies before it.
    whole = takewhile(lambda frame: float(frame.time) <= last, _closed(source, 0))
    chunk = [*deque(whole, maxlen=held)]
    while chunk:
        yield from reversed(chunk)
        end = chunk[0].index
        start = max(0, end - held)
        chunk = [*islice(_closed(source, start), end - start)] if end else []


def _closed(source: Source, start: int) -> Iterator[Frame]:
    with closing(source.frames(start)) as frames:  # type: ignore[type-var] # a generator
        yield from frames


def past_state(past: Mapping[int, Tracks]) -> dict[str, Any]:
    """Tracks of frames as arrays; None among them is not there."""
    rows = Tracks.joined(past.values())
    frames = np.repeat(np.array([*past], np.int64), [len(each) for each in past.values()])
    return {
        "frames": frames,
        "boxes": rows.boxes,
        "scores": rows.scores,
        "labels": rows.labels,
        "ids": rows.ids,
        "interpolated": rows.interpolated,
    }


def past_of(state: Mapping[str, Any]) -> dict[int, Tracks]:
    """The tracks that had that `past_state`."""
    frames = state["frames"]
    names = ("boxes", "scores", "labels", "ids", "interpolated")
    rows = Tracks(*(state[name] for name in names))
    return {int(frame): rows[frames == frame] for frame in np.unique(frames)}
