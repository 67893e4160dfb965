"""A gallery as people see it: summaries of its identities, and all of it in a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masa_cli.formats.files import PartFolder
from masa_cli.formats.gallery import Gallery
from masa_cli.formats.gallery_records import Doubt, Identity, Sighting, Video

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
