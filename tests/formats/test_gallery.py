"""A gallery is never half written, never trusted when damaged, and forgets what it is told to."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from masa_cli.errors import OutputError, SettingsError, SourceError
from masa_cli.formats import gallery as module
from masa_cli.formats.gallery import changing, reading
from masa_cli.formats.gallery_records import AdapterKey, Doubt, Identity
from masa_cli.tracking.recognition import Template

RAW, LITE = AdapterKey("raw"), AdapterKey("lite", "0f" * 32)


def template(number=0, *, start=0.0, dim=8, views=1):
    rows = np.eye(dim, dtype=np.float32)[[(number + each) % dim for each in range(views)]]
    return Template("person", rows, np.array([[start, start + 1]]), 10)


def fill(path, count=3):
    with changing(path, RAW, 8) as gallery:
        for number in range(count):
            video = gallery.add_video(f"run {number}", f"video-{number}")
            id_ = gallery.reserve()
            gallery.put(Identity(id_, "person", f"name-{number}", b"crop of %d" % number))
            gallery.see(id_, video, template(number))
    return path


@pytest.fixture
def path(tmp_path):
    return fill(tmp_path / "shop.gallery")


def test_what_was_put_in_comes_out(path):
    with reading(path, RAW) as gallery:
        assert [each.name for each in gallery.identities()] == ["name-0", "name-1", "name-2"]
        assert [each.name for each in gallery.videos()] == ["video-0", "video-1", "video-2"]
        for number, sighting in enumerate(gallery.sightings()):
            assert (sighting.identity, sighting.video) == (number + 1, number + 1)
            assert np.array_equal(sighting.views, template(number).views)
            assert sighting.spans.tolist() == [[0, 1]]
        assert gallery.adapter == RAW
        assert gallery.dim == 8


def test_numbers_are_never_given_twice(path):
    with changing(path) as gallery:
        gallery.remove([3])
        assert gallery.reserve() == 4


def test_of_a_change_that_fails_nothing_is_kept(path):
    before = path.read_bytes()
    with pytest.raises(SettingsError), changing(path) as gallery:
        gallery.remove([1, 7])
    with reading(path) as gallery:
        assert len(gallery.identities()) == 3
    assert path.read_bytes() == before


KILLED = """
import os, sys
from pathlib import Path
from masa_cli.formats.gallery import changing
from masa_cli.formats.gallery_records import AdapterKey, Identity
with changing(Path(sys.argv[1]), AdapterKey("raw"), 8) as gallery:
    for number in range(1500):  # more than SQLite holds in memory: it is in the file already
        gallery.put(Identity(gallery.reserve(), "person", "x", os.urandom(2000)))
    gallery._database._connection.execute("PRAGMA cache_spill = 1")
    print(Path(sys.argv[1]).stat().st_size, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_process_killed_while_it_writes_loses_nothing(path):
    size = path.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9
    assert int(done.stdout) > size  # it was in the middle of it
    with reading(path, RAW) as gallery:
        assert len(gallery.identities()) == 3
    fill(path.with_name("other.gallery"))
    with changing(path) as gallery:
        assert gallery.reserve() == 4


def test_a_process_killed_at_the_first_writing_leaves_no_trap(tmp_path):
    path = tmp_path / "new.gallery"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, check=False)
    with changing(path, RAW, 8) as gallery:
        assert gallery.reserve() == 1


def add_many(path, count):
    for _ in range(count):
        with changing(path, RAW, 8) as gallery:
            gallery.put(Identity(gallery.reserve(), "person"))


def test_two_that_write_at_once_both_do(tmp_path):
    path = tmp_path / "shop.gallery"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_many, args=(path, 10)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    with reading(path) as gallery:
        assert [each.id for each in gallery.identities()] == list(range(1, 21))


def test_who_waits_for_ever_is_told(path, monkeypatch):
    monkeypatch.setattr("masa_cli.formats.database._WAIT_SECONDS", 0.05)
    with changing(path), pytest.raises(OutputError, match="another run"), changing(path):
        pass


@pytest.mark.parametrize("damage", ["text", "cut", "page", "row", "other"])
def test_a_damaged_file_is_told_in_one_sentence(path, damage):
    data = path.read_bytes()
    if damage == "text":
        path.write_text("no gallery at all, " * 100)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "page":
        path.write_bytes(data[:4096] + os.urandom(4096) + data[8192:])
    elif damage == "row":
        where = data.index(template(1).views.astype("<f2").tobytes())
        path.write_bytes(data[:where] + b"\1" + data[where + 1 :])
    else:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE songs (name TEXT)")
        connection.close()
    after = path.read_bytes()
    with pytest.raises(SourceError, match="damaged, or no gallery"), reading(path) as gallery:
        gallery.sightings()
    assert path.read_bytes() == after


def test_a_gallery_of_another_adapter_is_refused_and_stays(path):
    before = path.read_bytes()
    with (
        pytest.raises(SettingsError, match="adapter raw, which cannot be compared with those of "),
        changing(path, LITE, 8),
    ):
        pass
    assert path.read_bytes() == before


def test_a_later_version_is_refused(path):
    with changing(path) as gallery:
        gallery._put("facts", "name, value", ("kind", "masa gallery 9"))
    with pytest.raises(SourceError, match='is a "masa gallery 9"'), reading(path):
        pass


def test_of_what_is_removed_nothing_stays_in_the_file(path):
    secrets = (b"name-1", b"crop of 1", template(1).views.astype("<f2").tobytes())
    assert all(secret in path.read_bytes() for secret in secrets)
    with changing(path, forgets=True) as gallery:
        gallery.set_ids(gallery.videos()[1], {7: 2, 8: 1})
        gallery.doubt(3, 2, 0.1)
        gallery.remove([2])
    assert not any(secret in path.read_bytes() for secret in secrets)
    with reading(path) as gallery:
        assert [each.id for each in gallery.identities()] == [1, 3]
        assert gallery.videos()[1].ids == {8: 1}
        assert gallery.doubts() == []


def test_merged_identities_are_one_wherever_they_were(path):
    with changing(path) as gallery:
        gallery.set_ids(gallery.videos()[2], {5: 3})
        gallery.doubt(3, 1, 0.1)
        gallery.merge(1, [3])
    with reading(path) as gallery:
        assert [each.id for each in gallery.identities()] == [1, 2]
        assert [(each.identity, each.video) for each in gallery.sightings()] == [
            (1, 1),
            (1, 3),
            (2, 2),
        ]
        assert gallery.videos()[2].ids == {5: 1}
        assert gallery.doubts() == []


def test_two_that_were_seen_together_are_not_merged(path):
    with changing(path) as gallery:
        gallery.see(2, 1, template(5, start=0.5))
    with pytest.raises(SettingsError, match="both seen"), changing(path) as gallery:
        gallery.merge(1, [2])
    with changing(path) as gallery:
        assert len(gallery.identities()) == 3


def test_an_identity_keeps_views_of_few_videos(tmp_path):
    path = tmp_path / "shop.gallery"
    with changing(path, RAW, 16) as gallery:
        gallery.put(Identity(gallery.reserve(), "person"))
        for number in range(12):
            video = gallery.add_video(f"run {number}", "video")
            gallery.see(1, video, template(number, dim=16))
    with reading(path) as gallery:
        sightings = gallery.sightings()
    assert len(sightings) == 12
    assert sum(bool(len(each.views)) for each in sightings) == module.MAX_LEARNED


def test_a_full_gallery_drops_who_was_not_seen_for_longest_and_has_no_name(path, monkeypatch):
    monkeypatch.setattr(module, "MAX_IDENTITIES", 2)
    with changing(path) as gallery:
        gallery.put(Identity(2, "person"))
        gallery.put(Identity(3, "person"))
        assert gallery.drop_surplus() == 1
        assert [each.id for each in gallery.identities()] == [1, 3]


def test_doubts_are_kept_best_first(path):
    with changing(path) as gallery:
        gallery.doubt(3, 1, 0.2)
        gallery.doubt(3, 2, 0.1)
    with reading(path) as gallery:
        assert gallery.doubts() == [Doubt(3, 2, 0.1), Doubt(3, 1, 0.2)]


def test_no_gallery_is_told(tmp_path):
    with pytest.raises(SourceError, match="does not exist"), reading(tmp_path / "no.gallery"):
        pass
    with pytest.raises(SourceError, match="is no file"), reading(tmp_path):
        pass
