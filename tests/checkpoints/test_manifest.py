import pytest

from masa_cli.checkpoints.manifest import (
    WeightsFile,
    find_row,
    load_manifest,
    needed_for,
    readable_size,
)
from masa_cli.errors import SettingsError

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
