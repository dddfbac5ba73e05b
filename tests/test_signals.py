import os
import signal
import threading

import pytest

from trustmm.signals import Terminated, termination_as_exception


def test_sigterm_is_raised_and_the_old_handler_returns():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match="SIGTERM"), termination_as_exception():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_sigterm_does_not_interrupt_the_cleaning_up():
    cleaned = []

    def job():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)

    with pytest.raises(Terminated), termination_as_exception():
        job()
    assert cleaned


def test_no_except_exception_swallows_it():
    assert not issubclass(Terminated, Exception)


def test_another_thread_runs_its_block_and_installs_nothing():
    seen = []

    def work():
        with termination_as_exception():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
