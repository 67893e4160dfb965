import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from masa_cli.errors import WeightsError
from masa_cli.weights.download import Cut, download
from tests.weights.file_server import refused_address

PATH = "/a/file.pth"
PIECE = 65_536  # what arrives is kept in whole pieces


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights/file.pth"


@pytest.fixture
def get(server, content, target):
    """Download the file; gives back what progress was told."""
    server.files[PATH] = content

    def run(*, verify=lambda part: None, tries=4, address=None):
        told = []
        download(
            f"{address or server.address}{PATH}",
            target,
            verify=verify,
            on_progress=lambda done, total: told.append((done, total)),
            waits=(0.0,) * tries,
        )
        return told

    return run


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(get, target, content):
    told = get()
    assert target.read_bytes() == content
    assert left_in(target.parent) == ["file.pth"]
    assert told[-1] == (len(content), len(content))
    assert len(told) > 1
    assert told == sorted(told)


def test_a_cut_connection_goes_on_by_itself(get, target, content, server):
    server.cuts = [16 * PIECE + 99, 5 * PIECE]
    get()
    assert target.read_bytes() == content
    assert server.asked == [
        ("GET", None),
        ("GET", f"bytes={16 * PIECE}-"),
        ("GET", f"bytes={21 * PIECE}-"),
    ]


def test_the_next_call_goes_on_where_the_last_one_was_cut(get, target, content, server):
    server.cuts = [20 * PIECE]
    with pytest.raises(Cut):
        get(tries=0)
    assert not target.exists()
    assert (target.parent / "file.pth.part").stat().st_size == 20 * PIECE
    told = get()
    assert target.read_bytes() == content
    assert server.asked[-1] == ("GET", f"bytes={20 * PIECE}-")
    assert told[0][0] > 20 * PIECE
    assert left_in(target.parent) == ["file.pth"]


def test_another_version_at_the_server_starts_again(get, target, content, server):
    server.cuts = [20 * PIECE]
    with pytest.raises(Cut):
        get(tries=0)
    server.files[PATH] = content[::-1]
    get()
    assert target.read_bytes() == content[::-1]


def test_a_part_that_is_complete_is_not_fetched_again(get, target, content, server):
    with pytest.raises(KeyboardInterrupt):
        get(verify=interrupt)
    get()
    assert target.read_bytes() == content
    assert server.asked[-1] == ("GET", f"bytes={len(content)}-")


def interrupt(part):
    raise KeyboardInterrupt


def test_a_part_longer_than_the_file_is_given_up(get, target, content, server):
    with pytest.raises(KeyboardInterrupt):
        get(verify=interrupt)
    part = target.parent / "file.pth.part"
    part.write_bytes(content + b"more")
    with pytest.raises(Cut, match="has changed"):
        get()
    get()
    assert target.read_bytes() == content


def test_a_part_of_unknown_origin_starts_again(get, target, content):
    target.parent.mkdir()
    (target.parent / "file.pth.part").write_bytes(b"something else")
    get()
    assert target.read_bytes() == content


def test_a_wrong_file_gets_no_name(get, target):
    def refuse(part):
        assert part.stat().st_size > 0
        raise WeightsError("wrong checksum", fix="x")

    with pytest.raises(WeightsError, match="wrong checksum"):
        get(verify=refuse)
    assert not target.exists()
    assert not (target.parent / "file.pth.part").exists()


def test_the_space_is_looked_at_before_the_first_byte(get, target, monkeypatch, content):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(content)))
    with pytest.raises(WeightsError, match=r"GB free.* are needed"):
        get()
    assert not list(target.parent.glob("*.part"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_an_error_of_one_sentence(get, target):
    target.parent.mkdir()
    (target.parent / "file.pth.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match=r"file\.pth\.part cannot be written: No space left"):
        get()
    assert not target.exists()


def test_a_folder_that_cannot_be_made_is_an_error(get, target):
    target.parent.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot be written"):
        get()


def test_a_missing_file_names_address_and_answer(get, server):
    del server.files[PATH]
    with pytest.raises(WeightsError, match=r"/a/file\.pth: the server answered 404"):
        get()
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_once_something_has_arrived(get, target, content, server):
    server.cuts, server.statuses = [9 * PIECE], [200, 503]
    get()
    assert target.read_bytes() == content


def test_no_network_is_told_without_waiting(get, target, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with pytest.raises(Cut):
        get(address=refused_address())
    assert not target.exists()
