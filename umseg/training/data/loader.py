"""Worker processes that prepare batches ahead, and what is said when one of them fails."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from umseg.common.errors import UserError
from umseg.models.memory import keep_freed_memory
from umseg.training.data.batches import PHASES, Batch, BatchFactory, Key, Patches, Phase, close_cases

BATCHES_AHEAD = 3
"""Of each worker; together they bound the memory that batches wait in."""
SHARED_MEMORY = Path("/dev/shm")
SECONDS_AFTER_SIGTERM = 60
"""In which a worker still makes batches. Schedulers mostly kill after 30."""


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


class _Places(Sampler["tuple[int, Key]"]):
    """Every key with the slot for its batch, in turn."""

    def __init__(self, keys: _Keys, slots: int) -> None:
        self.keys, self.slots = keys, slots

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[int, Key]]:
        return ((number % self.slots, key) for number, key in enumerate(self.keys))


@dataclass(frozen=True)
class _Note:
    """What a worker sends: where a batch lies, the size of its patches, and what else ``Patches`` says."""

    slot: int
    size: tuple[int, ...]
    cases: tuple[str, ...]
    seeds: tuple[int, ...] | None


@dataclass(frozen=True)
class _Slots(Dataset["_Note | UserError"]):
    """Memory for batches that all processes share.

    New shared memory for every batch would cost a quarter of the time of the augmentation: 5 ms for 6 MB.

    Attributes:
        factory: Makes the batches.
        data: (slots, batch, channels, voxels) float32.
        label: (slots, batch, planes, voxels) int16.
    """

    factory: BatchFactory
    data: Tensor
    label: Tensor

    @classmethod
    def of(cls, factory: BatchFactory, slots: int) -> _Slots:
        """Room for some batches.

        Raises:
            UserError: There is not enough shared memory.
        """
        voxels = max(math.prod(factory.size(phase)) for phase in PHASES)
        data_shape, label_shape = ((len(factory.numbers), n) for n in (factory.channels, factory.planes))
        wanted = slots * voxels * (4 * math.prod(data_shape) + 2 * math.prod(label_shape))
        if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < wanted:
            raise UserError(
                "There is too little shared memory for the batches that workers prepare.",
                file=SHARED_MEMORY,
                found=f"{free / 1e9:.2f} GB free",
                expected=f"{wanted / 1e9:.2f} GB",
                remedy="Use fewer --workers, or enlarge it (docker run --shm-size 8g); --workers 0 needs none.",
            )
        label = torch.empty(slots, *label_shape, voxels, dtype=torch.int16)
        return cls(factory, torch.empty(slots, *data_shape, voxels).share_memory_(), label.share_memory_())

    def __getitem__(self, place: tuple[int, Key]) -> _Note | UserError:
        slot, (epoch, phase, index) = place
        size = self.factory.size(phase)
        # A user error travels as a value: the loader would wrap a raised one in a traceback of the worker.
        try:
            patches = self.factory.prepare(epoch, phase, index, self._views(slot, size))
        except UserError as error:
            return error
        return _Note(slot, size, patches.cases, patches.seeds)

    def take(self, note: _Note, pin_memory: bool) -> Patches:
        """A copy of a batch, in page-locked memory if wanted; its slot is free after that."""
        data, label = (x.pin_memory() if pin_memory else x.clone() for x in self._views(note.slot, note.size))
        return Patches(data, label, note.cases, note.seeds)

    def _views(self, slot: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(batch, channels, *size) and (batch, planes, *size)."""
        data, label = (_view(x[slot], size) for x in (self.data, self.label))
        return data, label


def _view(slot: Tensor, size: tuple[int, ...]) -> Tensor:
    """(a, b, voxels) memory as (a, b, *size), of which its beginning is enough."""
    shape = (*slot.shape[:2], *size)
    return slot.view(-1)[: math.prod(shape)].view(shape)


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
    keys = _Keys(first_epoch, first_iteration, epochs, train, validation)
    if workers == 0:
        for key in keys:
            yield factory.finish(factory.prepare(*key).to(device))
        return
    # One more than are made ahead: the one that has been handed out and is being copied.
    slots = _Slots.of(factory, workers * BATCHES_AHEAD + 1)
    loader: DataLoader[_Note | UserError] = DataLoader(
        slots,
        batch_size=None,
        sampler=_Places(keys, len(slots.data)),
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=_prepare_worker,
    )
    pool = _Pool.start(loader)
    # When the program ends without closing this generator, Python terminates the workers once, and they wait for twice.
    ending = partial(_terminate, pool.workers)
    atexit.register(ending)
    try:
        while True:
            # Raised here and not in `next`, whose frame would keep the pool.
            with interrupts_later():
                note = pool.next()
            if note is None:
                return
            if isinstance(note, Exception):
                raise note
            yield factory.finish(slots.take(note, pin_memory=device.type == "cuda").to(device))
    finally:
        # The workers live as long as the iterator; a traceback that is kept, as notebooks do, must not keep it.
        del pool
        atexit.unregister(ending)


def _prepare_worker(worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal; who trains may want to finish an iteration first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_soon)
    # Every batch asks for the same sizes again.
    keep_freed_memory()


def _end_soon(number: int, frame: FrameType | None) -> None:
    """Leave the first SIGTERM without effect for a while.

    A scheduler sends it to all processes, and the parent may want batches until its iteration is finished. The next one
    or the alarm ends this worker.
    """
    signal.signal(number, signal.SIG_DFL)
    if hasattr(signal, "alarm"):
        signal.alarm(SECONDS_AFTER_SIGTERM)


def _terminate(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.terminate()


@dataclass(frozen=True)
class _Pool:
    """The running loader.

    Attributes:
        batches: What it delivers.
        workers: Its processes.
    """

    batches: Iterator[_Note | UserError]
    workers: tuple[BaseProcess, ...]

    @classmethod
    def start(cls, loader: DataLoader[_Note | UserError]) -> _Pool:
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

    def next(self) -> _Note | Exception | None:
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
            return error.with_traceback(None)

    def lost(self) -> UserError:
        """What to say when workers have ended before their time."""
        codes = [code for worker in self.workers if (code := worker.exitcode)]
        ends = [f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}" for code in codes]
        facts = [f"{len(codes)} of {len(self.workers)} workers ended {', '.join(ends)}" if codes else "no exit code"]
        if (most := largest_child()) is not None:
            facts.append(f"a process of this program took up to {most / 1e9:.2f} GB")
        if (free := available_memory()) is not None:
            facts.append(f"{free / 1e9:.1f} GB of memory are free without it")
        again = "Run the same command again, it continues where it was saved"
        if -getattr(signal, "SIGBUS", 0) in codes:
            cause = "a worker gets this signal when the shared memory, /dev/shm, is full"
            remedy = "Enlarge /dev/shm (docker run --shm-size 8g), or train with --workers 0, which does not need it."
        elif -getattr(signal, "SIGKILL", 0) in codes:
            cause = "the operating system kills processes when memory runs out"
            remedy = f"{again}; with fewer workers it needs less memory: --workers 1, or --workers 0 for none."
        elif any(code > 0 for code in codes):
            cause = "its own message stands above"
            remedy = 'A script that trains must do so under `if __name__ == "__main__":`; --workers 0 needs no workers.'
        else:
            cause = "somebody ended it, or it crashed"
            remedy = f"{again}; if it happens again, train with --workers 0."
        return UserError(
            "A worker process that prepares training batches is gone.",
            found="; ".join([*facts, cause]),
            remedy=remedy,
        )


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Raise a Ctrl-C of the meantime at the end; a second one raises at once.

    An interrupt inside the loader's queue may leave a lock taken, for which the end of the program then waits for ever.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    heard = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt


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
