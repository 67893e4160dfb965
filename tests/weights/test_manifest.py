import hashlib
import pickle
import subprocess
import sys

import pytest

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.weights.manifest import (
    WeightsFile,
    find_row,
    find_weights,
    load_manifest,
    needed_for,
    readable_size,
    verify,
)

PUBLISHED = ("r50", "gdino", "detic", "sam-b", "sam-h")


def test_every_row_says_what_and_where_from():
    for name, row in load_manifest().items():
        assert row.name == name
        assert row.summary
        assert row.origin.startswith("https://")
        assert row.bytes is None or row.bytes > 10_000
        if row.sha256:
            assert len(row.sha256) in (8, 64)
            assert set(row.sha256) <= set("0123456789abcdef")


def test_names_and_file_names_are_unique():
    names = [name for row in load_manifest().values() for name in (row.name, row.file)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("adapter", PUBLISHED)
def test_a_published_adapter_needs_one_file_that_holds_everything(adapter):
    [row] = needed_for(adapter=adapter)
    assert row.hub == "dereksiyuanli/masa"
    assert row.name == adapter


def test_a_prompt_needs_the_detector_and_the_words():
    assert [row.name for row in needed_for(detector="gdino-swint")] == ["gdino-swint", "bert-vocab"]
    both = needed_for(adapter="gdino", detector="gdino")
    assert [row.name for row in both] == ["gdino", "bert-vocab"]


def test_an_untrained_adapter_needs_nothing():
    assert needed_for(adapter="raw") == []


@pytest.mark.parametrize("name", ["sam-h", "sam_vith_masa.pth"])
def test_a_row_is_found_by_its_name_or_by_the_file_s(name):
    assert find_row(name).file == "sam_vith_masa.pth"


def test_an_unknown_name_lists_all():
    with pytest.raises(SettingsError, match='unknown weights "sam"') as caught:
        find_row("sam")
    for name in load_manifest():
        assert name in caught.value.fix


def test_a_row_comes_from_a_hub_or_an_address():
    with pytest.raises(ValueError, match="either hub or url"):
        WeightsFile(name="a", summary="b", file="c")


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(12, "12 bytes"), (231_508, "231.5 kB"), (528_391_980, "528.4 MB"), (2_800_843_147, "2.8 GB")],
)
def test_sizes_are_readable(num_bytes, text):
    assert readable_size(num_bytes) == text


NAME = "masa_r50.pth"


def put(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).touch()
    return folder / NAME


def put_into_hub_cache(tmp_path):
    commit = "a" * 40
    repo = tmp_path / "hf/hub/models--dereksiyuanli--masa"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    return put(repo / "snapshots" / commit)


def test_the_folder_of_the_option_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MASA_WEIGHTS", str(tmp_path / "variable"))
    with pytest.raises(WeightsError):
        find_weights("r50", tmp_path / "option")
    in_order = [
        put_into_hub_cache(tmp_path),
        put(tmp_path / "cache/masa/weights"),
        put(tmp_path / "variable"),
        put(tmp_path / "option"),
    ]
    while in_order:
        assert find_weights("r50", tmp_path / "option") == in_order.pop()
        find_weights("r50", tmp_path / "option").unlink()


def test_a_missing_file_says_what_to_type_and_where_to_put_it(tmp_path):
    with pytest.raises(WeightsError) as caught:
        find_weights("r50", tmp_path)
    assert '"r50" (masa_r50.pth, 528.4 MB)' in caught.value.problem
    assert "masa weights pull r50" in caught.value.fix
    assert "https://huggingface.co/dereksiyuanli/masa/resolve/main/masa_r50.pth" in caught.value.fix
    assert str(tmp_path / NAME) in caught.value.fix


def test_without_a_folder_it_is_put_into_the_user_s_cache(tmp_path):
    with pytest.raises(WeightsError) as caught:
        find_weights("r50")
    assert str(tmp_path / "cache/masa/weights" / NAME) in caught.value.fix


def test_finding_loads_neither_torch_nor_the_network(tmp_path):
    put(tmp_path)
    code = (
        "import sys; from pathlib import Path; from masa_cli.weights import find_weights\n"
        f"find_weights('r50', Path({str(tmp_path)!r}))\n"
        "heavy = {'torch', 'numpy', 'requests', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
    with pytest.raises(WeightsError, match=r"some\.pth is not the file.*or no file of weights"):
        verify(file, row())


def test_a_changed_byte_in_an_archive_is_found(file, content):
    file.write_bytes(content[:700_000] + bytes([content[700_000] ^ 1]) + content[700_001:])
    with pytest.raises(WeightsError, match="archive/data/1 inside it is damaged"):
        verify(file, row())


def test_a_page_of_an_error_is_no_checkpoint(file):
    file.write_text("<html>Sign in to download</html>")
    with pytest.raises(WeightsError, match="no file of weights"):
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
