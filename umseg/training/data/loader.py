"""Worker processes that prepare batches ahead."""

from __future__ import annotations

import atexit
import math
import shutil
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from umseg.common.errors import UserError
from umseg.common.memory import keep_freed_memory
from umseg.common.processes.workers import Board, end_with_parent, join_board, kill, note_case, wait_for_ends
from umseg.training.augmentation.pipelines import require_picklable
from umseg.training.data.batches import PHASES, Batch, BatchFactory, Key, Patches, Phase, close_cases
from umseg.training.data.pool import SECONDS_BETWEEN_LOOKS, SHARED_MEMORY, Pool

BATCHES_AHEAD = 3
"""Number of batches that each worker prepares ahead; it bounds the memory in which batches wait."""
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
        finally:
            note_case(None)
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
    stop: Callable[[], object] = bool,
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
        stop: Tells whether training has been asked to stop.

    Raises:
        UserError: A worker raised it, was killed or hangs, or a transform cannot be sent to worker processes.
        NoBatchError: Training was asked to stop, and no batch came for some seconds.
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
    board = Board(workers)
    loader: DataLoader[_Note | UserError] = DataLoader(
        slots,
        batch_size=None,
        sampler=_Places(keys, len(slots.data)),
        num_workers=workers,
        prefetch_factor=BATCHES_AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=partial(_prepare_worker, board),
        timeout=SECONDS_BETWEEN_LOOKS,
    )
    pool = Pool.start(loader, board)
    # When the program ends without closing this generator, Python terminates the workers once, which they survive.
    ending = partial(_terminate, pool.workers)
    atexit.register(ending)
    try:
        while True:
            # Errors are raised here and not in `next`, whose frame would keep the pool alive.
            note = pool.next(stop)
            if note is None:
                return
            if isinstance(note, Exception):
                raise note
            yield factory.finish(slots.take(note, pin_memory=device.type == "cuda").to(device))
    finally:
        # The workers live as long as the iterator; a traceback that a notebook keeps must not keep the iterator.
        processes = pool.workers
        del pool
        # One that is slow to end may end by itself; one that hangs never does.
        wait_for_ends(processes)
        kill(processes)
        atexit.unregister(ending)


def _prepare_worker(board: Board, worker: int) -> None:
    end_with_parent()
    join_board(board, worker)
    for crash in ("SIGBUS", "SIGSEGV", "SIGFPE"):
        if hasattr(signal, crash):
            # torch's own handler would blame shared memory, before the parent explains the end of the worker.
            signal.signal(getattr(signal, crash), signal.SIG_DFL)
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
