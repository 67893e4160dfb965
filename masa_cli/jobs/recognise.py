"""Tracks of one run under the identities of a gallery, which learns them: `--gallery`."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from masa_cli.analysis.crops import crop_box
from masa_cli.formats.files import PartFile
from masa_cli.formats.gallery import Gallery, changing
from masa_cli.formats.gallery_records import AdapterKey, GalleryUse, Identity, Sighting, Video
from masa_cli.jobs.templates import RunTemplates, TrackTemplate
from masa_cli.structures import FloatArray, Frame, FrameTracks, Image, Tracks
from masa_cli.tracking.identities import Decision, Question, decide
from masa_cli.tracking.recognition import Company, Floats, Template, Whitening

_CROP_SIDE = 160  # pixels of the longer side, at most
_CROP_MARGIN, _CROP_QUALITY = 0.1, 85  # share of the box's size; of JPEG

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """What became of the tracks of a run.

    Attributes:
        ids: identities by the id of the track.
        wanted: identities without a crop, and boxes of their best view, by frame.
    """

    ids: Mapping[int, int]
    wanted: Mapping[int, Sequence[tuple[int, FloatArray]]]


def recognise(
    use: GalleryUse,
    adapter: AdapterKey,
    run: str,
    video: str,
    templates: RunTemplates,
    report: Path | None,
) -> Recognised:
    """Give each track the identity that it has in the gallery, or a new one that is learned.

    A run that was interrupted gets the identities it had been given.

    Args:
        use: the gallery, and how it is used.
        adapter: that made the embeddings.
        run: a token of this run, that no other has.
        video: its name.
        templates: of its tracks.
        report: the JSON file that tells of all decisions; it is written before the gallery is.

    Raises:
        SourceError, SettingsError, OutputError: the gallery cannot be used.
    """
    with changing(use.path, adapter, len(templates.scatter)) as gallery:
        videos = gallery.videos()
        earlier = next((each for each in videos if each.run == run), None)
        if earlier is not None:
            return _recognised(_completed(earlier, templates, gallery), templates.tracks, gallery)
        number = gallery.add_video(run, video, use.clock, use.start)
        ids: dict[int, int] = {}
        records: list[dict[str, object]] = []
        for tracks, decision, known in _decided(use, templates, gallery, videos):
            identity = _learned(gallery, number, tracks, decision, known)
            ids.update({track.id: identity for track in tracks})
            records.append(_record(identity, tracks, decision, known))
        for track in templates.tracks:
            if track.id not in ids:
                ids[track.id] = gallery.reserve()
                records.append(_record(ids[track.id], [track], None, []))
        gallery.set_ids(next(each for each in gallery.videos() if each.run == run), ids)
        drop_surplus(gallery)
        recognised = _recognised(ids, templates.tracks, gallery)
        if report is not None:
            write_report(report, use, records)
    tell(use, records)
    return recognised


def renamed(frames: Iterable[FrameTracks], ids: Mapping[int, int]) -> Iterator[FrameTracks]:
    """The same frames, tracks under their identities."""
    for frame in frames:
        tracks = frame.tracks
        names = np.array([ids[id_] for id_ in tracks.ids.tolist()], np.int64)
        yield replace(frame, tracks=tracks.renamed(names))


class CropCollector:
    """A sink that cuts out the views that the gallery is to show.

    Args:
        wanted: see `Recognised`.
    """

    def __init__(self, wanted: Mapping[int, Sequence[tuple[int, FloatArray]]]) -> None:
        self._wanted = wanted
        self.crops: dict[int, bytes] = {}

    @property
    def is_asked(self) -> bool:
        """Whether any view is wanted."""
        return bool(self._wanted)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame."""
        if frame.image.size:
            for identity, box in self._wanted.get(frame.index, ()):
                self.crops[identity] = crop_of(frame.image, box)

    def keep(self, path: Path) -> None:
        """Put them into the gallery; raises what `changing` raises."""
        if not self.crops:
            return
        with changing(path) as gallery:
            for identity in gallery.identities():
                if identity.id in self.crops and not identity.crop:
                    gallery.put(replace(identity, crop=self.crops[identity.id]))


def crop_of(image: Image, box: FloatArray) -> bytes:
    """A small JPEG of a box."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = crop_box(box, (width, height), _CROP_MARGIN)
    crop = Pillow.fromarray(image[y1:y2, x1:x2])
    crop.thumbnail((_CROP_SIDE, _CROP_SIDE))
    encoded = io.BytesIO()
    crop.save(encoded, "JPEG", quality=_CROP_QUALITY)
    return encoded.getvalue()


def _decided(
    use: GalleryUse, templates: RunTemplates, gallery: Gallery, videos: Sequence[Video]
) -> Iterator[tuple[list[TrackTemplate], Decision, list[int]]]:
    """Tracks that are one object, what was decided on it, and identities by their number in it."""
    identities = {each.id: each for each in gallery.identities()}
    sightings = [each for each in gallery.sightings() if each.identity in identities]
    projection = whitening_of([templates], sightings).projection()
    min_boxes = use.settings.min_boxes
    usable = [each for each in templates.tracks if each.template and each.num_boxes >= min_boxes]
    questions, asked = [], []
    for label in dict.fromkeys(track.label for track in usable):
        own = [track for track in usable if track.label == label]
        known = [each.id for each in identities.values() if each.label == label]
        index = {id_: number for number, id_ in enumerate(known)}
        there = [each for each in sightings if each.identity in index]
        probes, order = _by_shot(own, use)
        companies = list(_companies(videos, there, index, label))
        questions.append(Question(probes, companies, _occupied(use, videos, there, index)))
        asked.append((order, known))
    answers = decide(questions, projection, use.settings)
    for (order, known), decisions in zip(asked, answers, strict=True):
        for decision in decisions:
            yield [order[row] for row in decision.members], decision, known


def _companies(
    videos: Sequence[Video], sightings: Sequence[Sighting], index: Mapping[int, int], label: str
) -> Iterator[tuple[Company, list[int]]]:
    """Known identities of a class by the video that they were seen in, and their numbers."""
    for video in videos:
        rows = [each for each in sightings if each.video == video.number and len(each.views)]
        if rows:
            parts = [each.template(label) for each in rows]
            yield Company(parts, are_distinct=True), [index[each.identity] for each in rows]


def companies_by_class(
    videos: Sequence[Video], sightings: Sequence[Sighting], label_of: Mapping[int, str]
) -> dict[str, list[tuple[Company, list[int]]]]:
    """By class, what is known of it by the video that it was seen in, and the identities."""
    found: dict[str, list[tuple[Company, list[int]]]] = {}
    for label in dict.fromkeys(label_of.values()):
        index = {id_: id_ for id_, own in label_of.items() if own == label}
        own = [each for each in sightings if each.identity in index]
        if companies := list(_companies(videos, own, index, label)):
            found[label] = companies
    return found


def occupied_by(
    use: GalleryUse, videos: Sequence[Video], sightings: Sequence[Sighting]
) -> dict[int, list[Floats]]:
    """Where known identities were meanwhile, in seconds of this video."""
    index = {each.identity: each.identity for each in sightings}
    occupied = _occupied(use, videos, sightings, index)
    return {id_: [spans - use.start for _, spans in each] for id_, each in occupied.items()}


def _by_shot(
    tracks: Sequence[TrackTemplate], use: GalleryUse
) -> tuple[list[Company], list[TrackTemplate]]:
    """Each shot is as another camera: its light and its distance are its own."""
    companies, order = [], []
    for shot in sorted({track.shot for track in tracks}):
        here = [track for track in tracks if track.shot == shot]
        parts = [each.template for each in here if each.template is not None]
        companies.append(Company(parts, use.clock, use.start))
        order += here
    return companies, order


def _occupied(
    use: GalleryUse,
    videos: Sequence[Video],
    sightings: Sequence[Sighting],
    index: Mapping[int, int],
) -> dict[int, list[tuple[int, Floats]]]:
    """Where known identities were, on the clock of this video."""
    starts = {each.number: each.start for each in videos if use.clock and each.clock == use.clock}
    occupied: dict[int, list[tuple[int, Floats]]] = {}
    for each in sightings:
        if each.video in starts:
            spans = each.spans + starts[each.video]
            occupied.setdefault(index[each.identity], []).append((use.clock, spans))
    return occupied


def whitening_of(runs: Sequence[RunTemplates], sightings: Sequence[Sighting] = ()) -> Whitening:
    """Learned from the tracks of these runs, and from identities of a gallery."""
    whitening = Whitening()
    for run in runs:
        whitening.learn_scatter(run.scatter, run.num_pairs)
    for sighting in sightings:
        if len(sighting.views) > 1:
            whitening.learn(sighting.views[1:] - sighting.views[0])
    return whitening


def _learned(
    gallery: Gallery,
    video: int,
    tracks: Sequence[TrackTemplate],
    decision: Decision,
    known: Sequence[int],
) -> int:
    """The identity of these tracks, which the gallery knows now."""
    parts = [track.template for track in tracks if track.template is not None]
    template = Template.joined(parts)
    if decision.verdict == "known":
        identity = known[decision.known]
        gallery.see(identity, video, template)
        return identity
    identity = learn_new(gallery, video, template)
    if decision.verdict == "unsure":
        for other in (decision.known, decision.rival):
            if other >= 0:
                gallery.doubt(identity, known[other], decision.false_matches)
    return identity


def learn_new(gallery: Gallery, video: int, template: Template, name: str = "") -> int:
    """Learn an identity that is new, of a video of this number; its own number."""
    identity = gallery.reserve()
    gallery.put(Identity(identity, template.label, name))
    gallery.see(identity, video, template)
    return identity


def drop_surplus(gallery: Gallery) -> None:
    """Keep a gallery within its bounds, and say what that costs."""
    if dropped := gallery.drop_surplus():
        logger.warning("%s is full: %d identities were dropped", gallery.path, dropped)


def _completed(earlier: Video, templates: RunTemplates, gallery: Gallery) -> dict[int, int]:
    """The identities of all tracks; of those that were removed meanwhile, new ones."""
    ids = dict(earlier.ids)
    for track in templates.tracks:
        if track.id not in ids:
            ids[track.id] = gallery.reserve()
    gallery.set_ids(earlier, ids)
    return ids


def _recognised(
    ids: Mapping[int, int], tracks: Sequence[TrackTemplate], gallery: Gallery
) -> Recognised:
    bare = {each.id for each in gallery.identities() if not each.crop}
    wanted: dict[int, list[tuple[int, FloatArray]]] = {}
    best: dict[int, TrackTemplate] = {}
    for track in tracks:
        identity = ids[track.id]
        if identity not in bare or track.best_frame < 0:
            continue
        if identity not in best or track.num_boxes > best[identity].num_boxes:
            best[identity] = track
    for identity, track in best.items():
        wanted.setdefault(track.best_frame, []).append((identity, track.best_box))
    return Recognised(dict(ids), wanted)


def _record(
    identity: int,
    tracks: Sequence[TrackTemplate],
    decision: Decision | None,
    known: Sequence[int],
) -> dict[str, object]:
    """What the report tells of an identity."""
    record: dict[str, object] = {
        "id": identity,
        "label": tracks[0].label,
        "verdict": decision.verdict if decision else "too short",
        "tracks": [track.id for track in tracks],
        "boxes": sum(track.num_boxes for track in tracks),
        "seconds": np.concatenate([track.spans for track in tracks]).round(3).tolist(),
    }
    if decision and decision.known >= 0:
        record["most_like"] = known[decision.known]
        record["false_matches"] = round(decision.false_matches, 6)
        if decision.rival >= 0:
            record["or"] = known[decision.rival]
    return record


def write_report(path: Path, use: GalleryUse, records: Sequence[Mapping[str, object]]) -> None:
    """Write identities.json; OutputError if it cannot be written."""
    content = {
        "gallery": str(use.path),
        "max_false_matches": use.settings.max_false_matches,
        "max_unsure": use.settings.max_unsure,
        "identities": list(records),
    }
    with PartFile(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode(errors="replace"))


def tell(use: GalleryUse, records: Sequence[Mapping[str, object]]) -> None:
    """Say in one line what was decided."""
    counts = Counter(str(each["verdict"]) for each in records)
    logger.info(
        "%s: %d known, %d new, %d unsure, %d too short to tell; of objects that are not in it, "
        "%g %% are taken for one that is",
        use.path,
        counts["known"],
        counts["new"],
        counts["unsure"],
        counts["too short"],
        100 * use.settings.max_false_matches,
    )
