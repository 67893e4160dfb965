"""A page that is there before its review is, and what keeps a review from being opened."""

import threading
from contextlib import contextmanager

import pytest
from werkzeug.test import Client

from masa_cli.errors import SourceError
from masa_cli.review.opening import Opening
from masa_cli.review.server import HOST, ReviewApp, serve
from masa_cli.review.session import open_review
from tests.review.browser import READY, browser
from tests.review.test_server import PORT, TOKEN, get


class Slow:
    """Opens a review when it is let go on, having told how far it is."""

    def __init__(self, review):
        self.review, self.go_on, self.is_waiting = review, threading.Event(), threading.Event()
        self.problem = None

    def __call__(self, opening):
        opening.show(self.review.video)
        opening.tell("reading tracks", 0.25)
        self.is_waiting.set()
        self.go_on.wait(20)
        opening.tell("reading tracks", 0.5)
        if self.problem:
            raise self.problem
        return self.review


@pytest.fixture
def slow(review):
    return Slow(review)


@pytest.fixture
def opening(slow):
    with Opening(slow) as opening:
        slow.is_waiting.wait(20)
        yield opening
        slow.go_on.set()


@pytest.fixture
def app(opening, tmp_path):
    app = ReviewApp(opening, tmp_path, TOKEN)
    app.port = PORT
    return app


def test_a_page_is_told_how_far_it_is_and_then_the_review(app, slow, opening):
    client = Client(app)
    state = get(client, "api/state").json
    assert state == {"opening": {"text": "reading tracks", "share": 0.25}, "video": True}
    assert get(client, "video").status_code == 206
    for name in ("api/tracks", "api/times", "api/places"):
        assert get(client, name).status_code == 503
    slow.go_on.set()
    assert opening.review(None) is slow.review
    assert get(client, "api/state").json["frames"] == 30
    assert get(client, "api/tracks").status_code == 200


def test_what_goes_wrong_is_told_to_the_page_and_ends_the_program(app, slow, opening):
    client = Client(app)
    slow.problem = SourceError("tracks.jsonl line 7 is damaged", fix="mend it")
    app.check()
    slow.go_on.set()
    opening._thread.join(20)
    app.check()  # no page has heard of it yet
    answer = get(client, "api/state")
    assert answer.status_code == 422
    assert answer.json["problem"] == "tracks.jsonl line 7 is damaged"
    with pytest.raises(SourceError, match="line 7"):
        app.check()
    with pytest.raises(SourceError, match="line 7"):
        opening.review()


def test_what_is_read_for_nobody_is_left(slow):
    with Opening(slow) as opening:
        slow.is_waiting.wait(20)
        opening._is_stopped = True
        slow.go_on.set()
    assert not opening._thread.is_alive()
    assert opening._future.exception() is not None


def test_steps_of_opening_are_told(clip, tmp_path):
    video, tracks = clip
    steps, shown = [], []
    moved = video.rename(video.with_suffix(".mkv"))
    with open_review(
        moved,
        tracks,
        tmp_path / "e.jsonl",
        tell=lambda *step: steps.append(step),
        show=lambda video: shown.append(len(steps)),
    ):
        pass
    assert [text for text, _ in steps if text.startswith("making")][1:]
    assert [share for text, share in steps if text == "reading tracks"] == [None, 1.0]
    assert steps[-2] == ("making a video that browsers play", 1.0)
    assert shown == [len(steps) - 1]


@contextmanager
def served(app):
    ports, is_over = [], threading.Event()
    there = threading.Event()

    def ready(port):
        ports.append(port)
        there.set()

    def check():
        if is_over.is_set():
            raise KeyboardInterrupt

    app.check = check
    thread = threading.Thread(target=serve, args=(app, 0, ready))
    thread.start()
    there.wait(20)
    yield f"http://{HOST}:{ports[0]}/{app.token}/"
    is_over.set()
    thread.join(20)


def test_the_page_shows_the_video_while_tracks_are_read(app, slow):
    with browser() as chromium, served(app) as address:
        page = chromium.new_page()
        page.goto(address)
        page.locator("#opening", has_text="reading tracks (25 %)").wait_for()
        page.wait_for_function("() => document.getElementById('video').readyState >= 2")
        assert page.evaluate("() => document.getElementById('video').controls")
        page.evaluate("() => { document.getElementById('video').currentTime = 0.5 }")
        assert page.evaluate("() => document.getElementById('tracks').inert")
        slow.go_on.set()
        page.wait_for_selector(READY)
        assert not page.locator("#opening").is_visible()
        assert page.locator("#count").text_content() == "2 of 2"
        assert page.evaluate("() => review.player.frame") == 12
        assert not page.evaluate("() => document.getElementById('video').controls")


def test_the_page_tells_what_went_wrong(app, slow):
    with browser() as chromium, served(app) as address:
        page = chromium.new_page()
        page.goto(address)
        page.locator("#opening", has_text="reading tracks").wait_for()
        slow.problem = SourceError("tracks.jsonl line 7 is damaged", fix="mend it")
        slow.go_on.set()
        page.locator("#message", has_text="tracks.jsonl line 7 is damaged. mend it").wait_for()
        assert not page.locator("#opening").is_visible()
