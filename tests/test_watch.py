import time

import pytest

from masa_cli.watch import Watch


def test_stages_add_up(monkeypatch):
    clock = iter([0.0, 1.0, 5.0, 7.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Watch()
    for _ in range(2):
        with watch.stage("embed"):
            pass
    assert watch.seconds == {"embed": 3.5}


def test_a_stage_that_fails_is_measured_too():
    watch = Watch()
    with pytest.raises(KeyError), watch.stage("embed"):
        raise KeyError
    assert watch.seconds["embed"] >= 0


def test_timed_items_are_the_same_items(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    watch = Watch()
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

    timed = Watch().timed("decode", items())
    next(timed)
    timed.close()
    assert closed == [True]
