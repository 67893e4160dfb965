"""What a gallery holds, row by row, and how a run uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from masa_cli.structures import FloatArray
from masa_cli.tracking.recognition import Floats, RecognitionSettings, Template


@dataclass(frozen=True, slots=True)
class GalleryUse:
    """The gallery that a run recognises and learns with.

    Attributes:
        path: of the file; it is made where there is none.
        settings: when a track is taken for a known identity.
        clock: videos of one clock were filmed at the same time, and nothing is in two of them at
            once; 0: nothing is known of when this one was filmed.
        start: seconds on that clock at which the video begins.
    """

    path: Path
    settings: RecognitionSettings = field(default_factory=RecognitionSettings)
    clock: int = 0
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class AdapterKey:
    """What made embeddings: only those of one adapter can be compared.

    Attributes:
        name: of the variant.
        weights: sha256 of its file; "" where it has none of its own.
    """

    name: str
    weights: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.weights[:12]}".strip()


@dataclass(frozen=True, slots=True)
class Video:
    """A video whose tracks were taken in.

    Attributes:
        number: of it, in this file.
        run: token of the run.
        name: of the video.
        added: when, in ISO 8601, UTC.
        clock: see `GalleryUse`.
        start: see `GalleryUse`.
        ids: identities by the id of the track in the run.
    """

    number: int
    run: str
    name: str
    added: str
    clock: int = 0
    start: float = 0.0
    ids: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """An identity in one video.

    Attributes:
        identity: its number.
        video: number of the video.
        num_boxes: that it had there.
        spans: (K, 2) seconds from and to which it was seen.
        views: (V, D) embeddings, the first their mean; V is 0 where they are no longer kept.
    """

    identity: int
    video: int
    num_boxes: int
    spans: Floats
    views: FloatArray

    def template(self, label: str) -> Template:
        """What it is recognised by; only where embeddings are kept."""
        return Template(label, self.views, self.spans, self.num_boxes)


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity of a gallery.

    Attributes:
        id: from 1, never given to another.
        label: name of its class.
        name: that the user gave it, or "".
        crop: JPEG of its best view, or b"".
    """

    id: int
    label: str
    name: str = ""
    crop: bytes = b""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An identity that may be another one, to be decided by the user.

    Attributes:
        identity: that was made anew.
        other: that it may be.
        rate: how often an object that is not known would look so much like one.
    """

    identity: int
    other: int
    rate: float
