"""A background thread that makes items ahead, and leaves nothing behind."""

import threading
from itertools import count
from queue import SimpleQueue

import pytest

from masa_cli.sources.prefetch import done_ahead, live, prefetch

LONG = 10  # seconds; only a hang takes that long


def threads():
    return [each for each in threading.enumerate() if each.name.startswith(("prefetch", "ahead"))]


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert threads() == []


class Recorded:
    """Counts up for ever and tells what was asked of it."""

    def __init__(self):
        self.made = SimpleQueue()
        self.closed_in = None

    def items(self):
        try:
            for number in count():
                self.made.put(number)
                yield number
        finally:
            self.closed_in = threading.current_thread()


@pytest.mark.parametrize("depth", [1, 2, 5, 100])
@pytest.mark.parametrize("num_items", [0, 1, 2, 50])
def test_items_are_the_same_in_the_same_order(depth: int, num_items: int):
    assert list(prefetch(range(num_items), depth)) == list(range(num_items))


def test_items_that_are_none_or_errors_are_items():
    items = [None, StopIteration(), ValueError("kept"), (1, 2), ()]
    assert list(prefetch(items, 2)) == items


def test_nothing_is_read_before_the_first_item_is_asked_for():
    recorded = Recorded()
    ahead = prefetch(recorded.items(), 3)
    assert threads() == []
    assert recorded.made.empty()
    ahead.close()


@pytest.mark.parametrize("depth", [1, 3])
def test_as_many_as_asked_for_are_made_ahead_and_not_more(depth: int):
    recorded = Recorded()
    ahead = prefetch(recorded.items(), depth)
    for given in range(5):
        assert next(ahead) == given
        # Item `given` is with us, `depth` more are made without being asked for.
        while recorded.made.get(timeout=LONG) < given + depth:
            pass
        recorded.made.put(given + depth)  # for the next round
        threads()[0].join(0.01)  # time for one too many
        assert recorded.made.qsize() == 1
    ahead.close()


def test_items_are_made_while_others_are_used():
    made = threading.Event()

    def items():
        yield "first"
        made.set()
        yield "second"

    ahead = prefetch(items(), 1)
    assert next(ahead) == "first"
    assert made.wait(LONG)  # nobody has asked for the second
    assert next(ahead) == "second"
    ahead.close()


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_comes_after_the_items_before_it(error: BaseException):
    def items():
        yield 1
        yield 2
        raise error

    ahead = prefetch(items(), 5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(type(error)) as raised:
        next(ahead)
    assert raised.value is error
    assert threads() == []
    assert list(ahead) == []


def test_what_cannot_be_iterated_raises_here():
    with pytest.raises(TypeError, match="not iterable"):
        next(prefetch(5, 1))


@pytest.mark.parametrize("num_used", [1, 2, 7])
def test_closing_closes_the_items_in_their_own_thread(num_used: int):
    recorded = Recorded()
    ahead = prefetch(recorded.items(), 2)
    for _ in range(num_used):
        next(ahead)
    (thread,) = threads()
    ahead.close()
    assert recorded.closed_in is thread
    assert not thread.is_alive()


def test_an_error_of_the_user_of_the_items_stops_the_thread():
    recorded = Recorded()

    def use():
        for number in prefetch(recorded.items(), 2):
            if number == 3:
                raise RuntimeError("user")

    with pytest.raises(RuntimeError, match="user"):
        use()
    assert threads() == []  # the generator was dropped, which closes it
    assert recorded.closed_in is not None


def test_the_end_closes_the_items():
    closed = []

    class Items:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def close(self):
            closed.append(True)

    assert list(prefetch(Items(), 1)) == []
    assert closed == [True]


def test_a_depth_below_one_is_refused_at_once():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        prefetch([1], 0)


class TestLive:
    def never(self):
        return False

    def test_the_same_items_in_the_same_order(self):
        assert list(live(range(20), 3, newest_only=False, stop=self.never)) == list(range(20))

    def test_what_the_source_raises_comes_after_the_items_before(self):
        def broken():
            yield 1
            raise KeyError("x")

        items = live(broken(), 3, newest_only=False, stop=self.never)
        assert next(items) == 1
        with pytest.raises(KeyError):
            next(items)

    def test_a_silent_source_does_not_keep_it_from_stopping(self):
        silence, asked = threading.Event(), []

        def silent():
            yield 1
            silence.wait(LONG)
            yield 2

        items = live(silent(), 3, newest_only=False, stop=lambda: bool(asked))
        assert next(items) == 1
        asked.append(True)
        assert list(items) == []
        silence.set()

    def test_only_the_newest_is_given_where_that_is_wanted(self):
        taken, ahead = threading.Event(), threading.Event()

        def fast():
            yield "first"
            taken.wait(LONG)
            yield from range(100)
            ahead.set()
            yield "last"

        items = live(fast(), 1, newest_only=True, stop=self.never)
        assert next(items) == "first"
        taken.set()
        assert ahead.wait(LONG)  # the source never waits, though nobody takes anything
        rest = list(items)
        assert rest[-1] == "last"
        assert len(rest) <= 2


def doubled_ahead(items, number, function=lambda x: 2 * x):
    return done_ahead(function, (x for x in items), number)


@pytest.mark.parametrize("number", [0, 1, 2, 5])
@pytest.mark.parametrize("num_items", [0, 1, 2, 30])
def test_what_is_done_ahead_comes_in_order(number, num_items):
    assert list(doubled_ahead(range(num_items), number)) == [2 * x for x in range(num_items)]


def test_so_many_are_done_at_a_time_beside_the_one_in_use():
    meeting, others = threading.Barrier(2), []

    def meet(item):
        others.append(threading.current_thread())
        if item:  # the first is alone
            meeting.wait(timeout=LONG)
        return item

    assert list(doubled_ahead(range(9), 2, meet)) == list(range(9))
    assert others[0] is threading.current_thread()
    assert threading.current_thread() not in others[1:]


def test_nothing_is_begun_before_the_first_is_done():
    """It may convert networks that all of them need."""
    begun = []

    def slow(item):
        begun.append(item)
        if item == 0:
            threading.Event().wait(0.05)
            assert begun == [0]
        return item

    assert list(doubled_ahead(range(3), 2, slow)) == [0, 1, 2]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("broken", ["function", "items"])
def test_an_error_comes_after_what_was_made_of_the_items_before(number, broken):
    def items():
        yield from (1, 2)
        if broken == "items":
            raise ValueError("broken")
        yield from (3, 4)

    def function(item):
        if item == 3:
            raise ValueError("broken")
        return item

    given = []
    with pytest.raises(ValueError, match="broken"):
        given.extend(done_ahead(function, items(), number))
    assert given == [1, 2]


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("num_used", [0, 1, 4])
def test_items_are_closed_here_when_no_more_is_wanted(number, num_used):
    recorded = Recorded()
    ahead = done_ahead(str, recorded.items(), number)
    for _ in range(num_used):
        next(ahead)
    ahead.close()
    assert threads() == []
    assert recorded.closed_in is (threading.current_thread() if num_used else None)
