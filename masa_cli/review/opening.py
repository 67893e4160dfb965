"""A review that is opened in a thread, while its page is there already and tells how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from types import TracebackType

from masa_cli.review.session import Review
from masa_cli.review.video import PlayableVideo

_UNTIL_TOLD = 3.0  # seconds in which a page asks how far it is, and hears what is wrong
_UNTIL_STOPPED = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """What is being done.

    Attributes:
        text: in words.
        share: of it that is done, from 0 to 1; None where that is not known.
    """

    text: str
    share: float | None = None


class _StoppedError(Exception):
    """Nobody waits for the review any more."""


class Opening:
    """Opens a review in a thread of its own. A context manager, which closes the review, too.

    Args:
        opens: makes the review; is given this, to `tell` and to `show`.
        on_step: is called with each step, in that thread.
    """

    def __init__(
        self,
        opens: Callable[[Opening], Review],
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self.step = Step("opening")
        self.video: PlayableVideo | None = None  # once one is known that browsers play
        self.is_told = False  # to a page, what went wrong
        self._opens, self._on_step = opens, on_step
        self._is_stopped, self._failed_at = False, 0.0
        self._future: Future[Review] = Future()
        # A daemon: what is read or made for nobody does not hold up the end of the program.
        self._thread = threading.Thread(target=self._run, name="open review", daemon=True)
        self._thread.start()

    def review(self, seconds: float | None = 0.0) -> Review | None:
        """The review; None if it is not open yet. Raises what kept it from being opened.

        Args:
            seconds: to wait for it; None: as long as it takes.
        """
        wait([self._future], seconds)
        return self._future.result() if self._future.done() else None

    def check(self) -> None:
        """Raise what kept the review from being opened, once a page could tell it."""
        is_over = self.is_told or time.monotonic() > self._failed_at + _UNTIL_TOLD
        if self._future.done() and self._future.exception() and is_over:
            self._future.result()

    def tell(self, text: str, share: float | None = None) -> None:
        """Note what is being done, for those who wait."""
        if self._is_stopped:
            raise _StoppedError
        self.step = Step(text, share)
        self._on_step(self.step)

    def show(self, video: PlayableVideo) -> None:
        """Note that the video can be looked at meanwhile."""
        self.video = video

    def __enter__(self) -> Opening:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_stopped = True
        self._thread.join(_UNTIL_STOPPED)
        if self._future.done() and not self._future.exception():
            self._future.result().close()

    def _run(self) -> None:
        try:
            self._future.set_result(self._opens(self))
        except BaseException as error:  # noqa: BLE001 - raised by who waits for the review
            self._failed_at = time.monotonic()
            self._future.set_exception(error)
