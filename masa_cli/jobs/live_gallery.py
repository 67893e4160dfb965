"""`--gallery` of a live run: ids are given while it goes on, and what was written stays.

A track has a number of its own from its first box on. Once it is sure that it is an identity of the
gallery, or one that was in this run before, it goes on under the number of that. What has left is
learned every minute, and the rest at the end. What other runs learn meanwhile is read before tracks
are asked about, if the file has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from masa_cli.formats.gallery import Gallery, changing, reading, state_of
from masa_cli.formats.gallery_records import AdapterKey, GalleryUse, Identity
from masa_cli.jobs.recognise import (
    companies_by_class,
    crop_of,
    drop_surplus,
    occupied_by,
    tell,
    whitening_of,
    write_report,
)
from masa_cli.jobs.templates import GrowingTrack, TrackTemplate, look_at
from masa_cli.structures import Frame, FrameTracks, Observation, Tracks
from masa_cli.tracking.recalling import MAX_ASKS, Answer, Recall, TrackSoFar, boxes_wanted
from masa_cli.tracking.recognition import Floats

SAVE_SECONDS = 60.0  # of the clock on the wall, after which what has left is learned
LEFT_SECONDS = 10.0  # of the video; what was not seen for so long has left
_READ_SHARE = 0.02  # of the time, at most, in which a gallery that others change is read
_NUMBERS = 50  # that are reserved at a time
_REMEMBERED = 200  # tracks that have left and are still compared with those that come
_BETTER = 1.2  # a view must be so many times better to be cut out anew


@dataclass(slots=True, eq=False)
class _Track:
    """A track that goes on, or has left."""

    growing: GrowingTrack
    id: int  # of the tracker
    identity: int
    shown: list[int]  # identities that it had, in order
    num_asks: int = 0
    answer: Answer | None = None
    last: float = 0.0
    is_there: bool = True  # in the last frame
    crop: bytes = b""
    crop_quality: float = 0.0
    template: TrackTemplate | None = None

    @property
    def is_known(self) -> bool:
        return self.answer is not None and self.answer.verdict == "known"


@dataclass(slots=True, eq=False)
class _Record:
    """What the report tells of an identity."""

    label: str
    verdict: str
    tracks: list[int] = field(default_factory=list)
    boxes: int = 0
    spans: list[Floats] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    answer: Answer | None = None


class LiveGallery:
    """Gives the tracks of a live run identities of a gallery, which learns them.

    Args:
        use: the gallery, and how it is used.
        adapter: that makes the embeddings.
        run: a token of this run, that no other has.
        video: its name.
        classes: gives names that the labels of tracks index.
        report: the JSON file that tells of all decisions, at the end.

    Raises:
        SourceError, SettingsError, OutputError: the gallery cannot be used (any method).
    """

    def __init__(
        self,
        use: GalleryUse,
        adapter: AdapterKey,
        run: str,
        video: str,
        classes: Callable[[], Sequence[str]],
        report: Path,
    ) -> None:
        self._use, self._adapter, self._run, self._video = use, adapter, run, video
        self._classes, self._report = classes, report
        self._recall: Recall | None = None
        self._dim = self._number = self._shot = 0
        self._numbers: list[int] = []
        self._tracks: dict[int, _Track] = {}  # by the tracker's id
        self._left: list[_Track] = []
        self._scatter: Floats = np.zeros((0, 0))
        self._num_pairs = self._num_pairs_known = self._num_pairs_used = 0
        self._saved = self._was_read = time.monotonic()
        self._reading = 0.0  # seconds that it took
        self._state = (0, 0)  # of the file, when it was read
        self._records: dict[int, _Record] = {}
        self._own: set[int] = set()  # numbers that are, or will be, given by this run
        self._learned: set[int] = set()  # identities that were
        self._ids: dict[int, int] = {}  # identities by the tracker's ids

    def named(self, frame: Frame, found: FrameTracks, observation: Observation) -> Tracks:
        """The tracks of a frame under their identities as far as they are known by now."""
        self._shot += observation.motion.is_cut
        self._dim = max(self._dim, observation.embeddings.shape[1])
        if len(found.tracks) and self._recall is None:
            self._begin()
        growing = {id_: each.growing for id_, each in self._tracks.items()}
        look_at(growing, found, observation, self._shot)
        here = found.tracks.ids.tolist()
        for id_ in here:
            if id_ not in self._tracks:
                self._add(id_, growing[id_], found.time)
        self._keep_apart(here, found.time)
        self._ask(here)
        for id_ in here:
            self._look(self._tracks[id_], frame)
        self._let_go(found.time)
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save(is_end=False)
        ids = np.array([self._tracks[id_].identity for id_ in here], np.int64)
        return found.tracks.renamed(ids)

    def finish(self) -> None:
        """Learn what is still there, and tell what was decided."""
        for id_ in list(self._tracks):
            self._leave(id_)
        if self._recall is None and self._dim:
            self._begin()
        if self._recall is not None:
            self._save(is_end=True)
        records = [self._told(identity) for identity in sorted(self._records)]
        write_report(self._report, self._use, records)
        tell(self._use, records)

    # Numbers, and who has which.

    def _begin(self) -> None:
        """Take in what the gallery knows."""
        with self._changing() as gallery:
            use = self._use
            self._number = gallery.add_video(self._run, self._video, use.clock, use.start)
            self._reserve(gallery)
            self._read(gallery)

    @contextmanager
    def _changing(self) -> Iterator[Gallery]:
        """The gallery, to be changed; what others changed before is still to be read."""
        is_checked = self._recall is not None
        with changing(self._use.path, self._adapter, self._dim, is_checked=is_checked) as gallery:
            before = state_of(self._use.path)
            yield gallery
            is_changed = gallery.is_changed
        if before == self._state:
            self._state = before[0], before[1] + is_changed

    def _read_again(self) -> None:
        """Take in what other runs learned meanwhile."""
        rest = time.monotonic() - self._was_read
        if rest * _READ_SHARE >= self._reading and state_of(self._use.path) != self._state:
            with reading(self._use.path, self._adapter) as gallery:
                self._read(gallery)

    def _read(self, gallery: Gallery) -> None:
        begin, self._state = time.monotonic(), state_of(self._use.path)
        use, videos = self._use, gallery.videos()
        label_of = {each.id: each.label for each in gallery.identities()}
        sightings = [each for each in gallery.sightings() if each.identity in label_of]
        # What is still remembered of this run is compared as it is, and must not count twice.
        remembered = {each.identity for each in (*self._left, *self._tracks.values())}
        sightings = [
            each
            for each in sightings
            if each.video != self._number or each.identity not in remembered
        ]
        whitening = whitening_of((), sightings)
        self._num_pairs_known = sum(max(len(each.views) - 1, 0) for each in sightings)
        whitening.learn_scatter(self._scatter, self._num_pairs)
        self._num_pairs_used = self._num_pairs
        projection = whitening.projection()
        if not len(projection):
            projection = np.eye(self._dim, dtype=np.float32)
        occupied = occupied_by(use, videos, sightings)
        own = companies_by_class(videos, sightings, label_of)
        self._recall = Recall(own, occupied, projection, use.settings)
        self._was_read = time.monotonic()
        self._reading = self._was_read - begin

    def _reserve(self, gallery: Gallery) -> None:
        fresh = [gallery.reserve() for _ in range(_NUMBERS)]
        self._numbers += fresh
        self._own.update(fresh)

    def _fresh(self) -> int:
        if not self._numbers:
            with self._changing() as gallery:
                self._reserve(gallery)
        return self._numbers.pop(0)

    def _add(self, id_: int, growing: GrowingTrack, moment: float) -> None:
        identity = self._fresh()
        self._tracks[id_] = _Track(growing, id_, identity, [identity], last=moment)

    def _keep_apart(self, here: Sequence[int], moment: float) -> None:
        """Who comes back while another has got its identity, is somebody else from now on."""
        present = set(here)
        taken: set[int] = set()
        for id_ in sorted(here, key=lambda each: (not self._tracks[each].is_there, each)):
            track = self._tracks[id_]
            if track.identity in taken:
                again = GrowingTrack()
                again.be_there(moment)
                again.scores, again.shots = track.growing.scores.copy(), track.growing.shots.copy()
                if track.growing.spans[-1][0] == moment:
                    track.growing.spans.pop()
                else:
                    track.growing.spans[-1][1] = track.last
                self._leave(id_)
                self._add(id_, again, moment)
                track = self._tracks[id_]
            taken.add(track.identity)
        for id_, track in self._tracks.items():
            track.is_there = id_ in present
            track.last = moment if track.is_there else track.last

    # What is asked.

    def _ask(self, here: Sequence[int]) -> None:
        settings, recall = self._use.settings, self._recall
        due = [
            track
            for track in (self._tracks[id_] for id_ in here)
            if not track.is_known
            and track.num_asks < MAX_ASKS
            and track.growing.num_boxes >= boxes_wanted(track.num_asks, settings)
        ]
        if not due or recall is None:
            return
        self._read_again()
        self._learn_whitening()
        due.sort(key=lambda track: (track.num_asks, track.id))
        asked = due[: recall.asks_per_frame]
        classes = self._classes()
        for track in self._tracks.values():
            boxes = track.growing.num_boxes
            old = track.template.num_boxes if track.template else 0
            if boxes and (track in asked or boxes >= 2 * max(old, 1)):
                track.template = track.growing.finished(track.id, classes)
            elif track.template and track.template.template:  # as long as it is seen, it is there
                spans = np.array(track.growing.spans, np.float64)
                template = replace(track.template.template, spans=spans)
                track.template = replace(track.template, spans=spans, template=template)
        for label in dict.fromkeys(track.template.label for track in asked if track.template):
            self._ask_of(label, asked)

    def _ask_of(self, label: str, asked: Sequence[_Track]) -> None:
        of_class = [
            (track, track.template.template)
            for track in (*self._left, *self._tracks.values())
            if track.template is not None
            and track.template.template is not None
            and track.template.label == label
            and (track in asked or track.template.num_boxes >= self._use.settings.min_boxes)
        ]
        rows = [row for row, (track, _) in enumerate(of_class) if track in asked]
        if self._recall is None or not rows:
            return
        so_far = [TrackSoFar(track.identity, template) for track, template in of_class]
        for answer in self._recall.ask(label, so_far, rows):
            track = of_class[answer.row][0]
            track.num_asks += 1
            track.answer = answer
            if answer.verdict == "known":
                track.identity = answer.identity
                track.shown.append(answer.identity)

    def _learn_whitening(self) -> None:
        """Of a gallery that knows little, what changes while objects stay is learned on the way."""
        tracks = list(self._tracks.values())
        count = sum(len(each.growing.samples) for each in tracks) + self._num_pairs
        if count < 2 * max(self._num_pairs_used, 100) or self._num_pairs_known > count:
            return
        kept = self._scatter, self._num_pairs
        for track in tracks:
            self._keep_scatter(track)
        with reading(self._use.path, self._adapter) as gallery:
            self._read(gallery)
        self._scatter, self._num_pairs = kept

    def _keep_scatter(self, track: _Track) -> None:
        if len(track.growing.samples) > 1:
            differences = track.growing.differences()
            scatter = differences.T @ differences
            self._scatter = self._scatter + scatter if len(self._scatter) else scatter
            self._num_pairs += len(differences)

    # What has left, and the file.

    def _look(self, track: _Track, frame: Frame) -> None:
        """Cut out its best view, if this is it."""
        quality, index, box = track.growing.best
        is_better = quality > _BETTER * track.crop_quality
        if index == frame.index and frame.image.size and is_better:
            track.crop, track.crop_quality = crop_of(frame.image, box), quality

    def _let_go(self, moment: float) -> None:
        for id_, track in list(self._tracks.items()):
            if moment - track.last > LEFT_SECONDS:
                self._leave(id_)

    def _leave(self, id_: int) -> None:
        track = self._tracks.pop(id_)
        track.template = track.growing.finished(track.id, self._classes())
        self._keep_scatter(track)
        track.growing = GrowingTrack()
        self._left.append(track)
        self._note(track, track.template)

    def _note(self, track: _Track, template: TrackTemplate) -> None:
        is_long = template.num_boxes >= self._use.settings.min_boxes
        verdict = track.answer.verdict if track.answer else "new" if is_long else "too short"
        if track.identity not in self._own:
            verdict = "known"
        elif verdict == "known":  # as somebody who was in this run before
            verdict = "new"
        record = self._records.setdefault(track.identity, _Record(template.label, verdict))
        record.answer = record.answer or track.answer
        record.tracks.append(track.id)
        record.boxes += template.num_boxes
        record.spans.append(template.spans)
        record.before += track.shown[:-1]
        self._ids[track.id] = track.identity

    def _told(self, identity: int) -> dict[str, object]:
        own = self._records[identity]
        record: dict[str, object] = {
            "id": identity,
            "label": own.label,
            "verdict": own.verdict,
            "tracks": own.tracks,
            "boxes": own.boxes,
            "seconds": np.concatenate(own.spans).round(3).tolist(),
        }
        if own.before:
            record["shown_before_as"] = own.before
        if own.answer is not None and own.answer.identity:
            record["most_like"] = own.answer.identity
            record["false_matches"] = round(own.answer.false_matches, 6)
            if own.answer.rival:
                record["or"] = own.answer.rival
        return record

    def _save(self, *, is_end: bool) -> None:
        """Learn what has left."""
        with self._changing() as gallery:
            known = gallery.known({track.identity for track in self._left})
            for track in self._left:
                if track.template is not None and track.shown:
                    self._learn(gallery, track, track.template, known)
            surplus = len(self._left) - _REMEMBERED
            if surplus > 0 and not is_end:
                self._left = self._left[surplus:]
                self._read(gallery)
            if is_end:
                videos = gallery.videos()
                own = next(each for each in videos if each.number == self._number)
                gallery.set_ids(own, self._ids)
                gallery.give_back(self._numbers)
                drop_surplus(gallery)
        self._saved = time.monotonic()

    def _learn(
        self, gallery: Gallery, track: _Track, template: TrackTemplate, known: set[int]
    ) -> None:
        """What a track looked like; once."""
        track.shown = []
        identity, answer = track.identity, track.answer
        if template.template is None or template.num_boxes < self._use.settings.min_boxes:
            return
        if identity not in known and (identity not in self._own or identity in self._learned):
            return  # it was removed meanwhile
        if identity not in known:
            gallery.put(Identity(identity, template.label, "", track.crop))
            known.add(identity)
            self._learned.add(identity)
            if answer is not None and answer.verdict == "unsure":
                for other in (answer.identity, answer.rival):
                    if other:
                        gallery.doubt(identity, other, answer.false_matches)
        gallery.see(identity, self._number, template.template)
