"""Turns SIGTERM into an exception, so that a killed job can record its end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_TERM, _INT = signal.SIGTERM, signal.SIGINT
_reasons: list[str] = []
GOES_ON = "repeat the command to continue where it stopped"
"""The last words of an interrupted command."""
INTERRUPTED = 130
"""Its exit status, as a shell has it."""


class Terminated(BaseException):
    """The process was asked to end. As with KeyboardInterrupt, no `except Exception` catches it."""


@contextmanager
def termination_as_exception() -> Iterator[None]:
    """Raise `Terminated` in the main thread when SIGTERM arrives; the previous handler is restored at the end.

    Only the first signal raises: schedulers repeat it, and the second must not interrupt the clean-up after the first.
    Does nothing outside the main thread, where Python installs no handlers.
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
    """Delay SIGTERM and Ctrl-C until the end of the block: an exception inside a transaction would leave its lock held.

    Does nothing outside the main thread, which receives no signals.
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
    """Give the reason for a SIGTERM that is about to follow; it becomes the exception's message."""
    _reasons.append(reason)
