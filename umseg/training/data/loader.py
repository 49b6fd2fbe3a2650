"""Worker processes that prepare batches ahead, and the explanation when one of them fails."""

from __future__ import annotations

import atexit
import math
import multiprocessing
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
from umseg.common.memory import available_memory, keep_freed_memory, memory_text
from umseg.preprocess.store.case_store import REMEDY
from umseg.training.augmentation.pipelines import require_picklable
from umseg.training.data.batches import PHASES, Batch, BatchFactory, Key, Patches, Phase, close_cases

BATCHES_AHEAD = 3
"""Number of batches that each worker prepares ahead; it bounds the memory in which batches wait."""
SHARED_MEMORY = Path("/dev/shm")
LITTLE_SHARED_MEMORY = 2**20
"""Bytes of free shared memory below which it counts as full."""
"""The folder that holds shared memory on Linux."""
SECONDS_AFTER_SIGTERM = 60
"""Time in which a worker still makes batches after SIGTERM. Most schedulers kill after 30 seconds."""


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
                first = self.first_iteration if epoch == self.range.start and phase == "train" else 0
                for index in range(first, count):
                    yield epoch, phase, index


class _Places(Sampler["tuple[int, Key]"]):
    """Every key with the slot for its batch; the slots take turns."""

    def __init__(self, keys: _Keys, slots: int) -> None:
        self.keys, self.slots = keys, slots

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[int, Key]]:
        return ((number % self.slots, key) for number, key in enumerate(self.keys))


@dataclass(frozen=True)
class _Note:
    """The message of a worker that a batch is ready.

    Attributes:
        slot: Number of the slot that holds the batch.
        size: Size of its patches.
        cases: Case ids of its samples.
        seeds: As in ``Patches``.
    """

    slot: int
    size: tuple[int, ...]
    cases: tuple[str, ...]
    seeds: tuple[int, ...] | None


@dataclass(frozen=True)
class _Slots(Dataset["_Note | UserError"]):
    """Memory for batches, shared by all processes.

    New shared memory for every batch would take a quarter of the time of the augmentation: 5 ms for 6 MB.

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
        """Memory for a number of batches.

        Raises:
            UserError: There is not enough shared memory.
        """
        voxels = max(math.prod(factory.size(phase)) for phase in PHASES)
        data_shape, label_shape = ((len(factory.numbers), n) for n in (factory.channels, factory.planes))
        needed = slots * voxels * (4 * math.prod(data_shape) + 2 * math.prod(label_shape))
        if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < needed:
            raise UserError(
                "There is too little shared memory for the batches that workers prepare.",
                file=SHARED_MEMORY,
                found=f"{free / 1e9:.2f} GB free",
                expected=f"{needed / 1e9:.2f} GB",
                remedy="Use fewer --workers, or enlarge the memory (docker run --shm-size 8g); --workers 0 needs none.",
            )
        label = torch.empty(slots, *label_shape, voxels, dtype=torch.int16)
        return cls(factory, torch.empty(slots, *data_shape, voxels).share_memory_(), label.share_memory_())

    def __getitem__(self, place: tuple[int, Key]) -> _Note | UserError:
        slot, (epoch, phase, index) = place
        size = self.factory.size(phase)
        # A user error is returned, because the loader would wrap a raised one in the worker's traceback.
        try:
            patches = self.factory.prepare(epoch, phase, index, self._views(slot, size))
        except UserError as error:
            return error
        return _Note(slot, size, patches.cases, patches.seeds)

    def take(self, note: _Note, pin_memory: bool) -> Patches:
        """A copy of a batch, in page-locked memory on request; its slot is free after that."""
        data, label = (x.pin_memory() if pin_memory else x.clone() for x in self._views(note.slot, note.size))
        return Patches(data, label, note.cases, note.seeds)

    def _views(self, slot: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(batch, channels, *size) and (batch, planes, *size)."""
        data, label = (_view(x[slot], size) for x in (self.data, self.label))
        return data, label


def _view(slot: Tensor, size: tuple[int, ...]) -> Tensor:
    """The beginning of (a, b, voxels) memory as an array (a, b, *size)."""
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
    """Yield all batches in order: in every epoch the training batches, then the validation batches.

    One pool of workers serves the whole training, so that no epoch waits for processes to start.

    Args:
        factory: Makes the batches.
        first_epoch: Number of the first epoch; not 0 when a run is resumed.
        first_iteration: Number of the first training batch of that epoch.
        epochs: Number of the epoch at which training ends.
        train: Training batches per epoch.
        validation: Validation batches per epoch.
        workers: Number of worker processes; 0 makes batches in this process.
        device: Device that trains; the batches are moved to it, to a GPU through page-locked memory.

    Raises:
        UserError: A worker raised it or was killed, or a transform cannot be sent to worker processes.
        Exception: Anything else that a worker raised, with its traceback in the message.
    """
    # An earlier training in this process may have opened cases that were preprocessed again since.
    close_cases()
    keys = _Keys(first_epoch, first_iteration, epochs, train, validation)
    if workers == 0:
        for key in keys:
            yield factory.finish(factory.prepare(*key).to(device))
        return
    require_picklable(factory.transforms)
    # One slot more than batches are made ahead, for the batch that is being copied.
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
    # When the program ends without closing this generator, Python terminates the workers once, which they survive.
    ending = partial(_terminate, pool.workers)
    atexit.register(ending)
    try:
        while True:
            # Errors are raised here and not in `next`, whose frame would keep the pool alive.
            with interrupts_later():
                note = pool.next()
            if note is None:
                return
            if isinstance(note, Exception):
                raise note
            yield factory.finish(slots.take(note, pin_memory=device.type == "cuda").to(device))
    finally:
        # The workers live as long as the iterator; a traceback that a notebook keeps must not keep the iterator.
        del pool
        atexit.unregister(ending)


def _prepare_worker(worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal, but the training process may want to finish an iteration first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_soon)
    # Every batch needs memory of the same sizes.
    keep_freed_memory()


def _end_soon(number: int, frame: FrameType | None) -> None:
    """Let the worker go on for a while after the first SIGTERM.

    A scheduler sends the signal to all processes, and the parent may need batches until its iteration is finished. The
    next SIGTERM or the alarm ends this worker.
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
        batches: Iterator over the messages of the workers.
        workers: The worker processes.
    """

    batches: Iterator[_Note | UserError]
    workers: tuple[BaseProcess, ...]

    @classmethod
    def start(cls, loader: DataLoader[_Note | UserError]) -> _Pool:
        """Start the workers without the handler that tells torch of a worker's death.

        That handler raises wherever the main thread happens to be, mostly inside the network. Without it the loss of a
        worker is noticed when the next batch is requested, where it can be explained.
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
        """The next batch, the error that came in its place, or None at the end.

        The message of a worker's error contains the worker's traceback; the loader's would keep the loader alive.
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
        """The error that explains why workers have ended too early."""
        codes = [code for worker in self.workers if (code := worker.exitcode)]
        ends = [f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}" for code in codes]
        facts = [f"{len(codes)} of {len(self.workers)} workers ended {', '.join(ends)}" if codes else "no exit code"]
        if (largest := largest_child()) is not None:
            facts.append(f"a process of this program took up to {largest / 1e9:.2f} GB")
        facts.append(f"{available_memory() / 1e9:.1f} GB of memory are free without it")
        again = "Run the same command again, which resumes the run from its last checkpoint"
        if -getattr(signal, "SIGBUS", 0) in codes:
            cause, remedy = _why_bus_error()
        elif -getattr(signal, "SIGKILL", 0) in codes:
            cause = "the operating system kills processes when memory runs out"
            remedy = f"{again}; fewer workers need less memory: --workers 1, or --workers 0 for none."
        elif any(code > 0 for code in codes):
            cause = "its own message is printed above"
            remedy = 'A script must call train() under `if __name__ == "__main__":`, or train with --workers 0.'
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
    """Raise KeyboardInterrupt at the end if Ctrl-C was pressed meanwhile; a second Ctrl-C raises it at once.

    An interrupt inside the loader's queue may leave a lock taken, on which the program would wait for ever at its end.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupted:
        raise KeyboardInterrupt


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _why_bus_error() -> tuple[str, str]:
    """Cause and remedy of the signal for memory whose content is not there."""
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
    if free is None or free < LITTLE_SHARED_MEMORY:
        return (
            "a worker gets this signal when the shared memory, /dev/shm, is full",
            "Enlarge /dev/shm (docker run --shm-size 8g), or train with --workers 0, which does not use it.",
        )
    return (
        f"a worker gets this signal when a file that it reads is cut; /dev/shm is not full ({memory_text(free)} free)",
        f"Check that nothing else writes to the workspace and that its disk is sound. {REMEDY}",
    )


def largest_child() -> int | None:
    """Bytes of memory that the largest of the ended child processes took; None on Windows, which does not record it.

    psutil knows only processes that are still running.
    """
    try:
        import resource
    except ImportError:
        return None
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
