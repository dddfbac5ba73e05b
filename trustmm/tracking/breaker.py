"""One circuit breaker for a server, of tracking or of a study: what it may cost a process is bounded, whatever it does.

A call runs in a thread of its own, so that Ctrl-C ends the waiting, and has `CALL_SECONDS`. A server that was too slow
once, or has failed for `TOTAL_SECONDS` in all, is left alone from then on, but for one last try at the end of a run.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from trustmm.tracking.redact import public

log = logging.getLogger(__name__)
T = TypeVar("T")
CALL_SECONDS, TOTAL_SECONDS, LAST_SECONDS, WORD_SECONDS = 15.0, 10.0, 8.0, 5.0
"""That one call may take; that failing calls may take in all; for the last try; until a word is said."""


class StoreSilentError(ConnectionError):
    """The server gave no answer in time, or is no longer asked."""


@dataclass
class Breaker:
    """What a process knows of one server."""

    uri: str
    open: bool = False
    """Whether it is left alone."""
    _lost: float = 0.0

    def call(self, do: Callable[[], T], *, last: bool = False) -> T:
        """What `do` returns within its time, or its exception.

        Args:
            do: talks to the server; it may be abandoned.
            last: whether this is the last try of a run, which is made even where the server is left alone.

        Raises: StoreSilentError where there was no answer in time, or the server is left alone.
        """
        if self.open and not last:
            raise StoreSilentError("the server is not contacted again until the end")
        started, seconds = time.monotonic(), LAST_SECONDS if last and self.open else CALL_SECONDS
        answer: list[Any] = []
        done = threading.Event()
        threading.Thread(target=_answer, args=(do, answer, done), daemon=True, name="tracking").start()
        try:
            self._wait(done, seconds)
        except BaseException:  # Ctrl-C: nobody wants to wait any more
            self.open = True
            raise
        value, error = answer[0]
        if error is None:
            return value
        self._lost += time.monotonic() - started
        self.open = self.open or self._lost >= TOTAL_SECONDS
        raise error

    def _wait(self, done: threading.Event, seconds: float) -> None:
        started, said = time.monotonic(), False
        while not done.wait(0.2):  # in short pieces: not every signal wakes a thread that waits
            waited = time.monotonic() - started
            if waited >= seconds:
                self.open = True
                raise StoreSilentError(f"no answer within {seconds:.0f} s")
            if waited >= WORD_SECONDS and not said:
                log.info("waiting for %s, at most %.0f s", public(self.uri), seconds)
                said = True


def _answer(do: Callable[[], Any], answer: list[Any], done: threading.Event) -> None:
    try:
        answer.append((do(), None))
    except BaseException as error:  # noqa: BLE001 - raised where it was asked
        answer.append((None, error))
    done.set()


@cache
def breaker_of(uri: str) -> Breaker:
    """The one of this process for a server."""
    return Breaker(uri)
