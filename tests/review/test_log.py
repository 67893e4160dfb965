"""A log survives a kill, and says where it cannot be followed."""

import json

import pytest

from masa_cli.errors import OutputError, SourceError
from masa_cli.review.edits import parse
from masa_cli.review.log import REDO, UNDO, LogFile, LogWriter, replayed
from masa_cli.review.tracks import digest_of
from tests.review.tables import shown, table_of

TABLE = table_of((0, 1, 0), (1, 1, 1), (0, 2, 5), (1, 2, 6))
DELETE = parse({"edit": "delete", "id": 2})
RENAME = parse({"edit": "rename", "id": 1, "to": 7})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "edits.jsonl"


def write(path, *edits, length=0):
    with LogWriter(path, path.with_name("tracks.jsonl"), digest_of(TABLE), length) as writer:
        for edit in edits:
            writer.append(edit)


def ids(path):
    return set(shown(replayed(path, TABLE, LogFile.read(path)).tracks.table()))


def test_no_edit_leaves_no_file(path):
    write(path)
    assert not path.exists()


def test_edits_come_back(path):
    write(path, DELETE, RENAME, UNDO, UNDO, REDO)
    assert ids(path) == {1}
    head, *lines = map(json.loads, path.read_text().splitlines())
    assert head == {
        "masa": "edits",
        "version": 1,
        "tracks": "tracks.jsonl",
        "digest": digest_of(TABLE),
    }
    assert lines[0] == {"edit": "delete", "id": 2}
    assert lines[2] == {"edit": "undo"}


@pytest.mark.parametrize("torn", [b'{"edit":"undo"}', b'{"edi', b"\xff"])
def test_a_last_line_without_an_end_is_left_out_and_overwritten(path, torn, caplog):
    write(path, DELETE)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    log = LogFile.read(path)
    assert "was left out" in caplog.text
    assert (len(log.records), log.length) == (1, len(whole))
    write(path, RENAME, length=log.length)
    assert path.read_bytes() == whole + b'{"edit":"rename","id":1,"to":7}\n'


def test_an_empty_file_is_begun(path):
    path.touch()
    write(path, DELETE)
    assert ids(path) == {1}


def test_edits_of_other_tracks_are_refused(path):
    write(path, DELETE)
    with pytest.raises(SourceError, match="edits of other tracks"):
        LogFile.read(path).check(path, digest_of(table_of((0, 1, 0))))


def test_the_line_that_cannot_be_done_is_named(path):
    write(path, DELETE, DELETE)
    with pytest.raises(SourceError, match=r"edits.jsonl line 3: there is no identity 2"):
        ids(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no log of edits"),
        ('{"frame":0}\n', "no log of edits"),
        ('{"masa":"edits","version":2,"digest":"0"}\n', "later version"),
        ('{"masa":"edits","version":1,"digest":"0"}\n[1]\n', "line 2: expected a JSON object"),
        ('{"masa":"edits","version":1,"digest":"0"}\nno\n{}\n', "line 2: expected a JSON object"),
    ],
)
def test_what_is_no_log_is_refused(path, text, told):
    path.write_text(text)
    with pytest.raises(SourceError, match=told):
        LogFile.read(path)


def test_two_reviews_cannot_write_one_log(path):
    pytest.importorskip("fcntl", reason="the system has no locks of files")
    write(path, DELETE)
    length = LogFile.read(path).length
    with (
        LogWriter(path, path, digest_of(TABLE), length),
        pytest.raises(OutputError, match="another review"),
    ):
        LogWriter(path, path, digest_of(TABLE), length)


def test_the_digest_tells_tracks_apart_and_not_their_order():
    same = table_of((1, 2, 6), (0, 2, 5), (1, 1, 1), (0, 1, 0))
    assert digest_of(same) == digest_of(TABLE)
    assert digest_of(table_of((0, 1, 0), (1, 1, 1), (0, 2, 5), (1, 2, 7))) != digest_of(TABLE)
