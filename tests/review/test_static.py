"""The page as one file: it opens without a server, and shows without mending."""

import re
from dataclasses import replace

import numpy as np
import pytest

from masa_cli import formats
from masa_cli.errors import OutputError
from masa_cli.masks import pack
from masa_cli.review import static
from masa_cli.review.server import page_file
from masa_cli.review.session import open_review
from masa_cli.review.static import write_static
from tests.review.browser import browser, opened_page
from tests.review.conftest import write_tracks

MASK = pack(np.ones((20, 10), np.bool_), (5, 5), (64, 96))
NAME = "</script><script>document.title='run'</script><!--"


@pytest.fixture
def page_of(review, tmp_path):
    """The written page, of tracks one of whose classes has markup for a name."""
    review.edit({"edit": "class", "id": 1, "label": NAME}, 0)
    target = tmp_path / "sent/out.html"
    return target, write_static(review, target)


def test_a_small_video_is_inside(page_of):
    target, written = page_of
    assert written == [target]
    assert [path.name for path in target.parent.iterdir()] == ["out.html"]


def test_nothing_is_fetched_and_no_name_ends_a_script(page_of):
    text = page_of[0].read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "https://" not in text
    assert NAME not in text
    assert text.count("</script>") == text.count("<script")


def test_a_large_video_is_beside(review, tmp_path, monkeypatch):
    monkeypatch.setattr(static, "MAX_INSIDE", 10)
    target = tmp_path / "sent/out.html"
    assert write_static(review, target) == [target, target.with_suffix(".mp4")]
    assert target.with_suffix(".mp4").read_bytes() == review.video.path.read_bytes()
    assert '"video":"out.mp4"' in target.read_text()


def test_too_many_tracks_are_refused(review, tmp_path, monkeypatch):
    monkeypatch.setattr(static, "MAX_TRACKS", 10)
    with pytest.raises(OutputError, match="too many for one page"):
        write_static(review, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


@pytest.fixture
def masked(clip, tmp_path):
    """A review in which everyone has a mask in the first ten frames."""
    video, tracks = clip
    table = formats.read_tracks(tracks)
    masks = np.where(table.frames < 10, np.array(MASK, object), None)
    write_tracks(tracks, replace(table, tracks=replace(table.tracks, masks=masks)))
    with open_review(video, tracks, tmp_path / "edits.jsonl") as opened:
        yield opened


def test_masks_are_inside(masked, tmp_path):
    masked.edit({"edit": "delete", "id": 2}, 0)
    target = tmp_path / "out.html"
    write_static(masked, target)
    with browser() as chromium, opened_page(chromium, target.as_uri()) as page:
        page.wait_for_function("() => review.masksOf(0)")
        assert page.evaluate("() => review.masksOf(0)") == {
            "size": [64, 96],
            "masks": {"1": MASK.counts},
        }
        assert page.evaluate("() => review.store.tracks.get(1).flags[0]") == 2
        assert page.evaluate("() => review.masksOf(9).masks['1']") == MASK.counts


def test_more_masks_than_a_page_opens_with_are_left_out_and_it_is_said(
    masked, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(static, "MAX_MASKS", 100)
    target = tmp_path / "out.html"
    write_static(masked, target)
    assert "is written without its masks" in caplog.text
    with browser() as chromium, opened_page(chromium, target.as_uri()) as page:
        assert page.evaluate("() => review.store.tracks.get(1).flags[0]") == 0


def test_what_is_there_is_replaced_only_if_asked(review, tmp_path):
    target = tmp_path / "out.html"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_static(review, target)
    assert write_static(review, target, overwrite=True) == [target]


def test_no_input_is_ever_replaced(review):
    with pytest.raises(OutputError, match="is an input"):
        write_static(review, review.video.path.with_suffix(".html").with_name("tracks.jsonl"))


def test_all_modules_of_the_page_are_inside():
    imported = re.findall(static._IMPORT, page_file("main.js").decode())
    for name in imported:
        assert name in static._MODULES
    for name in static._MODULES:
        assert set(re.findall(static._IMPORT, page_file(f"{name}.js").decode())) <= set(
            static._MODULES
        )


def test_it_opens_in_a_browser_and_cannot_edit(page_of):
    with browser() as chromium, opened_page(chromium, page_of[0].as_uri()) as page:
        assert page.title() == "tracks.jsonl"
        assert page.locator("#count").text_content() == "2 of 2"
        assert page.evaluate("() => document.getElementById('video').videoWidth") == 96
        page.keyboard.press("]")
        page.locator("#selected .name", has_text=NAME).wait_for()
        assert not page.locator("#undo").is_visible()
        assert page.locator("#selected button").count() == 0
        page.keyboard.press("s")
        assert page.evaluate("() => review.store.tracks.size") == 2
