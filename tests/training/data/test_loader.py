from __future__ import annotations

import functools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from tests.spawned import count_spawned
from tests.training.factories import make_case, make_configuration, write_store
from umseg.common.errors import UserError
from umseg.common.memory import available_memory
from umseg.common.processes.patience import Patience
from umseg.common.processes.workers import Board, _Membership, join_board, note_case
from umseg.training.data.batches import Batch, BatchFactory
from umseg.training.data.loader import BATCHES_AHEAD, load_batches
from umseg.training.data.pool import NoBatchError, Pool, interrupts_later, largest_child

CASES = ("case_0", "case_1", "case_2")
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_store(tmp_path, [make_case(seed=seed) for seed in range(3)])
    return tmp_path


def make_factory(folder: Path, validation: Sequence[str] = CASES, kind: type[BatchFactory] = BatchFactory) -> Any:
    return kind(folder, make_configuration(), {"train": CASES, "validation": tuple(validation)}, 3)


def load(
    factory: BatchFactory,
    workers: int = 0,
    first_epoch: int = 0,
    first_iteration: int = 0,
    epochs: int = 2,
    stop: Callable[[], object] = bool,
) -> Any:
    return load_batches(
        factory,
        first_epoch=first_epoch,
        first_iteration=first_iteration,
        epochs=epochs,
        train=3,
        validation=1,
        workers=workers,
        device=torch.device("cpu"),
        stop=stop,
    )


def assert_equal(batches: Sequence[Batch], expected: Sequence[Batch]) -> None:
    for batch, other in zip(batches, expected, strict=True):
        assert batch.cases == other.cases
        torch.testing.assert_close(batch.data, other.data, rtol=0, atol=0)
        for target, reference in zip(batch.targets, other.targets, strict=True):
            assert torch.equal(target, reference)


class Failing(BatchFactory):
    """Raises an error that nobody foresaw."""

    def _cut(self, rng: np.random.Generator, name: str, *rest: Any) -> Any:
        raise ValueError(f"unforeseen {name}")


class Counting(BatchFactory):
    """Leaves a file for every batch."""

    def prepare(self, epoch: int, phase: Any, index: int, out: Any = None) -> Any:
        (self.folder / f"made_{epoch}_{phase}_{index}").touch()
        return super().prepare(epoch, phase, index, out)


def test_training_begins_where_it_was_left(folder: Path) -> None:
    factory = make_factory(folder)
    everything = list(load(factory))
    assert len(everything) == 8
    assert_equal(list(load(factory, first_epoch=1)), everything[4:])
    assert_equal(list(load(factory, first_epoch=1, first_iteration=2)), everything[6:])


def test_workers_change_nothing_and_leave_no_process(folder: Path) -> None:
    """Workers ignore Ctrl-C, which reaches them too but is meant for the process that trains."""
    factory = make_factory(folder)
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    batches = load(factory, workers=2)
    first = list(islice(batches, 2))
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    if sys.platform != "win32":
        for worker in workers:
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGINT)
    assert_equal([*first, *islice(batches, 4)], list(islice(load(factory), 6)))
    batches.close()
    assert not multiprocessing.active_children()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert handler is None or signal.getsignal(signal.SIGCHLD) == handler


def test_few_batches_are_made_ahead_and_none_is_overwritten(folder: Path) -> None:
    batches = load(make_factory(folder, kind=Counting), workers=1, epochs=5)
    first = next(batches)
    made = -1
    while made != (made := len(list(folder.glob("made_*")))):
        time.sleep(0.5)
    assert 1 < made <= 1 + BATCHES_AHEAD
    assert_equal([first, *batches], list(load(make_factory(folder), epochs=5)))


def test_too_little_shared_memory_is_said_before_it_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umseg.training.data.loader.SHARED_MEMORY", folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**4))
    with pytest.raises(UserError, match="shared memory") as caught:
        next(load(make_factory(folder), workers=2))
    # 7 batches of 2 patches of 8x8x8 voxels, 6 bytes each.
    assert caught.value.expected == f"{7 * 2 * 8**3 * 6 / 1e9:.2f} GB"
    assert "--shm-size" in str(caught.value.remedy)


def test_a_user_error_of_a_worker_arrives_as_it_is(folder: Path) -> None:
    factory = make_factory(folder, validation=("case_7",))
    batches = load(factory, workers=1)
    assert_equal(list(islice(batches, 3)), list(islice(load(factory), 3)))
    with pytest.raises(UserError) as caught:
        next(batches)
    assert str(caught.value.file).endswith("case_7.json")
    assert "umseg plan" in str(caught.value.remedy)
    assert not multiprocessing.active_children()


def test_any_other_exception_of_a_worker_brings_its_traceback_and_the_case(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)worker process 0.*test_loader\.py.*in _cut.*case case_\d: ValueError"):
        list(load(make_factory(folder, kind=Failing), workers=1))
    assert not multiprocessing.active_children()


@posix
def test_a_killed_worker_is_explained_at_the_next_batches(folder: Path) -> None:
    """It is not explained earlier, because the main process must not be interrupted when a worker dies."""
    batches = load(make_factory(folder), workers=1, epochs=50)
    next(batches)
    [worker] = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    for _ in range(20):
        time.sleep(0.01)
    with pytest.raises(UserError, match="is gone") as caught:
        list(batches)
    found = str(caught.value.found)
    assert "1 of 1 worker ended by SIGKILL" in found
    assert "memory runs out" in found
    if sys.platform == "linux":
        # The largest child so far, of whatever this process has started before.
        assert re.search(r"a process of this program took up to \d+\.\d\d GB", found)
        assert "GB of memory are free" in found
    assert "--workers 1" in str(caught.value.remedy)
    assert not multiprocessing.active_children()


@posix
@pytest.mark.parametrize(
    ("codes", "end", "cause", "remedy"),
    [
        (
            [-9, None],
            "1 of 2 workers ended by SIGKILL while it worked on case liver_3;",
            "memory runs out",
            "--workers",
        ),
        (
            [-7, -9],
            "2 of 2 workers ended by SIGBUS while it worked on case liver_3, by SIGKILL;",
            "is cut",
            "umseg plan",
        ),
        ([-7], "1 of 1 worker ended by SIGBUS while", "shared memory, /dev/shm, is full (", "--shm-size"),
        ([-11], "1 of 1 worker ended by SIGSEGV while it worked on case liver_3;", "it crashed", "same case"),
        ([None, 1], "1 of 2 workers ended with exit code 1;", "its own message", "__main__"),
        ([-15, None], "1 of 2 workers ended by SIGTERM while", "somebody ended it", "--workers 0"),
        ([-200], "1 of 1 worker ended by signal 200 while", "or it crashed", "--workers 0"),
        ([None, 0], "no exit code;", "or it crashed", "--workers 0"),
    ],
)
def test_why_a_worker_ended(
    monkeypatch: pytest.MonkeyPatch, codes: list[int | None], end: str, cause: str, remedy: str
) -> None:
    monkeypatch.setattr("umseg.common.processes.workers._MINE", _Membership())
    board = Board(1)
    join_board(board)
    note_case("liver_3")
    # The first worker is the one whose process works on a case, which is this one.
    pids = [os.getpid(), os.getpid() + 1]
    workers = tuple(SimpleNamespace(exitcode=code, pid=pid) for code, pid in zip(codes, pids, strict=False))
    error = Pool(iter(()), workers, board).lost()  # type: ignore[arg-type]
    assert str(error.found).startswith(end)
    assert cause in str(error.found)
    assert remedy in str(error.remedy)


@posix
def test_a_worker_that_hangs_is_reported_and_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batches = load(make_factory(folder), workers=1, epochs=50)
    next(batches)
    [worker] = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr("umseg.training.data.pool.LONGEST_WAIT", 1.0)
    monkeypatch.setattr("umseg.training.data.pool.Patience", functools.partial(Patience, 0.5))
    with pytest.raises(UserError, match="No training batch has come for") as caught:
        list(batches)
    assert f"process {worker.pid}: stopped" in str(caught.value.found)
    assert "resumes" in str(caught.value.remedy)
    assert f"process {worker.pid}: stopped" in caplog.text
    assert not multiprocessing.active_children()


@posix
def test_a_request_to_stop_is_obeyed_while_no_batch_comes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umseg.training.data.pool.SECONDS_AFTER_STOP", 0.5)
    asked: list[bool] = []
    batches = load(make_factory(folder), workers=1, epochs=50, stop=lambda: asked)
    next(batches)
    [worker] = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    asked.append(True)
    with pytest.raises(NoBatchError):
        list(batches)
    assert not multiprocessing.active_children()


ENDINGS = """
import sys
from pathlib import Path
from tests.training.data.test_loader import load, make_factory, Failing
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    assert len(list(load(make_factory(folder), workers=1))) == 8
    kept = None
    try:
        list(load(make_factory(folder, kind=Failing), workers=1))
    except RuntimeError as error:
        kept = error
    batches = load(make_factory(folder), workers=1, epochs=10**6)
    for batch in batches:
        print("batch", flush=True)
"""


@posix
def test_nothing_is_left_behind_after_an_end_an_error_and_ctrl_c(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "endings.py"
    script.write_text(ENDINGS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "batch\n"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "leaked" not in errors
    assert errors.count("Traceback") == 1
    # The tracker of semaphores, a process of Python's own, ends when it sees that its parent has.
    wait_for(lambda: not alive(process.pid))


ORPHAN = """
import sys
from pathlib import Path
from tests.training.data.test_loader import load, make_factory

if __name__ == "__main__":
    next(load(make_factory(Path(sys.argv[1])), workers=1))
"""


@posix
def test_a_worker_whose_parent_is_killed_while_it_starts_ends_too(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = subprocess.Popen([sys.executable, str(script), str(folder)], env=environment, start_new_session=True)
    family = psutil.Process(parent.pid)
    # The worker has just been started, and imports torch now.
    wait_for(lambda: count_spawned(family) > 0)
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(parent.pid), seconds=60)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_cases_preprocessed_anew_are_read_anew(folder: Path) -> None:
    """The second of two trainings in one process must not read with the first one's file handles."""
    list(load(make_factory(folder), epochs=1))
    write_store(folder, [make_case((9, 20, 10), seed=10 + seed) for seed in range(3)])
    again = list(load(make_factory(folder), epochs=1))
    fresh = folder / "fresh"
    write_store(fresh, [make_case((9, 20, 10), seed=10 + seed) for seed in range(3)])
    assert_equal(again, list(load(make_factory(fresh), epochs=1)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need not tell")
def test_memory_is_known() -> None:
    free, largest = available_memory(), largest_child()
    assert 2**20 < free < 2**50
    assert largest is not None
    assert largest < 2**50


@posix
def test_an_interrupt_waits_until_the_batch_is_there() -> None:
    done = []

    def work() -> None:
        with interrupts_later():
            signal.raise_signal(signal.SIGINT)
            done.append("finished")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@posix
def test_a_second_interrupt_does_not_wait() -> None:
    done = []

    def work() -> None:
        with interrupts_later():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not done
