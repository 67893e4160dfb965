from fractions import Fraction

import numpy as np
import pytest

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.spool import Checkpoint, Spool
from masa_cli.structures import Frame, Tracks

CONDITIONS = {"association": "motion"}
STATES = {"tracker": {"ids": np.array([3, 4]), "mean": np.array([0.1, 1e-30])}, "embedder": {}}


def frame(index):
    return Frame.without_image(index, Fraction(index, 25))


def test_a_checkpoint_comes_back_exactly(tmp_path):
    path = tmp_path / "checkpoint.part"
    Checkpoint(CONDITIONS, 7, 123, False, STATES).write(path)
    back = Checkpoint.read(path)
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
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.part"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is no checkpoint"):
        Checkpoint.read(path)


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        Checkpoint.read(tmp_path / "checkpoint.part")


def test_other_conditions_are_named():
    checkpoint = Checkpoint({"a": "1", "b": "2"}, 0, 0, False, {})
    checkpoint.check({"b": "2", "a": "1"})
    with pytest.raises(SettingsError, match="b was 2, is 3; c was None, is 4"):
        checkpoint.check({"a": "1", "b": "3", "c": "4"})


def test_going_on_drops_what_came_after_the_checkpoint(tmp_path):
    tracks, checkpoint = tmp_path / "tracks.jsonl", tmp_path / "checkpoint.part"
    with Spool(tracks, checkpoint, ("object",), CONDITIONS) as spool:
        spool.write(frame(0), Tracks.empty())
        spool.save(STATES)
        kept = (tmp_path / "tracks.jsonl.part").read_bytes()
        spool.write(frame(1), Tracks.empty())
    resume = Checkpoint.read(checkpoint)
    with Spool(tracks, checkpoint, ("object",), CONDITIONS, resume) as spool:
        assert spool.next_frame == 1
    assert (tmp_path / "tracks.jsonl.part").read_bytes() == kept
    assert not tracks.exists()


def test_a_spool_shorter_than_its_checkpoint_is_refused(tmp_path):
    (tmp_path / "tracks.jsonl.part").write_bytes(b"short")
    resume = Checkpoint(CONDITIONS, 9, 1000, False, {})
    with pytest.raises(OutputError, match="has 5 bytes, expected at least 1000"):
        Spool(tmp_path / "tracks.jsonl", tmp_path / "c", ("object",), CONDITIONS, resume)
