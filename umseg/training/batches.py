"""Training and validation batches, made by worker processes; a function of (seed, epoch, index) and nothing else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from umseg.common.errors import UserError
from umseg.planning.plan import Configuration
from umseg.preprocess.store import REMEDY, CaseStore, StoredCase
from umseg.training.augmentation import Augmentation
from umseg.training.sampling import cut, forced_foreground, patch_corner

Phase = Literal["train", "validation"]
Key = tuple[int, Phase, int]
"""Epoch, phase, index of the batch in the phase."""

OPEN_CASES = 128


@dataclass(frozen=True)
class Batch:
    """What the network is fed.

    Attributes:
        data: (batch, channels, *patch) float32.
        targets: Label maps (batch, *spatial) uint8 or int16 at the resolution of every head, the full one first.
        cases: Case ids of the samples.
    """

    data: Tensor
    targets: tuple[Tensor, ...]
    cases: tuple[str, ...]

    def pin_memory(self) -> Batch:
        """Copy into page-locked memory, from which a GPU reads without waiting; called by the data loader."""
        return Batch(self.data.pin_memory(), tuple(t.pin_memory() for t in self.targets), self.cases)


@dataclass(frozen=True)
class BatchFactory(Dataset["Batch | UserError"]):
    """Makes the batch of a key.

    Attributes:
        folder: Preprocessed cases.
        configuration: Patch, batch size and strides.
        cases: Case ids per phase.
        seed: Seed of everything random.
    """

    folder: Path
    configuration: Configuration
    cases: Mapping[Phase, tuple[str, ...]]
    seed: int

    def __getitem__(self, key: Key) -> Batch | UserError:
        # A user error travels as a value: the loader would wrap a raised one in a traceback of the worker.
        try:
            return self.make(*key)
        except UserError as error:
            return error

    def make(self, epoch: int, phase: Phase, index: int) -> Batch:
        """Draw cases with replacement, cut patches (facts 1.8) and, in training, augment them (facts 1.9)."""
        rng = np.random.default_rng((self.seed, epoch, 0 if phase == "train" else 1, index))
        augmentation = _augmentation(self.configuration)
        final = augmentation.patch
        initial = augmentation.geometry.initial_patch if phase == "train" else final
        names: list[str] = []
        images, labels = [], []
        for forced in forced_foreground(self.configuration.batch_size):
            name = self.cases[phase][int(rng.integers(len(self.cases[phase])))]
            try:
                image, label = _draw_patch(rng, _open(self.folder, name), initial, final, forced)
            except RuntimeError as error:
                # All that blosc2 says when a block cannot be decompressed; opening a case reads no block.
                raise UserError(
                    f"Preprocessed case {name} is damaged.", file=self.folder, found=str(error), remedy=REMEDY
                ) from error
            names.append(name)
            images.append(image)
            labels.append(label)
        data, label = np.stack(images), np.stack(labels)
        if phase == "train":
            data, label = augmentation(data, label, seed=int(rng.integers(2**32)))
        else:
            label = np.maximum(label, 0)
        targets = deep_supervision_targets(label.astype(np.int16), self.configuration.strides)
        tensors = tuple(torch.from_numpy(t) for t in targets)
        return Batch(torch.from_numpy(data.astype(np.float32, copy=False)), tensors, tuple(names))


def deep_supervision_targets(
    label: NDArray[np.int16], strides: Sequence[Sequence[int]]
) -> tuple[NDArray[np.int16], ...]:
    """Label maps for every head by nearest-neighbour reduction (facts 1.9, #15).

    Args:
        label: (batch, *spatial).
        strides: Stride on entering each encoder stage; every stage but the last has a head.
    """
    targets = []
    shape = np.asarray(label.shape[1:])
    for factor in np.cumprod(np.asarray(strides), axis=0)[: max(len(strides) - 1, 1)]:
        # Of each block of voxels the one at its centre, the upper one of two.
        indices = [np.arange(n // f) * f + f // 2 for n, f in zip(shape, factor, strict=True)]
        targets.append(np.ascontiguousarray(label[np.ix_(np.arange(len(label)), *indices)]))
    return tuple(targets)


class _Keys(Sampler[Key]):
    """The keys of all batches from an epoch to the end of training, in the order of their use."""

    def __init__(self, first_epoch: int, epochs: int, train: int, validation: int) -> None:
        self.range = range(first_epoch, epochs)
        self.phases: tuple[tuple[Phase, int], ...] = (("train", train), ("validation", validation))

    def __len__(self) -> int:
        return len(self.range) * sum(count for _, count in self.phases)

    def __iter__(self) -> Iterator[Key]:
        for epoch in self.range:
            for phase, count in self.phases:
                for index in range(count):
                    yield epoch, phase, index


def load_batches(
    factory: BatchFactory,
    *,
    first_epoch: int,
    epochs: int,
    train: int,
    validation: int,
    workers: int,
    pin_memory: bool,
) -> Generator[Batch, None, None]:
    """Yield every batch in order: per epoch ``train`` training batches, then ``validation`` validation batches.

    One pool of workers serves the whole training, so that no epoch waits for processes to start.

    Args:
        factory: Makes the batches.
        first_epoch: First epoch (after a resume not 0).
        epochs: End of training.
        train: Training batches per epoch.
        validation: Validation batches per epoch.
        workers: Worker processes; 0 makes batches in this process.
        pin_memory: Deliver tensors in page-locked memory.

    Raises:
        UserError: From a worker; or a worker was killed.
        Exception: Anything else that a worker raised, with its traceback in the message.
    """
    # An earlier training in this process may have opened cases that were preprocessed anew since.
    _open.cache_clear()
    loader: DataLoader[Batch | UserError] = DataLoader(
        factory,
        batch_size=None,
        sampler=_Keys(first_epoch, epochs, train, validation),
        num_workers=workers,
        prefetch_factor=3 if workers else None,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=pin_memory,
    )
    batches = _start(loader)
    try:
        while (batch := _next(batches, workers)) is not None:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        # The workers live as long as the iterator; a traceback that is kept, as notebooks do, must not keep it.
        del batches


def _start(loader: DataLoader[Batch | UserError]) -> Iterator[Batch | UserError]:
    """Start the workers without the handler by which torch hears of a worker's death.

    That handler raises wherever the main thread happens to be, mostly inside the network. Without it the loss shows
    at the next batch that is asked for, where it is explained.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    return batches


def _next(batches: Iterator[Batch | UserError], workers: int) -> Batch | Exception | None:
    """The next batch, the error that came instead, or None at the end.

    A worker's error carries the worker's traceback in its message; that of the loader would keep the loader alive.
    """
    try:
        return next(batches)
    except StopIteration:
        return None
    except Exception as error:
        if "DataLoader worker" in str(error) and "exited unexpectedly" in str(error):
            return _killed(workers)
        return error.with_traceback(None) if workers else error


def _killed(workers: int) -> UserError:
    return UserError(
        "A worker process that prepares training batches was killed.",
        found=f"{workers} workers; the operating system kills processes when memory runs out",
        remedy="Run the same command again, it continues at the last epoch; with fewer workers it needs less "
        "memory: --workers 1, or --workers 0 for none.",
    )


def _draw_patch(
    rng: np.random.Generator, case: StoredCase, initial: tuple[int, ...], final: tuple[int, ...], forced: bool
) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    """One patch, (channels, *initial) and (*initial); a 2-D patch is a slice orthogonal to axis 0."""
    assert case.label is not None
    flat = len(final) == 2
    size, seen = ((1, *initial), (1, *final)) if flat else (initial, final)
    corner = patch_corner(rng, case.label.shape, size, seen, case.class_locations if forced else None)
    image: NDArray[np.float32] = cut(case.data, corner, size, 0)
    label: NDArray[np.integer] = cut(case.label, corner, size, -1)
    return (image[:, 0], label[0]) if flat else (image, label)


@lru_cache(maxsize=OPEN_CASES)
def _open(folder: Path, case_id: str) -> StoredCase:
    return CaseStore(folder).open(case_id)


@lru_cache(maxsize=1)
def _augmentation(configuration: Configuration) -> Augmentation:
    return Augmentation(configuration.patch_size, configuration.use_mask_for_norm)
