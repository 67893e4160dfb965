"""Identities of a gallery in a live run, with embeddings made up for each object."""

import json

import numpy as np
import pytest

from masa_cli.formats.database import Database
from masa_cli.formats.gallery import Gallery, changing, reading
from masa_cli.formats.gallery_records import AdapterKey, GalleryUse, Identity
from masa_cli.jobs import live_gallery
from masa_cli.jobs.live_gallery import LiveGallery
from masa_cli.structures import Detections, Frame, FrameTracks, Observation, Tracks
from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.recalling import MAX_ASKS, Recall, TrackSoFar, boxes_wanted
from masa_cli.tracking.recognition import Company, RecognitionSettings, Template

DIM, NUM_KNOWN = 32, 12
ADAPTER = AdapterKey("raw")
OBJECTS = normalised(np.random.default_rng(0).normal(size=(40, DIM)).astype(np.float32))


@pytest.fixture
def path(tmp_path):
    """A gallery that knows the first objects, as identities 1 to NUM_KNOWN."""
    rng = np.random.default_rng(1)
    path = tmp_path / "shop.gallery"
    with changing(path, ADAPTER, DIM) as gallery:
        video = gallery.add_video("before", "before")
        for number in range(NUM_KNOWN):
            rows = OBJECTS[number] + 0.05 * rng.normal(size=(3, DIM)).astype(np.float32)
            identity = gallery.reserve()
            gallery.put(Identity(identity, "person"))
            views = normalised(np.concatenate([OBJECTS[[number]], rows]))
            gallery.see(identity, video, Template("person", views, np.array([[0.0, 9.0]]), 30))
    return path


class Run:
    """A live run; `show` is one frame with objects by the id that the tracker gave them."""

    def __init__(self, path, folder, token="token", **more):
        self.report = folder / f"{token}.json"
        use = GalleryUse(path, **more)
        self.gallery = LiveGallery(use, ADAPTER, token, "now", lambda: ("person",), self.report)
        self.index, self.rng = 0, np.random.default_rng(2)

    def show(self, objects, times=1):
        for _ in range(times):
            count = len(objects)
            left = 30.0 * np.array(list(objects), np.float32)
            zeros = np.zeros(count, np.float32)
            boxes = np.stack([left, zeros, left + 20, zeros + 40], axis=1)
            noise = 0.05 * self.rng.normal(size=(count, DIM)).astype(np.float32)
            embeddings = normalised(OBJECTS[list(objects.values())] + noise)
            labels, ones = np.zeros(count, np.int64), np.ones(count, np.float32)
            moment = self.index / 10
            found = Tracks(boxes, ones, labels, np.array(list(objects), np.int64))
            seen = Observation(self.index, moment, Detections(boxes, ones, labels), embeddings)
            frame = Frame(self.index, moment, np.full((40, 1300, 3), 90, np.uint8))
            named = self.gallery.named(frame, FrameTracks(self.index, moment, found), seen)
            self.index += 1
            assert len(set(named.ids.tolist())) == count
        return dict(zip(objects, named.ids.tolist(), strict=True))

    def told(self):
        return {each["id"]: each for each in json.loads(self.report.read_text())["identities"]}


def test_who_is_known_gets_its_number_after_five_boxes_and_keeps_it(path, tmp_path):
    run = Run(path, tmp_path)
    objects = {1: 3, 2: 7, 3: 30}
    first = run.show(objects)
    assert min(first.values()) > NUM_KNOWN
    assert run.show(objects, 3) == first
    later = run.show(objects)
    assert (later[1], later[2], later[3]) == (4, 8, first[3])
    assert run.show(objects, 60) == later
    run.gallery.finish()
    assert run.told()[4]["shown_before_as"] == [first[1]]
    assert run.told()[first[3]]["verdict"] == "new"
    with reading(path) as gallery:
        ids = [each.id for each in gallery.identities()]
        assert ids == [*range(1, NUM_KNOWN + 1), first[3]]
        assert gallery.videos()[-1].ids == later


def test_who_comes_back_in_the_same_run_is_known_again(path, tmp_path):
    run = Run(path, tmp_path)
    first = run.show({1: 30, 2: 5, 3: 31}, 20)
    run.show({2: 5, 3: 31}, 20)
    assert run.show({2: 5, 3: 31, 9: 30}, 6)[9] == first[1]


def test_no_two_in_a_frame_have_one_identity_whatever_the_tracker_does(path, tmp_path):
    run = Run(path, tmp_path)
    assert run.show({1: 3, 2: 7}, 5)[1] == 4
    run.show({2: 7}, 3)
    assert run.show({2: 7, 5: 3}, 6)[5] == 4  # another track of the same object
    both = run.show({1: 3, 2: 7, 5: 3})  # and the first comes back
    assert both[5] == 4
    assert both[1] > NUM_KNOWN
    assert run.show({1: 3, 2: 7, 5: 3}, 20) == both
    run.gallery.finish()


def test_what_has_left_is_learned_while_the_run_goes_on(path, tmp_path, monkeypatch):
    monkeypatch.setattr(live_gallery, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(live_gallery, "LEFT_SECONDS", 0.5)
    run = Run(path, tmp_path)
    first = run.show({1: 30, 2: 31}, 8)
    run.show({2: 31}, 8)
    with reading(path) as gallery:  # as it is found if the run is killed now
        ids = [each.id for each in gallery.identities()]
    assert first[1] in ids
    assert first[2] not in ids
    with changing(path, forgets=True) as gallery:
        gallery.remove([first[1]])
    run.gallery.finish()
    with reading(path) as gallery:
        ids = [each.id for each in gallery.identities()]
        # Numbers that were shown are not given again, those that were only reserved are.
        assert first[1] not in ids
        assert first[2] in ids
    with changing(path) as gallery:
        assert gallery.reserve() == max(first.values()) + 1


def test_long_runs_do_not_remember_every_track(path, tmp_path, monkeypatch):
    monkeypatch.setattr(live_gallery, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(live_gallery, "LEFT_SECONDS", 0.5)
    monkeypatch.setattr(live_gallery, "_REMEMBERED", 3)
    run = Run(path, tmp_path)
    first = run.show({1: 20}, 6)
    for number in range(2, 10):
        run.show({number: 19 + number}, 8)
    assert len(run.gallery._left) <= 4
    assert run.show({50: 20}, 6)[50] == first[1]  # now it is known from the file
    run.gallery.finish()


def test_what_another_run_learns_meanwhile_is_known_at_once(path, tmp_path, monkeypatch):
    monkeypatch.setattr(live_gallery, "_READ_SHARE", 1e9)
    first, second = Run(path, tmp_path, "first"), Run(path, tmp_path, "second")
    first.show({1: 20, 2: 5}, 8)
    told = second.show({1: 30, 2: 31}, 8)
    second.gallery.finish()
    assert first.show({1: 20, 2: 5, 3: 30}, 6)[3] == told[1]
    with changing(path, forgets=True) as gallery:
        gallery.remove([told[2], 8])
    later = first.show({1: 20, 2: 5, 3: 30, 4: 31, 5: 7}, 6)
    assert later[3] == told[1]
    assert later[4] != told[2]  # who was removed is nobody who is known
    assert later[5] != 8
    first.gallery.finish()


def test_who_is_in_front_of_another_camera_is_not_known_here(path, tmp_path, monkeypatch):
    monkeypatch.setattr(live_gallery, "_READ_SHARE", 1e9)
    first = Run(path, tmp_path, "first", clock=1)
    second = Run(path, tmp_path, "second", clock=1)
    first.show({1: 20, 2: 5}, 3)
    assert second.show({1: 3, 2: 31}, 8)[1] == 4
    second.gallery.finish()
    assert first.show({1: 20, 2: 5, 3: 3}, 6)[3] != 4  # it is there at the same seconds


def test_a_gallery_is_not_read_again_without_need(path, tmp_path, monkeypatch):
    monkeypatch.setattr(live_gallery, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(live_gallery, "LEFT_SECONDS", 0.5)
    monkeypatch.setattr(live_gallery, "_READ_SHARE", 1e3)
    run = Run(path, tmp_path, "first")
    run.show({1: 20, 2: 5}, 4)
    recall = run.gallery._recall
    for number in range(3, 7):  # it writes what has left itself
        run.show({number: 20 + number}, 9)
    assert run.gallery._recall is recall
    other = Run(path, tmp_path, "second")
    other.show({1: 33}, 6)
    other.gallery.finish()
    run.gallery._reading = 1e6  # for a large one, others are waited for a while
    run.show({8: 34}, 6)
    assert run.gallery._recall is recall
    run.gallery._reading = 0.0
    run.show({9: 35}, 6)
    assert run.gallery._recall is not recall


def test_a_large_gallery_is_not_gone_through_whenever_it_is_written(path, tmp_path, monkeypatch):
    monkeypatch.setattr(live_gallery, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(live_gallery, "LEFT_SECONDS", 0.5)
    monkeypatch.setattr(live_gallery, "_NUMBERS", 1)
    run = Run(path, tmp_path)
    first = run.show({1: 30}, 6)

    def refuse(*_):
        raise AssertionError("all of it is read")

    monkeypatch.setattr(Gallery, "identities", refuse)
    monkeypatch.setattr(Database, "check", refuse)
    second = run.show({2: 31}, 8)
    run.gallery.finish()
    monkeypatch.undo()
    with reading(path) as gallery:
        assert gallery.known([first[1], second[2], 1, 999]) == {first[1], second[2], 1}


def test_a_run_without_tracks_makes_no_gallery(tmp_path):
    run = Run(tmp_path / "new.gallery", tmp_path)
    run.gallery.finish()
    assert run.told() == {}
    assert not (tmp_path / "new.gallery").exists()


def test_in_large_galleries_few_are_asked_about_in_a_frame():
    def recall(count):
        parts = [Template("car", OBJECTS[[0]], np.array([[0.0, 1.0]]))] * count
        known = {"car": [(Company(parts, are_distinct=True), range(count))]} if count else {}
        return Recall(known, {}, np.eye(DIM, dtype=np.float32), RecognitionSettings())

    assert recall(0).asks_per_frame == recall(10).asks_per_frame == 4
    few = recall(10)
    few._num_rows = 200_000
    assert few.asks_per_frame == 2
    few._num_rows = 400_000
    assert few.asks_per_frame == 1


def test_the_stated_rate_is_of_all_asks_together():
    settings = RecognitionSettings()
    assert [boxes_wanted(asks, settings) for asks in range(MAX_ASKS)] == [5, 15, 45, 135, 405]
    spans = np.array([[0.0, 1.0]])
    parts = [Template("car", OBJECTS[[row]], spans) for row in range(10)]
    known = {"car": [(Company(parts, are_distinct=True), range(1, 11))]}
    recall = Recall(known, {}, np.eye(DIM, dtype=np.float32), settings)
    (answer,) = recall.ask("car", [TrackSoFar(99, Template("car", OBJECTS[[3]], spans))], [0])
    assert (answer.verdict, answer.identity) == ("known", 4)
    taken = Recall(known, {4: [spans]}, np.eye(DIM, dtype=np.float32), settings)
    (answer,) = taken.ask("car", [TrackSoFar(99, Template("car", OBJECTS[[3]], spans))], [0])
    assert answer.identity != 4  # it was in front of another camera meanwhile
