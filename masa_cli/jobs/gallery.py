"""A gallery as people see it: summaries, all of it in a folder, and what they add themselves."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from masa_cli.errors import SettingsError
from masa_cli.formats.files import PartFolder
from masa_cli.formats.gallery import Gallery, changing, check_usable
from masa_cli.formats.gallery_records import Doubt, Identity, Sighting, Video
from masa_cli.tracking.recognition import RecognitionSettings
from masa_cli.weights.manifest import sha256_of

if TYPE_CHECKING:
    from masa_cli.jobs.link import Run
    from masa_cli.jobs.templates import TrackTemplate

_INDEX, _EMBEDDINGS, _CROPS = "identities.json", "embeddings.npz", "crops"


@dataclass(frozen=True, slots=True, eq=False)
class IdentitySummary:
    """An identity, and where it was seen.

    Attributes:
        identity: what it is called.
        sightings: of it, in the order in which the videos were taken in.
        videos: of these.
        may_be: other identities that it may be, best first.
    """

    identity: Identity
    sightings: Sequence[Sighting]
    videos: Sequence[Video]
    may_be: Sequence[Doubt]

    @property
    def num_boxes(self) -> int:
        """In all videos."""
        return sum(sighting.num_boxes for sighting in self.sightings)

    def record(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "id": self.identity.id,
            "label": self.identity.label,
            "name": self.identity.name,
            "boxes": self.num_boxes,
            "seen": [
                {
                    "video": video.name,
                    "added": video.added,
                    "boxes": sighting.num_boxes,
                    "seconds": sighting.spans.round(3).tolist(),
                }
                for video, sighting in zip(self.videos, self.sightings, strict=True)
            ],
            "may_be": [
                {"id": doubt.other, "false_matches": round(doubt.rate, 6)} for doubt in self.may_be
            ],
        }


def summaries(gallery: Gallery) -> list[IdentitySummary]:
    """Of all identities, by number."""
    videos = {each.number: each for each in gallery.videos()}
    seen: dict[int, list[Sighting]] = {}
    for sighting in gallery.sightings():
        seen.setdefault(sighting.identity, []).append(sighting)
    doubts: dict[int, list[Doubt]] = {}
    for doubt in gallery.doubts():
        doubts.setdefault(doubt.identity, []).append(doubt)
    return [
        IdentitySummary(
            identity,
            seen.get(identity.id, []),
            [videos[each.video] for each in seen.get(identity.id, [])],
            doubts.get(identity.id, []),
        )
        for identity in gallery.identities()
    ]


def export(gallery: Gallery, folder: Path) -> int:
    """Write a folder of identities.json, embeddings.npz and crops; how many identities.

    Raises:
        OutputError: the folder cannot be written, or holds other things.
    """
    rows = summaries(gallery)
    adapter = gallery.adapter
    content = {
        "adapter": adapter.name,
        "weights": adapter.weights,
        "identities": [row.record() for row in rows],
    }
    kept = [each for row in rows for each in row.sightings if len(each.views)]
    counts = [len(each.views) for each in kept]
    columns = io.BytesIO()
    np.savez_compressed(
        columns,
        identities=np.repeat(np.array([each.identity for each in kept], np.int64), counts),
        videos=np.repeat(np.array([each.video for each in kept], np.int64), counts),
        embeddings=np.concatenate(
            [np.empty((0, gallery.dim), np.float32), *(each.views for each in kept)]
        ),
    )
    with PartFolder(folder, lambda name: name in (_INDEX, _EMBEDDINGS, _CROPS)) as target:
        target.write(_INDEX, json.dumps(content, indent=1, ensure_ascii=False).encode())
        target.write(_EMBEDDINGS, columns.getvalue())
        for row in rows:
            if row.identity.crop:
                target.write(f"{_CROPS}/{row.identity.id}.jpg", row.identity.crop)
    return len(rows)


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What came of adding identities of a run.

    Attributes:
        identities: those that are new, by the id in the run.
        too_short: ids in the run that were seen in too few boxes to be learned.
        known: those of the run that had been added before, by the id in the run.
    """

    identities: Mapping[int, Identity]
    too_short: Sequence[int]
    known: Mapping[int, int]


def add_run(path: Path, source: Path, ids: Sequence[int] = (), name: str = "") -> Added:
    """Learn tracks of a finished run as new identities, whoever they are like.

    Args:
        path: of the gallery; it is made where there is none.
        source: folder of the run, or the embeddings.masa in it.
        ids: of the run, those that are added; without any, all are.
        name: that a single one gets.

    Raises:
        SourceError: the run did not keep what is needed, or a file is damaged.
        SettingsError: the gallery belongs to another adapter, the run has no such id, or nothing
            that is asked for was seen long enough.
        OutputError: the gallery cannot be written.
    """
    # Not at import: to list identities, no video has to be read.
    from masa_cli.jobs.link import EMBEDDINGS, TRACKS, find_runs, templates_of
    from masa_cli.jobs.recognise import drop_surplus, learn_new

    (run,) = find_runs([source.parent if source.name == EMBEDDINGS else source])
    check_usable(path, run.adapter)
    templates = templates_of(run)
    tracks = _asked(run, templates.tracks, ids)
    min_boxes = RecognitionSettings().min_boxes
    usable = {
        each.id: each.template for each in tracks if each.template and each.num_boxes >= min_boxes
    }
    if not usable:
        raise SettingsError(
            f"nothing of {run.folder} that is to be added was seen in {min_boxes} boxes that show "
            "it, which is what an identity is learned from",
            fix="add others of the run, or track more of the video",
        )
    token = "-".join(sha256_of(run.folder / each) for each in (EMBEDDINGS, TRACKS))
    with changing(path, run.adapter, len(templates.scatter)) as gallery:
        video = _video(gallery, token, run)
        known = {id_: video.ids[id_] for id_ in usable if id_ in video.ids}
        new = {
            id_: learn_new(gallery, video.number, template, name)
            for id_, template in usable.items()
            if id_ not in known
        }
        gallery.set_ids(video, {**video.ids, **new})
        identities = {id_: gallery.identity(identity) for id_, identity in new.items()}
        drop_surplus(gallery)
    return Added(identities, [each.id for each in tracks if each.id not in usable], known)


def _asked(
    run: Run, tracks: Sequence[TrackTemplate], ids: Sequence[int]
) -> Sequence[TrackTemplate]:
    from masa_cli.jobs.link import TRACKS

    by_id = {track.id: track for track in tracks}
    for id_ in ids:
        if id_ not in by_id:
            raise SettingsError(
                f"{run.folder} has no identity {id_}", fix=f"see the ids in {run.folder / TRACKS}"
            )
    return [by_id[id_] for id_ in ids] if ids else tracks


def _video(gallery: Gallery, token: str, run: Run) -> Video:
    """That of a run, which may be here from earlier: what was seen in it together is distinct."""
    from masa_cli.formats.embeddings import EmbeddingsReader
    from masa_cli.jobs.link import EMBEDDINGS

    if all(each.run != token for each in gallery.videos()):
        gallery.add_video(token, EmbeddingsReader(run.folder / EMBEDDINGS).info.name)
    return next(each for each in gallery.videos() if each.run == token)
