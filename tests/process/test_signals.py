import os
import signal
import threading

import pytest

from trustmm.process.signals import Terminated, signals_wait, termination_as_exception


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


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_waits_for_the_end_of_a_block_that_must_not_be_cut(number, expected):
    done = []

    def job():
        with signals_wait():
            os.kill(os.getpid(), number)
            done.append("transaction")
        done.append("not reached")

    with pytest.raises(expected), termination_as_exception():
        job()
    assert done == ["transaction"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_waits_leaves_the_error_of_the_block_visible():
    def job():
        with signals_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("of the block")

    with pytest.raises(Terminated) as caught, termination_as_exception():
        job()
    assert isinstance(caught.value.__context__, ValueError)


def test_without_signals_the_block_is_only_a_block():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with signals_wait():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
