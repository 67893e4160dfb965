"""The page in a real browser: it plays, mends, and keeps what was mended."""

import json

import pytest

from masa_cli import formats
from tests.review.browser import browser, opened_page, reviewing
from tests.review.conftest import NUM_FRAMES
from tests.review.tables import shown

STRAIGHT = [(frame, 5.0 + frame) for frame in range(NUM_FRAMES)]


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture
def address(clip):
    with reviewing(*clip) as address:
        yield address


@pytest.fixture
def page(chromium, address):
    with opened_page(chromium, address) as page:
        yield page


def log_of(clip):
    path = clip[1].with_name("tracks.edits.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()[1:]] if path.exists() else []


def frame_of(page):
    """The frame that is told, and the one that the video shows."""
    return page.evaluate(
        "() => [review.player.frame,"
        " review.player.indexAt(document.getElementById('video').currentTime)]"
    )


def settled(page):
    """Wait until the video shows what is wanted."""
    for _ in range(100):
        if page.evaluate("() => !review.player.pending && !review.busy"):
            return
        page.wait_for_timeout(20)
    raise AssertionError("the page does not come to rest")


def boxes_of(page, id_):
    return page.evaluate(
        "(id) => [...review.store.tracks.get(id)?.frames ?? []].map((frame, row) =>"
        " [frame, review.store.tracks.get(id).box(row)[0]])",
        id_,
    )


def test_it_opens_and_shows_every_identity(page):
    assert page.locator("#title").text_content() == "tracks.jsonl"
    assert page.locator("#count").text_content() == "2 of 2"
    assert page.evaluate("() => document.getElementById('video').videoWidth") == 96
    drawn = page.evaluate(
        "() => { const c = document.getElementById('overlay');"
        " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean); }"
    )
    assert drawn


def test_steps_are_single_frames(page):
    for wanted in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        settled(page)
        assert frame_of(page) == [wanted, wanted]
    page.keyboard.press("Shift+ArrowRight")
    settled(page)
    assert frame_of(page) == [13, 13]
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert frame_of(page) == [12, 12]


def test_it_plays_to_the_end(page):
    page.keyboard.press("Space")
    page.wait_for_timeout(2500)
    settled(page)
    assert frame_of(page)[0] == NUM_FRAMES - 1


def test_a_swap_is_mended_undone_and_done_again_with_keys(page, clip):
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    page.keyboard.press("Shift+]")
    page.keyboard.press("x")
    page.locator("#status", has_text="done: swap 1 and 2 from frame 15").wait_for()
    assert [tuple(each) for each in boxes_of(page, 1)] == STRAIGHT
    page.keyboard.press("Control+z")
    page.locator("#status", has_text="undo: done").wait_for()
    assert [tuple(each) for each in boxes_of(page, 1)] != STRAIGHT
    page.keyboard.press("Control+y")
    page.locator("#status", has_text="redo: done").wait_for()
    assert [tuple(each) for each in boxes_of(page, 1)] == STRAIGHT
    assert [line["edit"] for line in log_of(clip)] == ["swap", "undo", "redo"]


def test_reloading_keeps_edits(page, clip):
    page.evaluate("() => review.attempt({edit: 'rename', id: 2, to: 9})")
    page.locator("#status", has_text="done: rename").wait_for()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("() => [...review.store.tracks.keys()]") == [1, 9]
    assert page.locator("#tab-edits").text_content() == "Edits (1)"


def test_saving_writes_what_is_shown(page, clip):
    page.evaluate("() => review.attempt({edit: 'rename', id: 2, to: 9})")
    page.locator("#status", has_text="done: rename").wait_for()
    page.keyboard.press("Control+s")
    page.locator("dialog select[name=format]").select_option("cvat")
    page.locator("dialog button.main").click()
    page.locator("#status", has_text="saved").wait_for()
    saved = formats.read_tracks(clip[1].with_name("tracks-reviewed.cvat.xml"))
    assert set(shown(saved)) == {1, 9}
