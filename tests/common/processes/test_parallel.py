from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.spawned import count_spawned
from umseg.common.errors import UserError
from umseg.common.processes.parallel import default_workers, map_cases
from umseg.common.processes.patience import Patience

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def square(item: int) -> int:
    # The first items take longest, so that results come back out of order.
    time.sleep(0.02 * max(3 - item, 0))
    return item * item


def fail_at(bad: int, item: int) -> int:
    if item == bad:
        raise UserError("The image is flat.", file="case.nii", found=item, expected="3-D", remedy="Look at it.")
    return item


def divide_by_zero(item: int) -> float:
    return item / 0


def ask_for_too_much(_: int) -> object:
    return np.empty(2**60, dtype=np.uint8)


class TwoPartError(Exception):
    """An exception that can be pickled but not unpickled, like many that define ``__init__``."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raise_two_part_error(item: int) -> int:
    raise TwoPartError("this", "that")


def kill_at(bad: int, item: int) -> int:
    if item == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def crash_at(bad: int, item: int) -> int:
    if item == bad:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    return item


def stop_at(bad: int, item: int) -> int:
    if item == bad:
        os.kill(os.getpid(), signal.SIGSTOP)
    return item


def process(_: int) -> int:
    return os.getpid()


def environment(_: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREADS}


def run(function: functools.partial[int] | object, count: int, workers: int) -> list[object]:
    assert callable(function)
    names = [f"case_{i}" for i in range(count)]
    return list(map_cases(function, range(count), names, workers=workers, title="Test", quiet=True))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_keeps_the_order(workers: int) -> None:
    assert run(square, 9, workers) == [i * i for i in range(9)]


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_do(workers: int) -> None:
    assert run(square, 0, workers) == []


def test_no_more_processes_than_items() -> None:
    assert len(set(run(process, 1, 8))) == 1


def test_no_workers_means_this_process() -> None:
    assert set(run(process, 3, 0)) == {os.getpid()}
    assert os.getpid() not in set(run(process, 3, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_user_error_arrives_whole(workers: int) -> None:
    with pytest.raises(UserError) as caught:
        run(functools.partial(fail_at, 1), 4, workers)
    error = caught.value
    assert (error.problem, error.file, error.found, error.expected, error.remedy) == (
        "The image is flat.",
        "case.nii",
        "1",
        "3-D",
        "Look at it.",
    )
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_other_exceptions_name_the_case_and_the_line(workers: int) -> None:
    with pytest.raises(RuntimeError, match="case case_0: ZeroDivisionError: division by zero") as caught:
        run(divide_by_zero, 3, workers)
    printed = "".join(traceback.format_exception(caught.value))
    assert "return item / 0" in printed
    assert "in divide_by_zero" in printed


@pytest.mark.parametrize("workers", [0, 1])
def test_exception_that_cannot_travel_is_not_taken_for_a_killed_worker(workers: int) -> None:
    with pytest.raises(RuntimeError, match=r"case case_0: .*this and that") as caught:
        run(raise_two_part_error, 2, workers)
    assert "in raise_two_part_error" in "".join(traceback.format_exception(caught.value))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_worker() -> None:
    with pytest.raises(UserError, match="case_1") as caught:
        run(functools.partial(kill_at, 1), 4, 1)
    assert "memory" in str(caught.value.found)
    assert "--workers 0" in str(caught.value.remedy)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_worker_killed_while_the_consumer_is_at_work() -> None:
    names = [f"case_{i}" for i in range(9)]
    results = map_cases(functools.partial(kill_at, 1), range(9), names, workers=1, title="Test", quiet=True)
    assert next(results) == 0
    deadline = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(UserError, match="killed"):
        next(results)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_crash_names_its_case_and_does_not_blame_memory() -> None:
    with pytest.raises(UserError, match="crashed while it worked on case case_3") as caught:
        run(functools.partial(crash_at, 3), 9, 2)
    assert "SIGSEGV" in str(caught.value.found)
    assert "memory" not in str(caught.value)
    assert "shows where it crashes" in str(caught.value.remedy)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_that_hangs_is_reported_and_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "umseg")
    monkeypatch.setattr("umseg.common.processes.parallel.LONGEST_IDLE", 1.0)
    monkeypatch.setattr("umseg.common.processes.parallel.SECONDS_BETWEEN_LOOKS", 0.1)
    monkeypatch.setattr("umseg.common.processes.parallel.Patience", functools.partial(Patience, 0.5))
    with pytest.raises(UserError, match="make no progress") as caught:
        run(functools.partial(stop_at, 2), 3, 1)
    assert "cases at work: case_2 (" in str(caught.value.found)
    assert "stopped" in str(caught.value.found)
    assert "Still test: case_2 (" in caplog.text
    assert not multiprocessing.active_children()


INTERRUPTED = """
import sys
from umseg.common.processes.parallel import map_cases

def work(item):
    return item

if __name__ == "__main__":
    print("begun", flush=True)
    list(map_cases(work, range(1000), [str(i) for i in range(1000)], workers=2, title="", quiet=True))
else:
    import time
    time.sleep(0.5)  # as importing torch takes time
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_workers_that_are_starting_say_nothing_to_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    family = psutil.Process(parent.pid)
    wait_until(lambda: count_spawned(family) == 2)
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_consumer_that_stops_early_leaves_no_process() -> None:
    results = map_cases(square, range(50), [str(i) for i in range(50)], workers=1, title="Test", quiet=True)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("names", [["one"], ["one", "two", "three"]])
def test_one_name_per_item(workers: int, names: list[str]) -> None:
    with pytest.raises(ValueError, match="names for 2 items"):
        list(map_cases(square, [1, 2], names, workers=workers, title="Test", quiet=True))


def test_workers_compute_on_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert run(environment, 1, 1) == [dict.fromkeys(THREADS, "1")]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


SCRIPT = """
import numpy  # in the worker too, before anything of umseg
import threadpoolctl
from umseg.common.processes.parallel import map_cases

def threads(_):
    return [library["num_threads"] for library in threadpoolctl.threadpool_info()]

if __name__ == "__main__":
    print(*map_cases(threads, [0], ["case"], workers=1, title="", quiet=True))
"""


def test_one_thread_each_also_where_the_main_script_imports_numpy(tmp_path: Path) -> None:
    pytest.importorskip("threadpoolctl")
    (tmp_path / "script.py").write_text(SCRIPT)
    many = {**os.environ, **dict.fromkeys(THREADS, "2")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, env=many, check=True
    )
    assert done.stdout.strip() == "[1]"


LONG_SCRIPT = """
import os, sys, time
from pathlib import Path
from umseg.common.processes.parallel import map_cases

def work(folder):
    Path(folder, "begun.tmp").write_text(str(os.getpid()))
    Path(folder, "begun.tmp").rename(Path(folder, "begun"))
    time.sleep(600)

if __name__ == "__main__":
    list(map_cases(work, [sys.argv[1]], ["case"], workers=1, title="", quiet=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks whether a process lives by a signal")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(LONG_SCRIPT)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)])
    begun = tmp_path / "begun"
    wait_until(lambda: begun.exists() or parent.poll() is not None)
    worker = int(begun.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(worker))
    assert not alive(worker)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    # Nobody may be there to collect its exit code.
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def test_default_number_of_workers_is_sensible() -> None:
    assert 1 <= default_workers() <= 8


@pytest.mark.parametrize("workers", [0, 1])
def test_names_the_case_that_memory_did_not_suffice_for(workers: int) -> None:
    with pytest.raises(UserError, match="case_0 ran out of memory") as caught:
        run(ask_for_too_much, 2, workers)
    assert "EiB" in str(caught.value.found)
