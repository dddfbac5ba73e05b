"""SIGTERM as an exception, so that a killed job can say so before it goes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_TERM, _INT = signal.SIGTERM, signal.SIGINT
_reasons: list[str] = []
GOES_ON = "repeat the command to continue where it stopped"
"""What an interrupted command says last."""


class Terminated(BaseException):
    """The process was asked to end; like KeyboardInterrupt, no `except Exception` swallows it."""


@contextmanager
def termination_as_exception() -> Iterator[None]:
    """Raise `Terminated` in the main thread when SIGTERM arrives; the handler from before returns at the end.

    Only the first signal raises: schedulers repeat it, and the second must not interrupt the cleaning up after the
    first. Does nothing outside the main thread, where Python installs no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise Terminated(_reasons[-1] if _reasons else "received SIGTERM")


@contextmanager
def signals_wait() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C wait for the end of the block: an exception inside a transaction leaves its lock held.

    Does nothing outside the main thread, where no signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda which, _: came.append(which)) for number in (_TERM, _INT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])


def explain_termination(reason: str) -> None:
    """Say why a SIGTERM that follows comes, for whoever reads the exception's message."""
    _reasons.append(reason)
