"""What a slow run says about its length."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import get_ident

import pytest

from masa_cli.progress import RunProgress, duration


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "masa_cli")
    return lambda: caplog.messages


def after(progress, done, in_batch, seconds):
    """A batch, after which so many seconds were spent in networks."""
    progress.seconds = {"embed": seconds / 2, "detect": seconds / 2, "decode": 99.0}
    progress.after_batch(done, in_batch)


def expecting(num_frames):
    progress = RunProgress()
    progress.num_frames = num_frames
    return progress


def test_a_slow_run_says_once_what_a_frame_costs_and_what_is_left(said):
    progress = expecting(100)
    after(progress, 4, 4, 10.0)
    after(progress, 8, 4, 30.0)
    assert said() == ["a frame takes about 2.5 s here: about 4 min for the 96 that are left"]


def test_the_first_slow_batch_counts_alone(said):
    """A first frame without boxes costs nothing, and says nothing of the others."""
    progress = expecting(11)
    after(progress, 1, 1, 0.0)
    after(progress, 2, 1, 20.0)
    assert said() == ["a frame takes about 20 s here: about 3 min for the 9 that are left"]


def test_of_frames_side_by_side_the_wait_counts_not_what_each_thread_takes(said):
    progress = expecting(100)
    progress.seconds = {"detect": 12.0, "wait for boxes": 5.0, "embed": 1.0}
    progress.after_batch(4, 4)
    assert said() == ["a frame takes about 1.5 s here: about 2 min for the 96 that are left"]


def test_a_quick_run_says_nothing(said):
    progress = expecting(100)
    for done in range(1, 101):
        after(progress, done, 1, done * 0.9)
    assert said() == []


def test_without_the_number_of_frames_only_the_cost_is_said(said):
    after(expecting(None), 1, 1, 7.0)
    assert said() == ["a frame takes about 7.0 s here"]


def test_more_frames_than_expected_leave_none(said):
    after(expecting(3), 4, 4, 8.0)
    assert said()[0].endswith("about 0.0 s for the 0 that are left")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (8.24, "8.2 s"),
        (9.96, "10 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (6000, "1 h 40 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_durations_are_said_roughly(seconds, words):
    assert duration(seconds) == words


def test_stages_add_up(monkeypatch):
    clock = iter([0.0, 1.0, 5.0, 7.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = RunProgress()
    for _ in range(2):
        with watch.stage("embed"):
            pass
    assert watch.seconds == {"embed": 3.5}


def test_a_stage_of_several_threads_is_their_sum(monkeypatch):
    """Also where one is interrupted between reading what there is and writing the sum."""
    watch = RunProgress()
    meeting = threading.Barrier(2)

    class Slow(dict):
        def get(self, name, default):
            value = super().get(name, default)
            with suppress(threading.BrokenBarrierError):
                meeting.wait(timeout=0.2)
            return value

    watch.seconds = Slow()
    clock = {}
    monkeypatch.setattr(
        time,
        "perf_counter",
        lambda: clock.update({get_ident(): clock.get(get_ident(), 0.0) + 1}) or clock[get_ident()],
    )

    def once(_):
        with watch.stage("detect"):
            pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(once, range(2)))
    assert dict(watch.seconds) == {"detect": 2.0}


def test_a_stage_that_fails_is_measured_too():
    watch = RunProgress()
    with pytest.raises(KeyError), watch.stage("embed"):
        raise KeyError
    assert watch.seconds["embed"] >= 0


def test_a_stage_inside_another_counts_for_itself_alone(monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 12.0, 14.0, 15.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = RunProgress()
    with watch.stage("detect"):
        with watch.stage("load"):
            pass
        with watch.stage("load"):
            pass
    assert watch.seconds == {"load": 12.0, "detect": 3.0}


def test_stages_of_another_thread_are_not_inside(monkeypatch):
    times = {"main": iter([0.0, 10.0]), "other": iter([1.0, 4.0])}
    clock = lambda: next(times[threading.current_thread().name])  # noqa: E731
    monkeypatch.setattr(threading.current_thread(), "name", "main")
    monkeypatch.setattr(time, "perf_counter", clock)
    watch = RunProgress()

    def decode():
        with watch.stage("decode"):
            pass

    with watch.stage("detect"):
        thread = threading.Thread(target=decode, name="other")
        thread.start()
        thread.join()
    assert watch.seconds == {"decode": 3.0, "detect": 10.0}


def test_getting_ready_with_the_first_frame_is_not_what_a_frame_costs(said, monkeypatch):
    clock = iter([0.0, 1.0, 21.0, 21.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = expecting(100)
    with watch.stage("detect"), watch.stage("load"):
        pass
    watch.after_batch(1, 1)
    assert said() == ["a frame takes about 1.5 s here: about 2 min for the 99 that are left"]


def test_timed_items_are_the_same_items(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    watch = RunProgress()
    assert list(watch.timed("decode", iter([1, 2]))) == [1, 2]
    assert watch.seconds == {"decode": 3.0}  # two items, and finding out that there are no more


def test_closing_timed_items_closes_what_makes_them():
    closed = []

    def items():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    timed = RunProgress().timed("decode", items())
    next(timed)
    timed.close()
    assert closed == [True]
