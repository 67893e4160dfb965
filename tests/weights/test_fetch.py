import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.weights.fetch import adopt, fetch, recognise
from masa_cli.weights.manifest import find_row, find_weights
from tests.weights.file_server import refused_address

PATH = "/a/some.pth"


def quiet(done, total):
    """No one looks on."""


@pytest.fixture
def some(set_manifest, server, content):
    """Make the manifest one file of the server."""
    server.files[PATH] = content

    def use(**known):
        known.setdefault("sha256", hashlib.sha256(content).hexdigest())
        known.setdefault("url", server.address + PATH)
        set_manifest({"name": "some", "summary": "s", "file": "some.pth"} | known)

    use()
    return use


def test_it_is_fetched_once_and_then_found(some, server, content, tmp_path):
    path = fetch("some", on_progress=quiet)
    assert path == tmp_path / "cache/masa/weights/some.pth"
    assert path.read_bytes() == content
    assert fetch("some", on_progress=quiet) == path == find_weights("some")
    assert len(server.asked) == 1


def test_it_goes_into_the_folder_of_the_user(some, tmp_path, monkeypatch):
    monkeypatch.setenv("MASA_WEIGHTS", str(tmp_path / "variable"))
    assert fetch("some", on_progress=quiet) == tmp_path / "variable/some.pth"
    path = fetch("some", tmp_path / "option", on_progress=quiet)
    assert path == tmp_path / "option/some.pth"


def test_what_lies_elsewhere_is_copied_into_the_folder_of_the_user(some, server, content, tmp_path):
    fetch("some", on_progress=quiet)
    path = fetch("some", tmp_path / "stick", on_progress=quiet)
    assert path.read_bytes() == content
    assert len(server.asked) == 1


def test_a_wrong_checksum_leaves_nothing(some, tmp_path):
    some(sha256="0" * 64)
    with pytest.raises(WeightsError, match="sha256") as caught:
        fetch("some", tmp_path, on_progress=quiet)
    assert "masa weights pull some" in caught.value.fix
    assert not list(tmp_path.glob("some.pth*"))


def test_no_network_says_what_was_wanted_and_how_to_go_on(some, tmp_path):
    some(url=refused_address() + PATH)
    with pytest.raises(WeightsError) as caught:
        fetch("some", tmp_path, on_progress=quiet)
    assert caught.value.problem == (
        'the weights "some" (some.pth, size unknown) could not be fetched: '
        "127.0.0.1 cannot be reached"
    )
    assert f"save it as {tmp_path / 'some.pth'}" in caught.value.fix
    assert PATH in caught.value.fix


def test_a_cut_connection_says_that_the_rest_can_follow(some, server, content, tmp_path):
    server.cuts = [1_500_000]
    with pytest.raises(WeightsError, match=r"the connection to 127.0.0.1 broke\n.* goes on with"):
        fetch("some", tmp_path, on_progress=quiet, waits=())
    assert fetch("some", tmp_path, on_progress=quiet).read_bytes() == content
    assert server.asked[-1][1] is not None


def test_unknown_weights_are_an_error(some):
    with pytest.raises(SettingsError, match='unknown weights "other"'):
        fetch("other", on_progress=quiet)


@pytest.fixture
def mine(tmp_path, content):
    path = tmp_path / "downloads/renamed (1).pth"
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def test_a_file_is_recognised_by_name_or_content(some, mine, tmp_path):
    assert recognise(mine).name == "some"
    by_name = tmp_path / "some.pth"
    by_name.touch()
    assert recognise(by_name).name == "some"


def test_a_stranger_is_not_recognised(some, mine, content):
    mine.write_bytes(content[::-1])
    with pytest.raises(WeightsError, match="none of the published files") as caught:
        recognise(mine)
    assert "--as NAME" in caught.value.fix
    with pytest.raises(WeightsError, match="not a file"):
        recognise(mine.parent)


@pytest.mark.parametrize("link", [False, True])
def test_a_file_of_the_user_is_taken_over(some, mine, content, tmp_path, link):
    path = adopt(mine, find_row("some"), tmp_path / "weights", link=link)
    assert path.read_bytes() == content
    assert path.is_symlink() == link
    assert [each.name for each in path.parent.iterdir()] == ["some.pth"]
    assert find_weights("some", tmp_path / "weights") == path
    assert adopt(path, find_row("some"), tmp_path / "weights") == path


def test_a_wrong_file_of_the_user_is_refused(some, mine, content, tmp_path):
    mine.write_bytes(content[::-1])
    with pytest.raises(WeightsError, match="sha256"):
        adopt(mine, find_row("some"), tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_a_copy_needs_room_first(some, mine, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(WeightsError, match=r"0\.00 GB free"):
        adopt(mine, find_row("some"), tmp_path / "weights")
    assert not list(Path(tmp_path / "weights").iterdir())
