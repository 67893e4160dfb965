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


def test_while_dragging_pictures_from_nearby_are_shown_and_then_the_right_one(page):
    page.evaluate("() => { review.player.keys = [0, 0.8]; review.player.seek(29, true); }")
    page.locator("#overlay.ahead").wait_for()
    assert frame_of(page)[0] == 29
    page.wait_for_function(
        "() => review.player.nearby === null && !review.player.pending"
        " && review.player.indexAt(review.player.video.currentTime) === 29"
    )
    page.locator("#overlay:not(.ahead)").wait_for()


def test_within_a_stretch_the_picture_itself_is_shown(page):
    page.evaluate(
        "() => { const player = review.player; player.keys = [0, 0.8]; player.seek(24);"
        " player.seek(28, true); }"
    )
    page.wait_for_function(
        "() => !review.player.pending"
        " && review.player.indexAt(review.player.video.currentTime) === 28"
    )
    assert page.evaluate("() => review.player.nearby") is None


def test_it_plays_to_the_end(page):
    page.keyboard.press("Space")
    page.wait_for_function("() => review.player.video.ended")
    settled(page)
    assert frame_of(page)[0] == NUM_FRAMES - 1
    page.locator("#play", has_text="▶").wait_for()


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


def dump(page):
    """All that the page knows of tracks, and the list of edits."""
    return page.evaluate(
        "() => [[...review.store.tracks.values()].map((track) => [track.id, track.label,"
        " ...['frames', 'boxes', 'scores', 'labels', 'flags'].map((name) => [...track[name]])]),"
        " review.classes, document.getElementById('edits').textContent]"
    )


def test_edits_of_every_kind_are_the_same_after_a_reload(page):
    edits = [
        {"edit": "split", "id": 1, "frame": 15, "new": 3},
        {"edit": "rename", "id": 1, "to": 8},
        {"edit": "class", "id": 8, "label": "dog"},
        {"edit": "merge", "id": 3, "into": 8},
        {"edit": "swap", "id": 8, "other": 2, "frame": 15},
        {"edit": "box", "id": 8, "frame": 10, "box": [20, 8, 31.25, 28]},
        {"edit": "interpolate", "id": 8, "first": 10, "last": 14},
        {"edit": "box", "id": 5, "frame": 3, "box": [1, 2, 9, 9], "label": "car"},
        {"edit": "delete", "id": 2, "first": 20},
        {"edit": "undo"},
        {"edit": "delete", "id": 2, "first": 0, "last": 4},
    ]
    for number, edit in enumerate(edits, start=1):
        page.evaluate("(edit) => review.attempt(edit)", edit)
        page.wait_for_function("(number) => review.state.revision === number", arg=number)
    before = dump(page)
    assert len(before[0]) == 3
    page.reload()
    page.wait_for_selector("body[data-ready]")
    tracks, *rest = dump(page)
    by_id = {track[0]: track for track in tracks}
    assert rest == before[1:]
    for track in before[0]:
        again = by_id[track[0]]
        assert (again[:3], again[5:]) == (track[:3], track[5:])
        # An edit tells boxes and scores with a few digits, all tracks are told as float32.
        assert again[3] == pytest.approx(track[3], abs=1e-3)
        assert again[4] == pytest.approx(track[4], abs=1e-4)


def test_places_are_looked_for_again_after_an_edit(page):
    page.locator("#tab-places", has_text="Suspicious (2)").wait_for()
    page.keyboard.press("n")
    assert page.evaluate("() => [review.place, review.player.frame]") == [0, 15]
    page.evaluate("() => review.attempt({edit: 'swap', id: 1, other: 2, frame: 15})")
    done(page, "swap")
    page.locator("#tab-places", has_text="Suspicious (0)").wait_for()
    assert page.locator("#places").text_content() == "none found"
    page.keyboard.press("u")
    page.locator("#tab-places", has_text="Suspicious (2)").wait_for()
    page.keyboard.press("n")
    assert page.evaluate("() => [review.place, review.player.frame]") == [0, 15]


def test_saving_writes_what_is_shown(page, clip):
    page.evaluate("() => review.attempt({edit: 'rename', id: 2, to: 9})")
    page.locator("#status", has_text="done: rename").wait_for()
    page.keyboard.press("Control+s")
    page.locator("dialog select[name=format]").select_option("cvat")
    page.locator("dialog button.main").click()
    page.locator("#status", has_text="saved").wait_for()
    saved = formats.read_tracks(clip[1].with_name("tracks-reviewed.cvat.xml"))
    assert set(shown(saved)) == {1, 9}


def done(page, text):
    page.locator("#status", has_text=f"done: {text}").wait_for()


def answer(page, **values):
    """Fill in the dialog, and confirm it with Enter."""
    for name, value in values.items():
        field = page.locator(f"dialog [name={name}]")
        if field.evaluate("(field) => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))
    page.keyboard.press("Enter")


def test_every_edit_is_made_with_keys_alone(page, clip):
    keys = page.keyboard
    keys.press("]")
    keys.press("Home")
    for _ in range(15):
        keys.press("ArrowRight")
    keys.press("s")
    done(page, "split 1 at frame 15: 3 from there on")
    keys.press("r")
    answer(page, to=8)
    done(page, "rename 1 to 8")
    keys.press("c")
    answer(page, label="dog")
    done(page, "8 is a dog")
    keys.press("/")
    keys.type("3")
    keys.press("Enter")
    keys.press("m")
    answer(page, into=8)
    done(page, "merge 3 into 8")
    keys.press("x")
    answer(page, other=2)
    done(page, "swap 8 and 2 from frame 15")
    keys.press("b")
    for _ in range(3):
        keys.press("ArrowDown")
    keys.press("Shift+ArrowRight")
    keys.press("Enter")
    done(page, "box of 8 in frame 15")
    box = page.evaluate("() => [...review.store.tracks.get(8).box(15)]")
    assert box == [20, 8, 31, 28]
    keys.press("i")
    answer(page, first=0, last=15)
    done(page, "interpolate 8 from frame 0 to 15")
    keys.press("d")
    answer(page, id=5, label="car")
    keys.press("ArrowRight")
    keys.press("Enter")
    done(page, "box of 5 in frame 15")
    keys.press("Delete")
    answer(page, what="all")
    done(page, "delete 5")
    for number in range(9):
        keys.press("u")
        page.locator("#tab-edits", has_text=f"Edits ({8 - number})").wait_for()
    assert page.evaluate("() => [...review.store.tracks.keys()].sort()") == [1, 2]
    lines = [line["edit"] for line in log_of(clip)]
    edits = ["split", "rename", "class", "merge", "swap", "box", "interpolate", "box", "delete"]
    assert lines == [*edits, *["undo"] * 9]


def at(page, x, y):
    """Where a pixel of the video is on the screen."""
    return page.evaluate(
        "([x, y]) => { const v = review.stage.view, r = review.stage.canvas"
        ".getBoundingClientRect(); return [r.left + v.left + x * v.scale,"
        " r.top + v.top + y * v.scale]; }",
        [x, y],
    )


def drag(page, start, end):
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=4)
    page.mouse.up()


def test_boxes_are_selected_dragged_and_drawn_with_the_mouse(page):
    page.mouse.click(*at(page, 10, 15))
    assert page.evaluate("() => review.selection") == [1]
    page.keyboard.down("Shift")
    page.mouse.click(*at(page, 75, 15))
    page.keyboard.up("Shift")
    assert page.evaluate("() => review.selection") == [1, 2]
    drag(page, (10, 15), (30, 35))
    done(page, "box of 1 in frame 0")
    box = page.evaluate("() => [...review.store.tracks.get(1).box(0)]")
    assert box == pytest.approx([25, 25, 35, 45], abs=0.5)
    drag(page, (35, 45), (45, 55))  # its lower right corner
    page.locator("#tab-edits", has_text="Edits (2)").wait_for()
    box = page.evaluate("() => [...review.store.tracks.get(1).box(0)]")
    assert box == pytest.approx([25, 25, 45, 55], abs=0.5)
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    answer(page, id=4, label="car")
    drag(page, (50, 40), (60, 60))
    done(page, "box of 4 in frame 0")
    box = page.evaluate("() => [...review.store.tracks.get(4).box(0)]")
    assert box == pytest.approx([50, 40, 60, 60], abs=0.5)


def test_what_cannot_be_done_is_said_and_another_window_is_noticed(chromium, page, address):
    page.keyboard.press("]")
    page.keyboard.press("s")
    page.locator("#status.wrong", has_text="has boxes only").wait_for()
    page.keyboard.press("m")
    answer(page, into=2)
    page.locator("dialog .wrong", has_text="both seen in 30 frames").wait_for()
    page.keyboard.press("Escape")
    other = chromium.new_page()
    other.goto(address)
    other.wait_for_selector("body[data-ready]")
    other.evaluate("() => review.attempt({edit: 'rename', id: 2, to: 9})")
    done(other, "rename")
    other.close()
    with page.expect_navigation():
        page.evaluate("() => { review.attempt({edit: 'delete', id: 1}) }")
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("() => [...review.store.tracks.keys()]") == [1, 9]


def test_an_edit_that_is_not_confirmed_is_given_up_and_the_next_one_is_made(page):
    page.route("**/api/edit", lambda route: None, times=1)
    page.evaluate(
        "async () => { const api = await import(new URL('api.js', location).href);"
        " api.patience.seconds = 0.5; await review.attempt({edit: 'delete', id: 2});"
        " api.patience.seconds = 60; }"
    )
    page.locator("#status.wrong", has_text="is not done yet: reload the page").wait_for()
    page.evaluate("() => review.attempt({edit: 'split', id: 1, frame: 10, new: 7})")
    done(page, "split 1 at frame 10")


def test_suspicious_places_are_walked_through(page):
    page.locator("#places button").first.wait_for()
    count = page.evaluate("() => review.places.length")
    assert count
    page.keyboard.press("n")
    settled(page)
    assert frame_of(page)[0] == page.evaluate("() => review.places[0].frame")
    assert page.locator("#places button[aria-current=true]").count() == 1


def test_filters_leave_what_passes(page):
    page.locator("#filter-id").fill("2")
    assert page.locator("#count").text_content() == "1 of 2"
    page.locator("#filter-id").fill("")
    page.locator("#filter-length").fill("31")
    assert page.locator("#count").text_content() == "0 of 2"
    page.locator("#filter-length").fill("0")
    page.locator("#filter-class").select_option("person")
    assert page.locator("#count").text_content() == "2 of 2"


def test_names_with_markup_are_shown_as_they_are(page):
    name = "<img src=x onerror=alert(1)>"
    page.on("dialog", lambda dialog: pytest.fail("a name was run"))
    page.evaluate("(label) => review.attempt({edit: 'class', id: 1, label})", name)
    done(page, f"1 is a {name}")
    page.keyboard.press("]")
    page.locator("#selected .name", has_text=name).wait_for()
    page.locator("#tab-edits").click()
    assert page.locator("#edits li").text_content() == f"1 is a {name}"
    assert page.locator("img").count() == 0


def test_dark_and_narrow_windows_have_all_of_it(chromium, address):
    light = "() => getComputedStyle(document.body).backgroundColor"
    with opened_page(chromium, address) as page:
        bright = page.evaluate(light)
    settings = {"viewport": {"width": 360, "height": 700}, "color_scheme": "dark"}
    with opened_page(chromium, address, **settings) as page:
        assert page.evaluate(light) != bright
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 360
        for name in ("#overlay", "#play", "#scrub", "#places", "#filter-id", "#lanes", "#save"):
            box = page.locator(name).bounding_box()
            assert box["width"] > 20, name
            assert box["height"] > 20, name
            assert box["x"] + box["width"] <= 361, name


def test_the_keyboard_reaches_everything(page):
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
    wanted = {"save", "help", "overlay", "play", "scrub", "speed", "tab-places", "tab-edits"}
    assert wanted | {"filter-id", "filter-class", "order", "lanes", "zoom-in"} <= reached
