"""From what the user asks for, on the command line or in Python, to a job: planned once for all.

Everything that can be found out without loading a network is found out here, files are opened, and
what cannot work is told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from masa_cli.detectors import (
    DEFAULT_PROPOSALS,
    DETECTORS,
    GIVEN,
    Detector,
    DetectorRequest,
    ModelOptions,
    Proposals,
    given,
)
from masa_cli.detectors.filter import Placement, Selection, parse_classes, read_polygons
from masa_cli.detectors.request import AUTO as ANY_DETECTOR
from masa_cli.detectors.request import request_objects, settings_for
from masa_cli.detectors.tiles import parse_tiles
from masa_cli.errors import SettingsError, UsageError
from masa_cli.formats import AUTO, parse_formats
from masa_cli.formats.embeddings import EmbeddingsReader, Kept, defaults_as_fact, defaults_in
from masa_cli.formats.preset import preset_for
from masa_cli.jobs.follow import check_following, find_targets, parse_follow
from masa_cli.jobs.inputs import (
    BoxSource,
    Opening,
    check_one_given,
    excerpt_of,
    from_file,
    from_prompt,
    parse_opening,
)
from masa_cli.jobs.job import Association, Perception, TrackInput, TrackJob
from masa_cli.jobs.outputs import Outputs
from masa_cli.jobs.with_gallery import gallery_use
from masa_cli.render.annotator import DrawingSettings
from masa_cli.segmenters import (
    SEGMENTERS,
    SegmenterRequest,
    request_segmenter,
    segmenter_in,
    without_weights,
)
from masa_cli.settings import parse_frame_rate
from masa_cli.sources import Source, is_live, open_source
from masa_cli.structures import VideoInfo
from masa_cli.tracking import (
    DEFAULT,
    DEFAULT_WITHOUT_IMAGES,
    FOLLOW,
    PRESET_ENDING,
    SettingsChanges,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user may ask for; the names are those of the parameters of the commands.

    What a command does not offer keeps its default. `cli.options` says what each means.
    """

    # Input
    source: str | Path | None = None
    fps: str | None = None
    stream: int | None = None
    video_size: str | None = None
    pixel_format: str | None = None
    start: str | None = None
    end: str | None = None
    every: int = 1
    reconnect: float = 60.0
    # What to track: boxes of a file or of a detector of one's own, a prompt, what a run kept, or
    # whatever there is.
    dets: Path | Detector | None = None
    dets_format: str = AUTO
    dets_images: Path | None = None
    prompt: str | None = None
    prompt_file: Path | None = None
    embeddings: Path | None = None
    class_agnostic: bool = False
    follow: tuple[str, ...] = ()
    classes: str = ""
    roi: Path | None = None
    ignore: Path | None = None
    region_by: Placement = "centre"
    # Detector; of a class-agnostic one `model`, `proposals`, `max_objects`
    detector: str = "auto"
    class_names: Path | None = None
    onnx_layout: str | None = None
    tiles: str | None = None
    tile_overlap: float = 0.2
    model: str | None = None
    proposals: Proposals = DEFAULT_PROPOSALS
    max_objects: int | None = None
    min_score: float | None = None
    max_overlap: float | None = None
    min_area: float = 0.0
    # Identity
    adapter: str | None = None
    preprocessing: str = "demo"
    imgsz: int | None = None
    weights_dir: Path | None = None
    association: str | None = None
    changes: tuple[str, ...] = ()
    refine: bool = True
    clean_up: bool = False
    min_track_length: int = 1
    # Masks
    masks: bool = False
    segmenter: str | None = None
    fit_boxes: bool = False
    # Outputs
    output: Path | None = None
    video: bool = True
    mot: bool = True
    jsonl: bool = True
    save_embeddings: bool = False
    masks_png: bool = False
    mot_classes: bool = False
    also: str = ""
    trails: int = 0
    names: bool = True
    scores: bool = True
    # Identities of a gallery
    gallery: Path | None = None
    max_false_matches: float | None = None
    same_time: str | None = None
    # Running, and how it was asked for
    command: tuple[str, ...] = ()
    batch_size: int = 1
    device: str = "auto"
    precision: str = "auto"
    runtime: str = "auto"
    threads: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any], **further: object) -> Options:
        """Those among the arguments of a command, which all are options or say how to run."""
        own = {field.name for field in fields(cls)}
        asked = {**arguments, **further}
        if strange := asked.keys() - own - _OF_COMMANDS:
            raise TypeError(f"no options of a job: {', '.join(sorted(strange))}")
        chosen: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in asked.items()
            if name in own
        }
        return cls(**chosen)


# What commands are told that is no matter of the job: how it is run, and where it is told.
_OF_COMMANDS = frozenset(
    {"ctx", "sources", "no_jsonl", "no_names", "preview", "jobs", "engine"}
    | {"overwrite", "resume", "trace", "quiet", "json"}
)


def plan_job(options: Options) -> TrackJob:
    """The job that these options ask for; its files are there, and nothing is loaded.

    Raises:
        MasaError: they do not go together, or something that they name cannot be read.
    """
    if options.embeddings is not None:
        return _plan_retrack(options, options.embeddings)
    options = _with_preset(options)
    wishes = parse_follow(options.follow)
    if wishes:
        check_following(options.association, options.batch_size, keeps=options.save_embeddings)
    boxes = _boxes(options)
    targets = find_targets(wishes, boxes.frames) if wishes else ()
    info, origin = boxes.frames.info, boxes.origin
    association = options.association or (DEFAULT if info.width else DEFAULT_WITHOUT_IMAGES)
    association = FOLLOW if wishes else association
    adapter = options.adapter or boxes.detector.adapter
    weights = Path(adapter) if Path(adapter).is_file() else None
    part = f"{options.start} to {options.end}, every {options.every}"
    if options.stream is not None:
        part += f", stream {options.stream}"
    files = (*boxes.inputs, origin, weights, options.roi, options.ignore)
    return TrackJob(
        TrackInput(
            boxes.frames,
            origin,
            files=tuple(path for path in files if path),
            facts=(*boxes.facts, ("part", part), ("--follow", str(targets))),
            table=boxes.table,
            targets=targets,
        ),
        Perception(
            boxes.detector,
            _selection(options),
            adapter,
            options.weights_dir,
            segmenter=_segmenter(options, boxes, adapter),
            fits_boxes=options.fit_boxes,
            preprocessing=options.preprocessing,
            side=options.imgsz,
            device=options.device,
            precision=options.precision,
            runtime=options.runtime,
            batch_size=options.batch_size,
            tiling=parse_tiles(options.tiles, options.tile_overlap, looks=boxes.table is None),
        ),
        _association(options, association, boxes.detector.changes),
        _outputs(options, options.output or Path(info.name), info),
        threads=options.threads,
    )


def _plan_retrack(options: Options, embeddings: Path) -> TrackJob:
    """The job of associating anew what an earlier run kept, perhaps over its video."""
    recording = EmbeddingsReader(embeddings)
    kept, info = recording.kept, recording.info
    asked = options.association or DEFAULT
    options = _with_preset(options)
    association = options.association or DEFAULT
    warn_of_settings(kept, association)
    source = Path(options.source) if options.source else None
    video = None
    if source:
        rate = parse_frame_rate(options.fps)
        whole = open_source(source, frame_rate=rate, stream=options.stream)
        video = excerpt_of(whole, options.start, options.end, options.every)
        _check_same(source, video.info, embeddings, info)
    folder = options.output or Path(f"{info.name}-{Path(asked).name.removesuffix(PRESET_ENDING)}")
    outputs = _outputs(options, folder, info)
    return TrackJob(
        TrackInput(
            video or recording,
            source,
            files=tuple(path for path in (embeddings, source) if path),
            recording=recording,
        ),
        Perception(DetectorRequest(GIVEN, recording.classes)),
        _association(options, association, defaults_in(kept.facts)),
        replace(outputs, wants_video=video is not None),
        threads=options.threads,
    )


def _with_preset(options: Options) -> Options:
    """The same, a preset's file replaced by the association and the settings in it."""
    if options.association is None:
        return options
    preset = preset_for(options.association)
    changes = preset.changes if options.refine else preset.tracker_changes
    return replace(options, association=preset.association, changes=(*changes, *options.changes))


def _association(options: Options, name: str, defaults: SettingsChanges) -> Association:
    return Association(
        name,
        (*defaults.get(name, ()), *options.changes),
        refine=options.refine,
        min_track_length=options.min_track_length,
        clean_up=options.clean_up,
    )


def _outputs(options: Options, folder: Path, info: VideoInfo) -> Outputs:
    return Outputs(
        folder,
        info.name,
        wants_video=options.video and info.width > 0,
        wants_mot=options.mot,
        wants_tracks=options.jsonl,
        wants_embeddings=options.save_embeddings,
        wants_id_maps=options.masks_png,
        also=parse_formats(options.also),
        mot_classes=options.mot_classes,
        drawing=DrawingSettings(
            names=options.names, scores=options.scores, trail_frames=options.trails
        ),
        command=options.command,
        gallery=gallery_use(options.gallery, options.max_false_matches, options.same_time),
    )


def _boxes(options: Options) -> BoxSource:
    """The frames, and what finds boxes in them."""
    source = None if options.source is None else str(options.source)
    opening = parse_opening(
        [source] if source else [],
        fps=options.fps,
        patience=options.reconnect,
        video_size=options.video_size,
        pixel_format=options.pixel_format,
        stream=options.stream,
    )
    part = partial(excerpt_of, start=options.start, end=options.end, every=options.every)
    dets, prompt_file = options.dets, options.prompt_file
    if options.class_agnostic:
        return _objects(options, part(_opened(opening, source)))
    said = (dets, options.prompt, prompt_file)
    if options.follow and said == (None, None, None) and options.detector == ANY_DETECTOR:
        objects = _objects(options, part(_opened(opening, source)))
        return replace(objects, detector=replace(objects.detector, has_masks=False))
    check_one_given(*said, options.detector)
    if dets is None:
        return from_prompt(
            source,
            options.prompt,
            prompt_file,
            model=options.detector,
            min_score=options.min_score,
            max_overlap=options.max_overlap,
            weights_dir=options.weights_dir,
            association=options.association or DEFAULT,
            options=ModelOptions(options.class_names, options.onnx_layout),
            opening=opening,
            part=part,
        )
    if isinstance(dets, Path):
        return from_file(
            source,
            dets,
            format=options.dets_format,
            images=options.dets_images,
            min_score=options.min_score,
            opening=opening,
            part=part,
        )
    frames = part(_opened(opening, source))
    return BoxSource(frames, _origin(frames, source), given(dets))


def _objects(options: Options, frames: Source) -> BoxSource:
    """Boxes around objects of any class."""
    settings = {
        "min_score": options.min_score,
        "max_overlap": options.max_overlap,
        "max_boxes": options.max_objects,
        "min_area": options.min_area,
    }
    chosen = {name: value for name, value in settings.items() if value is not None}
    request = request_objects(
        options.model, chosen, proposals=options.proposals, folder=options.weights_dir
    )
    origin = _origin(frames, str(options.source))
    return BoxSource(
        frames, origin, request, request.files, (*request.facts, defaults_as_fact(request.changes))
    )


def _opened(opening: Opening, source: str | None) -> Source:
    if source is None:
        raise UsageError(
            "objects are looked for in images, but no video is given",
            fix="give a video or a folder of frames",
        )
    return opening.open(source)


def _origin(frames: Source, source: str | None) -> Path | None:
    return None if source is None or is_live(frames) else Path(source)


def _selection(options: Options) -> Selection:
    """Which of the boxes are tracked; a class-agnostic detector is told the area itself."""
    return Selection(
        min_scores=parse_classes(options.classes),
        min_area=0.0 if options.class_agnostic else options.min_area,
        inside=read_polygons(options.roi) if options.roi else None,
        outside=read_polygons(options.ignore) if options.ignore else (),
        placement=options.region_by,
    )


def _segmenter(options: Options, boxes: BoxSource, adapter: str) -> SegmenterRequest | None:
    """What finds masks, where they are wanted; what is in a file that is read anyway comes first.

    Raises:
        SettingsError, WeightsError: see `request_segmenter` and `adapter.resolve`.
    """
    detector = boxes.detector
    if options.class_agnostic:
        if own := segmenter_in(detector.row.weights, detector.weights):
            return own
        other = without_weights()
        logger.info(
            "%s has no masks of its own: masks by %s", detector.weights or detector.row.name, other
        )
        return other
    if not (options.masks or options.segmenter):
        return None
    name, weights, folder = adapter, None, options.weights_dir
    if adapter in SEGMENTERS or Path(adapter).suffix:
        from masa_cli.models.adapter import resolve

        name, weights = resolve(adapter, folder)
    if segmenter_in(name, weights) is None:
        name, weights = detector.row.weights, detector.weights
    return request_segmenter(
        options.segmenter or "auto", folder=folder, adapter=name, weights=weights
    )


def _check_same(source: Path, video: VideoInfo, embeddings: Path, kept: VideoInfo) -> None:
    """Raise SettingsError if a video cannot be the one the embeddings are of."""
    here = (video.width, video.height, video.time_base, video.frame_rate, video.start)
    there = (kept.width, kept.height, kept.time_base, kept.frame_rate, kept.start)
    if here != there:
        raise SettingsError(
            f"{source} is not the video of {embeddings}: {video.width} x {video.height} pixels at "
            f"{float(video.frame_rate):g} frames/s from {float(video.start):g} s on, not "
            f"{kept.width} x {kept.height} at {float(kept.frame_rate):g} from "
            f"{float(kept.start):g} s on",
            fix="give the video that was tracked, with its --start and --every, or none",
        )


def warn_of_settings(kept: Kept, association: str) -> None:
    """Some boxes are filtered differently for MASA's presets: say when they were not."""
    row = DETECTORS.get(kept.found_by)
    if row is None or row.unfiltered is None:
        return
    default = str(settings_for(row, association))
    was = kept.facts.get("boxes", default)
    if was != default:
        logger.warning(
            "the boxes were kept by %s, but masa track --association %s takes those by %s: the "
            "results may differ from its own",
            was,
            association,
            default,
        )
