"""Traces in the spool."""

import json
from fractions import Fraction

import numpy as np
import orjson
import pytest

from masa_cli.errors import OutputError
from masa_cli.formats.spool import Spool
from masa_cli.formats.trace_json import KEY, TracedReader, trace_fields
from masa_cli.structures import Frame, Tracks
from masa_cli.trace import Trace

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


def some_trace(seed=0, is_cut=False):
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(3, 8)).astype(np.float16).astype(np.float32)
    camera = rng.normal(size=(2, 3)) if seed else np.eye(2, 3)
    return Trace(np.array([9, 4]), some_tracks(2, seed), np.array([1, 2, 3]), looks, camera, is_cut)


def assert_equal(one, other):
    assert one.tracklets.tolist() == other.tracklets.tolist()
    assert one.ended.tolist() == other.ended.tolist()
    for name in ("boxes", "scores", "labels", "ids"):
        first, second = getattr(one.tentative, name), getattr(other.tentative, name)
        np.testing.assert_array_equal(first, second, strict=True)
    np.testing.assert_array_equal(one.looks, other.looks, strict=True)
    np.testing.assert_array_equal(one.camera, other.camera, strict=True)
    assert one.is_cut == other.is_cut


@pytest.fixture
def spool(tmp_path):
    """Frames with a trace each, written by a first pass."""
    path = tmp_path / "tracks.jsonl"
    with Spool(path, tmp_path / "checkpoint.part", CLASSES, {}) as spool:
        for index in range(3):
            frame = Frame.without_image(index, Fraction(index, 25))
            spool.write(frame, some_tracks(2, index), some_trace(index, index == 2))
    return tmp_path / "tracks.jsonl.part"


def test_what_is_written_is_read_and_as_often_as_wanted(spool):
    reader = TracedReader(spool, CLASSES)
    for _ in range(2):
        for index, line in enumerate(reader):
            assert line[:2] == (index, index / 25)
            assert line[2].ids.tolist() == some_tracks(2, index).ids.tolist()
            assert_equal(line[3], some_trace(index, index == 2))
    assert index == 2


def test_a_frame_in_which_nothing_happens():
    none = np.empty(0, np.int64)
    nothing = Trace(none, Tracks.empty(), none, np.empty((0, 8), np.float32), np.eye(2, 3))
    fields = json.loads(orjson.dumps(trace_fields(nothing, ()), option=orjson.OPT_SERIALIZE_NUMPY))
    assert "camera" not in fields
    assert not any(fields.values())


def test_looks_keep_three_digits(tmp_path):
    trace = some_trace()
    exact = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    object.__setattr__(trace, "looks", exact)
    text = trace_fields(trace, CLASSES)["looks"]
    assert isinstance(text, str)
    assert len(text) == 64  # 3 x 8 x 2 bytes


@pytest.mark.parametrize(
    "damage",
    [
        lambda fields: fields.pop(KEY),
        lambda fields: fields[KEY].pop("ended"),
        lambda fields: fields[KEY].update(looks="no base 64!"),
        lambda fields: fields[KEY].update(looks="AAAA"),
        lambda fields: fields[KEY].update(camera=[1, 2]),
        lambda fields: fields.update({KEY: 3}),
    ],
)
def test_a_line_without_its_trace_is_an_error_that_names_it(spool, damage):
    lines = spool.read_text().splitlines()
    fields = json.loads(lines[1])
    damage(fields)
    lines[1] = json.dumps(fields)
    spool.write_text("\n".join(lines) + "\n")
    with pytest.raises(OutputError, match="line 2") as error:
        list(TracedReader(spool, CLASSES))
    assert "--overwrite" in error.value.fix
