from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from umseg.training.loop.stop import StopRequest


def test_nobody_asked() -> None:
    with StopRequest() as stop:
        assert not stop
        assert stop.reason is None


def test_the_time_is_over() -> None:
    stop = StopRequest(max_seconds=0.01)
    time.sleep(0.02)
    assert stop
    assert stop.reason == "time limit"
    assert not StopRequest(max_seconds=1000)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number: signal.Signals) -> None:
    heard = []
    earlier = signal.signal(number, lambda *_: heard.append(number))
    try:
        with StopRequest() as stop:
            signal.raise_signal(number)
            assert stop
            assert stop.reason == number.name
            assert not heard
            signal.raise_signal(number)
            assert heard == [number]
        signal.raise_signal(number)
        assert len(heard) == 2
    finally:
        signal.signal(number, earlier)


def test_another_thread_cannot_listen_but_can_train() -> None:
    seen = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
