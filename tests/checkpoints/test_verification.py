import hashlib
import pickle

import pytest

from masa_cli.checkpoints.manifest import WeightsFile
from masa_cli.checkpoints.verification import verify
from masa_cli.errors import WeightsError


def row(**known):
    return WeightsFile(name="some", summary="s", file="some.pth", url="https://x.org/a", **known)


@pytest.fixture
def file(tmp_path, content):
    path = tmp_path / "some.pth"
    path.write_bytes(content)
    return path


def test_the_whole_sha256_is_compared(file, content):
    digest = hashlib.sha256(content).hexdigest()
    assert verify(file, row(sha256=digest, bytes=len(content))) == "sha256"
    with pytest.raises(WeightsError, match=f"begins with {digest[:12]}, not {'0' * 12}"):
        verify(file, row(sha256="0" * 64))


def test_first_digits_are_compared_and_said_to_be_only_that(file, content):
    digits = hashlib.sha256(content).hexdigest()[:8]
    assert verify(file, row(sha256=digits)) == f"first digits of sha256 ({digits})"
    with pytest.raises(WeightsError, match="sha256"):
        verify(file, row(sha256="00000000"))


def test_the_size_is_compared_before_anything_is_read(file, content):
    with pytest.raises(WeightsError, match=f"has {len(content)} bytes, expected 7"):
        verify(file, row(bytes=7, sha256="0" * 64))


def test_progress_reaches_the_end(file, content):
    told = []
    digest = hashlib.sha256(content).hexdigest()
    verify(file, row(sha256=digest), on_bytes=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(content), len(content))


def test_without_a_checksum_the_archive_is_tested(file):
    assert verify(file, row()) == "checksums inside the archive"


@pytest.mark.parametrize("length", [0, 100, 1_500_000])
def test_a_cut_archive_is_found(file, content, length):
    file.write_bytes(content[:length])
    with pytest.raises(WeightsError, match=r"some\.pth is not the file.*cut off, or no checkpoint"):
        verify(file, row())


def test_a_changed_byte_in_an_archive_is_found(file, content):
    file.write_bytes(content[:700_000] + bytes([content[700_000] ^ 1]) + content[700_001:])
    with pytest.raises(WeightsError, match="archive/data/1 inside it is damaged"):
        verify(file, row())


def test_a_page_of_an_error_is_no_checkpoint(file):
    file.write_text("<html>Sign in to download</html>")
    with pytest.raises(WeightsError, match="no checkpoint"):
        verify(file, row())


def test_a_pickle_of_old_torch_cannot_be_judged(file):
    file.write_bytes(pickle.dumps({"state_dict": {}}, protocol=2))
    assert verify(file, row()) == "nothing published to compare with"


def test_what_the_hub_stores_is_compared_with_the_name_it_has_there(tmp_path, content):
    stored = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    stored.parent.mkdir()
    stored.write_bytes(content)
    link = tmp_path / "some.pth"
    link.symlink_to(stored)
    assert verify(link, row()) == "sha256"
    stored.write_bytes(content[::-1])
    with pytest.raises(WeightsError, match="sha256"):
        verify(link, row())
