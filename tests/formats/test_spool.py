"""Traces in the spool."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import orjson
import pytest

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.spool import KEY, RecordReader, ResumeState, Spool, record_fields
from masa_cli.structures import (
    CameraMotion,
    EndedTracklets,
    Frame,
    FrameTracks,
    TrackletRecord,
    Tracks,
)

CONDITIONS = {"association": "motion"}
STATES = {"tracker": {"ids": np.array([3, 4]), "mean": np.array([0.1, 1e-30])}, "embedder": {}}


def frame(index):
    return Frame.without_image(index, Fraction(index, 25))


def test_a_state_comes_back_exactly(tmp_path):
    path = tmp_path / "checkpoint.part"
    ResumeState(CONDITIONS, 7, 123, False, STATES).write(path)
    back = ResumeState.read(path)
    assert (back.conditions, back.next_frame, back.offset, back.complete) == (
        CONDITIONS,
        7,
        123,
        False,
    )
    assert set(back.states) == {"tracker", "embedder"}
    for name, array in STATES["tracker"].items():
        assert np.array_equal(back.states["tracker"][name], array)
        assert back.states["tracker"][name].dtype == array.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.part"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken"])
def test_what_is_no_state_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.part"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is no state of an interrupted run"):
        ResumeState.read(path)


def test_a_missing_state_is_refused(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        ResumeState.read(tmp_path / "checkpoint.part")


def test_other_conditions_are_named():
    checkpoint = ResumeState({"a": "1", "b": "2"}, 0, 0, False, {})
    checkpoint.check({"b": "2", "a": "1"})
    with pytest.raises(SettingsError, match="b was 2, is 3; c was None, is 4"):
        checkpoint.check({"a": "1", "b": "3", "c": "4"})


def test_a_run_of_another_version_is_refused_in_one_sentence():
    earlier = ResumeState({"masa": "0.1.0", "second look": "True"}, 0, 0, True, {})
    with pytest.raises(SettingsError, match=r"begun by masa 0\.1\.0, and masa 0\.2\.0 cannot") as e:
        earlier.check({"masa": "0.2.0", "refine": "True"})
    assert ";" not in e.value.problem


def test_going_on_drops_what_came_after_what_was_saved(tmp_path):
    tracks, checkpoint = tmp_path / "tracks.jsonl", tmp_path / "checkpoint.part"
    with Spool(tracks, checkpoint, ("object",), CONDITIONS) as spool:
        spool.write(frame(0), FrameTracks(0, 0.0, Tracks.empty()))
        spool.save(STATES)
        kept = (tmp_path / "tracks.jsonl.part").read_bytes()
        spool.write(frame(1), FrameTracks(1, 0.04, Tracks.empty()))
    resume = ResumeState.read(checkpoint)
    with Spool(tracks, checkpoint, ("object",), CONDITIONS, resume) as spool:
        assert spool.next_frame == 1
    assert (tmp_path / "tracks.jsonl.part").read_bytes() == kept
    assert not tracks.exists()


def test_a_spool_shorter_than_what_was_saved_is_refused(tmp_path):
    (tmp_path / "tracks.jsonl.part").write_bytes(b"short")
    resume = ResumeState(CONDITIONS, 9, 1000, False, {})
    with pytest.raises(OutputError, match="has 5 bytes, expected at least 1000"):
        Spool(tmp_path / "tracks.jsonl", tmp_path / "c", ("object",), CONDITIONS, resume)


CLASSES = ("cat", "dog")


def some_tracks(count, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 99, (count, 2))
    return Tracks(
        np.concatenate([corners, corners + 9], axis=1).astype(np.float32),
        rng.random(count, np.float32),
        rng.integers(0, 2, count),
        1 + rng.permutation(count),
    )


def some_record(seed=0, is_cut=False):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(3, 8)).astype(np.float16).astype(np.float32)
    camera = rng.normal(size=(2, 3)) if seed else np.eye(2, 3)
    ended = EndedTracklets(np.array([1, 2, 3]), embeddings)
    motion = CameraMotion(camera, is_cut)
    return TrackletRecord(np.array([9, 4]), some_tracks(2, seed), ended, motion)


def assert_equal(one, other):
    assert one.tracklets.tolist() == other.tracklets.tolist()
    assert one.ended.numbers.tolist() == other.ended.numbers.tolist()
    for name in ("boxes", "scores", "labels", "ids"):
        first, second = getattr(one.tentative, name), getattr(other.tentative, name)
        np.testing.assert_array_equal(first, second, strict=True)
    np.testing.assert_array_equal(one.ended.embeddings, other.ended.embeddings, strict=True)
    np.testing.assert_array_equal(one.motion.matrix, other.motion.matrix, strict=True)
    assert one.motion.is_cut == other.motion.is_cut


@pytest.fixture
def spool(tmp_path):
    """Frames with a record each, written by a first pass."""
    path = tmp_path / "tracks.jsonl"
    with Spool(path, tmp_path / "checkpoint.part", CLASSES, {}) as spool:
        for index in range(3):
            frame = Frame.without_image(index, Fraction(index, 25))
            found = FrameTracks(
                index, index / 25, some_tracks(2, index), some_record(index, index == 2)
            )
            spool.write(frame, found, with_record=True)
    return tmp_path / "tracks.jsonl.part"


def test_what_is_written_is_read_and_as_often_as_wanted(spool):
    reader = RecordReader(spool, CLASSES)
    for _ in range(2):
        for index, frame in enumerate(reader):
            assert (frame.index, frame.time) == (index, index / 25)
            assert frame.tracks.ids.tolist() == some_tracks(2, index).ids.tolist()
            assert_equal(frame.record, some_record(index, index == 2))
    assert index == 2


def test_a_frame_in_which_nothing_happens():
    none = np.empty(0, np.int64)
    ended = EndedTracklets(none, np.empty((0, 8), np.float32))
    nothing = TrackletRecord(none, Tracks.empty(), ended, CameraMotion.identity())
    fields = json.loads(orjson.dumps(record_fields(nothing, ()), option=orjson.OPT_SERIALIZE_NUMPY))
    assert "camera" not in fields
    assert not any(fields.values())


def test_margins_of_those_that_wait_are_kept(tmp_path):
    waiting = replace(some_tracks(2), margins=np.array([0.5, np.inf], np.float32))
    record = replace(some_record(), tentative=waiting)
    with Spool(tmp_path / "t", tmp_path / "checkpoint.part", CLASSES, {}) as spool:
        found = FrameTracks(0, 0.0, some_tracks(2), record)
        spool.write(Frame.without_image(0, Fraction(0)), found, with_record=True)
    (read,) = RecordReader(tmp_path / "t.part", CLASSES)
    assert read.record.tentative.margins.tolist() == [0.5, np.inf]


def test_embeddings_keep_three_digits(tmp_path):
    exact = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    record = replace(some_record(), ended=EndedTracklets(np.arange(3), exact))
    text = record_fields(record, CLASSES)["embeddings"]
    assert isinstance(text, str)
    assert len(text) == 64  # 3 x 8 x 2 bytes


@pytest.mark.parametrize(
    "damage",
    [
        lambda fields: fields.pop(KEY),
        lambda fields: fields[KEY].pop("ended"),
        lambda fields: fields[KEY].update(embeddings="no base 64!"),
        lambda fields: fields[KEY].update(embeddings="AAAA"),
        lambda fields: fields[KEY].update(camera=[1, 2]),
        lambda fields: fields.update({KEY: 3}),
    ],
)
def test_a_line_without_its_record_is_an_error_that_names_it(spool, damage):
    lines = spool.read_text().splitlines()
    fields = json.loads(lines[1])
    damage(fields)
    lines[1] = json.dumps(fields)
    spool.write_text("\n".join(lines) + "\n")
    with pytest.raises(OutputError, match="line 2") as error:
        list(RecordReader(spool, CLASSES))
    assert "--overwrite" in error.value.fix
