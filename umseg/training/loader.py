"""Worker processes that prepare batches ahead, and what is said when one of them fails."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Sampler

from umseg.common.errors import UserError
from umseg.models.memory import keep_freed_memory
from umseg.training.batches import Batch, BatchFactory, Key, Patches, Phase, close_cases

Loaded = Patches | UserError

BATCHES_AHEAD = 3
"""Of each worker; together they bound the memory that batches wait in."""


class _Keys(Sampler[Key]):
    """The keys of all batches from an epoch to the end of training, in the order of their use."""

    def __init__(self, first_epoch: int, first_iteration: int, epochs: int, train: int, validation: int) -> None:
        self.range = range(first_epoch, epochs)
        self.first_iteration = first_iteration
        self.phases: tuple[tuple[Phase, int], ...] = (("train", train), ("validation", validation))

    def __len__(self) -> int:
        return len(self.range) * sum(count for _, count in self.phases) - self.first_iteration

    def __iter__(self) -> Iterator[Key]:
        for epoch in self.range:
            for phase, count in self.phases:
                begun = self.first_iteration if epoch == self.range.start and phase == "train" else 0
                for index in range(begun, count):
                    yield epoch, phase, index


def load_batches(
    factory: BatchFactory,
    *,
    first_epoch: int,
    first_iteration: int = 0,
    epochs: int,
    train: int,
    validation: int,
    workers: int,
    device: torch.device,
) -> Generator[Batch, None, None]:
    """Yield every batch in order: per epoch ``train`` training batches, then ``validation`` validation batches.

    One pool of workers serves the whole training, so that no epoch waits for processes to start.

    Args:
        factory: Makes the batches.
        first_epoch: First epoch (after a resume not 0).
        first_iteration: First training batch of that epoch.
        epochs: End of training.
        train: Training batches per epoch.
        validation: Validation batches per epoch.
        workers: Worker processes; 0 makes batches in this process.
        device: That trains, and where the batches are to be. For a GPU they travel through page-locked memory.

    Raises:
        UserError: From a worker; or a worker was killed.
        Exception: Anything else that a worker raised, with its traceback in the message.
    """
    # An earlier training in this process may have opened cases that were preprocessed anew since.
    close_cases()
    loader: DataLoader[Loaded] = DataLoader(
        factory,
        batch_size=None,
        sampler=_Keys(first_epoch, first_iteration, epochs, train, validation),
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_prepare_worker,
        pin_memory=device.type == "cuda",
    )
    pool = _Pool.start(loader)
    try:
        while (patches := pool.next()) is not None:
            if isinstance(patches, Exception):
                raise patches
            yield factory.finish(patches.to(device))
    finally:
        # The workers live as long as the iterator; a traceback that is kept, as notebooks do, must not keep it.
        del pool


def _prepare_worker(worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal; who trains may want to finish an iteration first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every batch asks for the same sizes again.
    keep_freed_memory()
    # A queue's thread that sends the last batch while the interpreter shuts down would make the process abort.
    atexit.register(os._exit, 0)


@dataclass(frozen=True)
class _Pool:
    """The running loader.

    Attributes:
        batches: What it delivers.
        workers: Its processes.
    """

    batches: Iterator[Loaded]
    workers: tuple[BaseProcess, ...]

    @classmethod
    def start(cls, loader: DataLoader[Loaded]) -> _Pool:
        """Start the workers without the handler by which torch hears of a worker's death.

        That handler raises wherever the main thread happens to be, mostly inside the network. Without it the loss shows
        at the next batch that is asked for, where it is explained.
        """
        others = set(multiprocessing.active_children())
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            batches = iter(loader)
        else:
            handler = signal.getsignal(signal.SIGCHLD)
            batches = iter(loader)
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        return cls(batches, tuple(set(multiprocessing.active_children()) - others))

    def next(self) -> Patches | Exception | None:
        """The next batch, the error that came instead, or None at the end.

        A worker's error carries the worker's traceback in its message; that of the loader would keep the loader alive.
        """
        try:
            return next(self.batches)
        except StopIteration:
            return None
        except Exception as error:
            if "DataLoader worker" in str(error) and "exited unexpectedly" in str(error):
                return self.lost()
            return error.with_traceback(None) if self.workers else error

    def lost(self) -> UserError:
        """What to say when workers have ended before their time."""
        codes = [code for worker in self.workers if (code := worker.exitcode)]
        ends = [f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}" for code in codes]
        facts = [f"{len(codes)} of {len(self.workers)} workers ended {', '.join(ends)}"]
        if (most := largest_child()) is not None:
            facts.append(f"a worker took up to {most / 1e9:.2f} GB")
        if (free := available_memory()) is not None:
            facts.append(f"{free / 1e9:.1f} GB of memory are free without it")
        if -getattr(signal, "SIGBUS", 0) in codes:
            cause = "a worker gets this signal when the shared memory, /dev/shm, is full"
            remedy = "Enlarge /dev/shm (docker run --shm-size 8g), or train with --workers 0, which does not need it."
        elif all(code > 0 for code in codes):
            cause = "its own message stands above"
            remedy = 'A script that trains must do so under `if __name__ == "__main__":`; --workers 0 needs no workers.'
        else:
            cause = "the operating system kills processes when memory runs out"
            remedy = (
                "Run the same command again, it continues where it was saved; with fewer workers it needs less memory: "
                "--workers 1, or --workers 0 for none."
            )
        return UserError(
            "A worker process that prepares training batches is gone.",
            found="; ".join([*facts, cause]),
            remedy=remedy,
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def largest_child() -> int | None:
    """Bytes of memory that the largest of the ended child processes took; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def available_memory() -> int | None:
    """Bytes of memory that processes could still get; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
