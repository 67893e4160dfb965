"""A gallery: identities that several videos have in common, in one file (see `database`).

Nothing that is told of an identity stands anywhere but in its own rows: whatever is compared, its
statistics included, is made anew from these, so that what is removed is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from masa_cli.errors import OutputError, SettingsError, SourceError
from masa_cli.formats.database import Database, opened
from masa_cli.formats.files import as_utf8
from masa_cli.formats.gallery_records import AdapterKey, Doubt, Identity, Sighting, Video
from masa_cli.tracking.recognition import (
    Template,
    merged_spans,
    overlap,
)

KIND = "masa gallery 1"
MAX_IDENTITIES = (
    100_000  # more, and those without a name that were not seen for longest are dropped
)
MAX_LEARNED = 8  # videos from which the embeddings of an identity are kept
_MAX_SPANS = 100  # of an identity in one video
_CHANGES_AT = 24  # byte of the header, https://www.sqlite.org/fileformat2.html#file_change_counter

_TABLES = (
    "facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "identities (id INTEGER PRIMARY KEY, label TEXT NOT NULL, name TEXT NOT NULL, "
    "crop BLOB NOT NULL)",
    "videos (id INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, name TEXT NOT NULL, "
    "added TEXT NOT NULL, clock INTEGER NOT NULL, start REAL NOT NULL, ids TEXT NOT NULL)",
    "sightings (identity INTEGER NOT NULL, video INTEGER NOT NULL, boxes INTEGER NOT NULL, "
    "spans BLOB NOT NULL, views BLOB NOT NULL, PRIMARY KEY (identity, video))",
    "doubts (identity INTEGER NOT NULL, other INTEGER NOT NULL, rate REAL NOT NULL, "
    "PRIMARY KEY (identity, other))",
)
_FACTS, _IDENTITIES = "name, value", "id, label, name, crop"
_VIDEOS = "id, run, name, added, clock, start, ids"
_SIGHTINGS, _DOUBTS = "identity, video, boxes, spans, views", "identity, other, rate"


class Gallery:
    """An open gallery. Everything is read when it is asked for; changes are kept by `changing`."""

    def __init__(self, rows: Database) -> None:
        self.path = rows.path
        self._rows, self._put = rows.rows, rows.put
        self._database = rows

    @property
    def kind(self) -> str:
        """What the file is, and of which version."""
        return self._fact("kind")

    @property
    def is_changed(self) -> bool:
        """Whether anything in it was changed since it was opened."""
        return self._database.is_changed

    @property
    def adapter(self) -> AdapterKey:
        """That made its embeddings."""
        return AdapterKey(self._fact("adapter"), self._fact("weights"))

    @property
    def dim(self) -> int:
        """Numbers per embedding."""
        return int(self._fact("dim"))

    def identities(self) -> list[Identity]:
        """All of them, by number."""
        return [Identity(*row) for row in self._rows("identities", _IDENTITIES, "id")]

    def known(self, numbers: Iterable[int]) -> set[int]:
        """Those of these numbers that are identities."""
        where = "identities", _IDENTITIES, "id", "id = ?"
        return {number for number in numbers if self._rows(*where, number)}

    def identity(self, id_: int) -> Identity:
        """That of a number; SettingsError where there is none."""
        rows = self._rows("identities", _IDENTITIES, "id", "id = ?", id_)
        for row in rows:
            return Identity(*row)
        raise SettingsError(
            f"{self.path} has no identity {id_}", fix=f"see masa gallery list {self.path}"
        )

    def videos(self) -> list[Video]:
        """All that were taken in, in that order."""
        rows = self._rows("videos", _VIDEOS, "id")
        return [
            Video(number, run, name, added, clock, start, _whole(json.loads(ids)))
            for number, run, name, added, clock, start, ids in rows
        ]

    def sightings(self) -> list[Sighting]:
        """Of all identities, by identity and video."""
        dim = self.dim
        rows = self._rows("sightings", _SIGHTINGS, "identity, video")
        return [_sighting(row, dim) for row in rows]

    def doubts(self) -> list[Doubt]:
        """What the user should decide, by identity."""
        rows = self._rows("doubts", _DOUBTS, "identity, rate, other")
        return [Doubt(*row) for row in rows]

    # Changes, within `changing`.

    def reserve(self) -> int:
        """A number that no identity has or had."""
        number = int(self._fact("next"))
        self._put("facts", _FACTS, ("next", str(number + 1)))
        return number

    def give_back(self, numbers: Sequence[int]) -> None:
        """Numbers that were reserved, in order, but not used; kept back if others came since."""
        if numbers and int(self._fact("next")) == numbers[-1] + 1:
            self._put("facts", _FACTS, ("next", str(numbers[0])))

    def add_video(self, run: str, name: str, clock: int = 0, start: float = 0.0) -> int:
        """Take in a video; its number."""
        number = self._database.largest("videos", "id") + 1
        added = datetime.now(timezone.utc).isoformat(timespec="seconds")
        fields = (number, run, as_utf8(name), added, clock, float(start), "{}")
        self._put("videos", _VIDEOS, fields)
        return number

    def set_ids(self, video: Video, ids: Mapping[int, int]) -> None:
        """Remember which identity each track of a video is."""
        text = json.dumps({str(key): ids[key] for key in sorted(ids)})
        fields = (video.number, video.run, video.name, video.added, video.clock, video.start, text)
        self._put("videos", _VIDEOS, fields)

    def put(self, identity: Identity) -> None:
        """Add an identity, or change it."""
        fields = (identity.id, identity.label, as_utf8(identity.name), identity.crop)
        self._put("identities", _IDENTITIES, fields)

    def see(self, identity: int, video: int, template: Template) -> None:
        """Learn what an identity looked like in a video, beside what is known of it there."""
        earlier = [each for each in self._sightings_of(identity) if each.video == video]
        for known in earlier:
            if len(known.views):
                template = Template.joined([known.template(template.label), template])
        spans, gap = template.spans, 1.0
        while len(spans) > _MAX_SPANS:
            spans, gap = merged_spans(spans, gap), 2 * gap
        sighting = Sighting(identity, video, template.num_boxes, spans, template.views)
        self._put_sighting(sighting)
        self._forget_views(identity)

    def doubt(self, identity: int, other: int, rate: float) -> None:
        """Two identities may be one."""
        self._put("doubts", _DOUBTS, (identity, other, float(rate)))

    def merge(self, into: int, others: Sequence[int]) -> None:
        """Make several identities one, which keeps its number, and its name where it has one.

        Raises:
            SettingsError: there is no such identity, or both were seen at one time in one video.
        """
        kept = self.identity(into)
        for other in others:
            gone = self.identity(other)
            own = {each.video: each for each in self._sightings_of(into)}
            for each in self._sightings_of(other):
                self._refuse_both(own.get(each.video), each)
                self._put_sighting(_merged(own.get(each.video), each, into, gone.label))
            kept = Identity(into, kept.label, kept.name or gone.name, kept.crop or gone.crop)
            self._delete(other)
            for video in self.videos():
                if other in video.ids.values():
                    self.set_ids(
                        video,
                        {key: into if id_ == other else id_ for key, id_ in video.ids.items()},
                    )
        self.put(kept)
        self._forget_views(into)

    def remove(self, ids: Sequence[int]) -> None:
        """Remove identities, and all that was learned of them.

        Raises:
            SettingsError: there is no such identity.
        """
        for id_ in ids:
            self.identity(id_)
            self._delete(id_)
        gone = set(ids)
        for video in self.videos():
            if gone & set(video.ids.values()):
                self.set_ids(video, {key: id_ for key, id_ in video.ids.items() if id_ not in gone})

    def drop_surplus(self) -> int:
        """Remove what is beyond MAX_IDENTITIES; how many."""
        surplus = self._database.count("identities") - MAX_IDENTITIES
        if surplus <= 0:
            return 0
        identities = self.identities()
        last = {each.identity: each.video for each in self.sightings()}
        unnamed = sorted(
            (each.id for each in identities if not each.name),
            key=lambda id_: (last.get(id_, 0), id_),
        )
        self.remove(unnamed[:surplus])
        return len(unnamed[:surplus])

    def _refuse_both(self, own: Sighting | None, other: Sighting) -> None:
        if own is not None and overlap(own.spans, other.spans):
            name = next(each.name for each in self.videos() if each.number == own.video)
            raise SettingsError(
                f"{self.path}: identities {own.identity} and {other.identity} were both seen at "
                f"one time in {name}, and cannot be one",
                fix="merge others, or remove one of them",
            )

    def _delete(self, id_: int) -> None:
        self._database.delete("identities", "id = ?", id_)
        self._database.delete("sightings", "identity = ?", id_)
        self._database.delete("doubts", "identity = ? OR other = ?", id_, id_)

    def _sightings_of(self, identity: int) -> list[Sighting]:
        rows = self._rows("sightings", _SIGHTINGS, "video", "identity = ?", identity)
        return [_sighting(row, self.dim) for row in rows]

    def _put_sighting(self, sighting: Sighting) -> None:
        fields = (
            sighting.identity,
            sighting.video,
            int(sighting.num_boxes),
            np.ascontiguousarray(sighting.spans, "<f8").tobytes(),
            np.ascontiguousarray(sighting.views, "<f2").tobytes(),
        )
        self._put("sightings", _SIGHTINGS, fields)

    def _forget_views(self, identity: int) -> None:
        """Of more than MAX_LEARNED videos, those drop out that are most like another."""
        kept = [each for each in self._sightings_of(identity) if len(each.views)]
        while len(kept) > MAX_LEARNED:
            means = np.stack([each.views[0] for each in kept])
            alike = means @ means.T - 3 * np.eye(len(kept))
            pair = np.unravel_index(int(np.argmax(alike)), alike.shape)
            least = min(pair, key=lambda row: (kept[row].num_boxes, kept[row].video))
            gone = kept.pop(int(least))
            empty = gone.views[:0]
            self._put_sighting(Sighting(identity, gone.video, gone.num_boxes, gone.spans, empty))

    def _fact(self, name: str) -> str:
        for _, value in self._rows("facts", _FACTS, "name", "name = ?", name):
            return str(value)
        raise self._database.damaged(f"it does not tell its {name}")


@contextmanager
def reading(path: Path, adapter: AdapterKey | None = None) -> Iterator[Gallery]:
    """The gallery, as it is now.

    Args:
        path: of the file.
        adapter: that it must belong to.

    Raises:
        SourceError: there is no such file, or it is damaged or no gallery.
        SettingsError: it belongs to another adapter.
    """
    _require(path)
    with opened(path, "gallery") as database:
        yield _checked(database, adapter)


@contextmanager
def changing(
    path: Path,
    adapter: AdapterKey | None = None,
    dim: int = 0,
    *,
    forgets: bool = False,
    is_checked: bool = False,
) -> Iterator[Gallery]:
    """The gallery, which no other process changes meanwhile; all changes are kept, or none.

    Args:
        path: of the file; where there is none and an adapter is given, it is made.
        adapter: that it must belong to.
        dim: numbers per embedding, of a new gallery.
        forgets: whether the file is written anew, so that what was removed is nowhere in it.
        is_checked: whether it was found whole before: to look through a large one takes a second.

    Raises:
        SourceError, SettingsError: see `reading`.
        OutputError: it cannot be written.
    """
    if adapter is None or path.is_dir():
        _require(path)
    with (
        opened(path, "gallery", may_make=adapter is not None) as database,
        database.changing(forgets=forgets),
    ):
        # Without tables: a new file, or what is left of one whose maker was killed.
        if adapter is not None and not database.tables():
            _make(database, adapter, dim)
        yield _checked(database, adapter, is_whole=is_checked)


def state_of(path: Path) -> tuple[int, int]:
    """Which file it is, and how often it was changed: the next change counts one more.

    Both are 0 where there is none. Nothing is read but a number in the file's header.
    """
    try:
        with path.open("rb") as file:
            file.seek(_CHANGES_AT)
            return os.fstat(file.fileno()).st_ino, int.from_bytes(file.read(4), "big")
    except OSError:
        return 0, 0


def check_usable(path: Path, adapter: AdapterKey) -> None:
    """Find out whether `changing` would find, or make, a gallery there; raises what it raises."""
    if path.exists() and not path.is_dir():
        with opened(path, "gallery") as database:
            if database.tables():
                _checked(database, adapter)
    elif path.is_dir():
        _require(path)
    elif not path.parent.is_dir():
        raise OutputError(
            f"{path} cannot be made: there is no folder {path.parent}",
            fix="make the folder, or check the path",
        )


def _require(path: Path) -> None:
    if not path.is_file():
        raise SourceError(
            f"{path} is no file" if path.exists() else f"{path} does not exist",
            fix="check the path; masa track --gallery FILE makes a gallery",
        )


def _make(database: Database, adapter: AdapterKey, dim: int) -> None:
    database.make(_TABLES)
    facts = {
        "kind": KIND,
        "adapter": adapter.name,
        "weights": adapter.weights,
        "dim": str(dim),
        "next": "1",
    }
    for fact in facts.items():
        database.put("facts", _FACTS, fact)


def _checked(database: Database, adapter: AdapterKey | None, *, is_whole: bool = False) -> Gallery:
    """Raise what `reading` raises, but for a file that is not there."""
    if not is_whole:
        database.check()
    if "facts" not in database.tables():
        raise database.damaged("it has no table of facts")
    gallery = Gallery(database)
    if gallery.kind != KIND:
        raise SourceError(
            f'{database.path} is a "{gallery.kind}", and this version of masa reads "{KIND}"',
            fix="use the version of masa that wrote it",
        )
    if adapter is not None and gallery.adapter != adapter:
        raise SettingsError(
            f"{database.path} holds embeddings of the adapter {gallery.adapter}, which cannot be "
            f"compared with those of {adapter}",
            fix=f"use --adapter {gallery.adapter.name}, or name another gallery",
        )
    return gallery


def _whole(ids: Mapping[str, int]) -> dict[int, int]:
    return {int(key): int(value) for key, value in ids.items()}


def _sighting(row: tuple[Any, ...], dim: int) -> Sighting:
    identity, video, num_boxes, spans, views = row
    return Sighting(
        identity,
        video,
        num_boxes,
        np.frombuffer(spans, "<f8").reshape(-1, 2),
        np.frombuffer(views, "<f2").reshape(-1, dim).astype(np.float32),
    )


def _merged(own: Sighting | None, other: Sighting, into: int, label: str) -> Sighting:
    """Of two identities in one video, of which one may not have been there."""
    if own is None:
        return Sighting(into, other.video, other.num_boxes, other.spans, other.views)
    spans = merged_spans(np.concatenate([own.spans, other.spans]), 0.0)
    num_boxes = own.num_boxes + other.num_boxes
    if not (len(own.views) and len(other.views)):
        views = own.views if len(own.views) else other.views
        return Sighting(into, own.video, num_boxes, spans, views)
    joined = Template.joined([own.template(label), other.template(label)])
    return Sighting(into, own.video, num_boxes, spans, joined.views)
