"""Training and validation batches: a function of (seed, epoch, index) and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.common.errors import UserError
from umseg.planning.plan import Configuration
from umseg.preprocess.store.case_store import REMEDY, CaseStore, StoredCase
from umseg.training.augmentation import Augmentation, StyleName, empty_batch
from umseg.training.augmentation.cascade import disturb
from umseg.training.data.sampling import FOREGROUND_SHARE, cut, forced_foreground, patch_centres, patch_corner

Phase = Literal["train", "validation"]
PHASES: tuple[Phase, ...] = ("train", "validation")
Key = tuple[int, Phase, int]
"""Epoch, phase, index of the batch in the phase."""
AugmentationPlace = Literal["cpu", "gpu", "none"]
"""Where training batches are augmented: by the processes that prepare them, on the device that trains, or nowhere."""

OPEN_CASES = 128


@dataclass(frozen=True)
class Batch:
    """What the network is fed.

    Attributes:
        data: (batch, channels, *patch) float32.
        targets: Label maps (batch, *spatial) int16 at the resolution of every head, the full one first.
        cases: Case ids of the samples.
    """

    data: Tensor
    targets: tuple[Tensor, ...]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Patches:
    """What travels from the process that prepares a batch to the one that trains: few tensors, as each costs time.

    Attributes:
        data: (batch, channels, *patch) float32.
        label: (batch, planes, *patch) int16 without negative values; where there are seeds, -1 outside the nonzero
            region in the first plane.
        cases: Case ids of the samples.
        seeds: Of the augmentation that is still to be done, with patches of the initial size; None: it is done.
    """

    data: Tensor
    label: Tensor
    cases: tuple[str, ...]
    seeds: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> Patches:
        """On a device; from page-locked memory nothing waits for the copy."""
        data, label = (x.to(device, non_blocking=True) for x in (self.data, self.label))
        return Patches(data, label, self.cases, self.seeds)


@dataclass(frozen=True)
class BatchFactory:
    """Makes the batch of a key, in two parts: ``prepare`` in a worker process, ``finish`` on the training device.

    Attributes:
        folder: Preprocessed cases.
        configuration: Patch, batch size and strides.
        cases: Case ids per phase.
        seed: Seed of everything random.
        augmentation: ``gpu`` leaves the augmentation to ``finish``.
        oversampling: Share of a batch that must show foreground.
        mirror_axes: Spatial axes that are mirrored; None: all.
        first_stage: In the second stage of a cascade: store of the first one's segmentations.
        first_stage_values: Label values that become a channel each.
        transforms: Whose variants of the augmentation.
        samples: Those of the batch that are made, where several processes share it; None: all.
    """

    folder: Path
    configuration: Configuration
    cases: Mapping[Phase, tuple[str, ...]]
    seed: int
    augmentation: AugmentationPlace = "cpu"
    oversampling: float = FOREGROUND_SHARE
    mirror_axes: tuple[int, ...] | None = None
    first_stage: Path | None = None
    first_stage_values: tuple[int, ...] = ()
    transforms: StyleName = "umamba"
    samples: range | None = None

    @property
    def numbers(self) -> range:
        """Numbers of the samples of the batch that are made."""
        return range(self.configuration.batch_size) if self.samples is None else self.samples

    @property
    def channels(self) -> int:
        """Of the images."""
        return len(self.configuration.normalization_schemes)

    @property
    def planes(self) -> int:
        """Label maps of a sample: the reference, and in a cascade the first stage's segmentation."""
        return 1 if self.first_stage is None else 2

    def size(self, phase: Phase) -> tuple[int, ...]:
        """Of the patches that ``prepare`` makes: the initial one where they are still to be augmented."""
        raw = phase == "train" and self.augmentation == "gpu"
        return self._augmentation.geometry.initial_patch if raw else self._augmentation.patch

    def empty(self, phase: Phase) -> tuple[Tensor, Tensor]:
        """Memory for the data and label maps of a batch."""
        return empty_batch(len(self.numbers), self.channels, self.planes, self.size(phase))

    def prepare(self, epoch: int, phase: Phase, index: int, out: tuple[Tensor, Tensor] | None = None) -> Patches:
        """Draw cases with replacement, cut patches and, in training, augment them (docs/rules.md, Augmentation).

        Source: docs/rules.md, Patch sampling.

        Args:
            epoch: From 0.
            phase: Of the epoch.
            index: Of the batch in the phase.
            out: Where to put data and label maps (``empty``); None: in new memory.
        """
        key = (self.seed, epoch, 0 if phase == "train" else 1, index)
        rngs = [np.random.default_rng((*key, number)) for number in self.numbers]
        seeds = tuple(int(rng.integers(2**32)) for rng in rngs)
        data, label = out or self.empty(phase)
        if phase != "train" or self.augmentation == "none":
            cases = self._draw(rngs, phase, self.size(phase), data.unbind(), label.unbind())
            return Patches(data, label.clamp_(min=0), cases)
        augmentation = self._augmentation
        initial = augmentation.geometry.initial_patch
        if self.augmentation == "gpu":
            cases = self._draw(rngs, phase, initial, data.unbind(), label.unbind())
            # Before the patch is turned, and not after it: the GPU has no such operators.
            self._disturb(label, rngs)
            return Patches(data, label, cases, seeds)
        # Most samples are not turned, and the margin for that need not be read.
        sizes = augmentation.sizes(self.channels, seeds)
        pairs = [empty_batch(1, self.channels, self.planes, size) for size in sizes]
        images, maps = [image[0] for image, _ in pairs], [label[0] for _, label in pairs]
        cases = self._draw(rngs, phase, initial, images, maps)
        with _named(cases):
            augmentation(images, maps, seeds, (data, label))
            self._disturb(label, rngs)
        return Patches(data, label, cases)

    def finish(self, patches: Patches) -> Batch:
        """Do what is left, on the device that holds the patches."""
        data, label = patches.data, patches.label
        if patches.seeds is not None:
            with _named(patches.cases):
                data, label = self._augmentation(data.unbind(), label.unbind(), patches.seeds)
        if self.first_stage is not None:
            values = torch.tensor(self.first_stage_values, dtype=label.dtype, device=label.device)
            hot = label[:, 1:] == values.view(-1, *(1,) * (label.dim() - 2))
            data = torch.cat([data, hot.to(data.dtype)], dim=1)
        return Batch(data, deep_supervision_targets(label[:, 0], self.configuration.strides), patches.cases)

    def _disturb(self, label: Tensor, rngs: Sequence[np.random.Generator]) -> None:
        if self.first_stage is not None:
            for sample, rng in zip(label, rngs, strict=True):
                disturb(sample[1].numpy(), self.first_stage_values, rng)

    @property
    def _augmentation(self) -> Augmentation:
        return _augmentation(self.configuration, self.mirror_axes, self.transforms)

    def _draw(
        self,
        rngs: Sequence[np.random.Generator],
        phase: Phase,
        initial: tuple[int, ...],
        images: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> tuple[str, ...]:
        """Fill images and label maps with patches of random cases, or with the middle of them; returns the cases."""
        names = []
        forced = forced_foreground(self.configuration.batch_size, self.oversampling)
        for rng, number, image, label in zip(rngs, self.numbers, images, labels, strict=True):
            name = self.cases[phase][int(rng.integers(len(self.cases[phase])))]
            names.append(name)
            with _named([name]):
                self._cut(rng, name, initial, forced[number], image.numpy(), label.numpy())
        return tuple(names)

    def _cut(
        self,
        rng: np.random.Generator,
        name: str,
        initial: tuple[int, ...],
        forced: bool,
        data: NDArray[np.float32],
        label: NDArray[np.int16],
    ) -> None:
        """Fill ``data`` (channels, *size) and ``label`` (planes, *size); a 2-D patch is a slice across axis 0."""
        case, final = _open(self.folder, name), tuple(self.configuration.patch_size)
        assert case.label is not None
        if len(final) == 2:
            data, label, initial, final = data[:, None], label[:, None], (1, *initial), (1, *final)
        centres = patch_centres(case.class_locations, forced)
        corner = patch_corner(rng, case.label.shape, initial, final, centres)
        middle = [c + (whole - part) // 2 for c, whole, part in zip(corner, initial, label.shape[1:], strict=True)]
        try:
            cut(case.data, middle, data, 0)
            cut(case.label, middle, label[0], -1)
            if self.first_stage is not None:
                cut(_open(self.first_stage, name).data, middle, label[1:], 0)
        except RuntimeError as error:
            # All that blosc2 says when a block cannot be decompressed; opening a case reads no block.
            raise UserError(
                f"Preprocessed case {name} is damaged.", file=self.folder, found=str(error), remedy=REMEDY
            ) from error


def deep_supervision_targets(label: Tensor, strides: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
    """Label maps for every head by nearest-neighbour reduction (docs/rules.md, Augmentation).

    Args:
        label: (batch, *spatial).
        strides: Stride on entering each encoder stage; every stage but the last has a head.
    """
    targets = []
    for factors in np.cumprod(np.asarray(strides), axis=0)[: max(len(strides) - 1, 1)].tolist():
        target = label
        for axis, factor in enumerate(factors, start=1):
            # Of each block of voxels the one at its centre, the upper one of two.
            whole = target.shape[axis] // factor * factor
            target = target.narrow(axis, 0, whole)[(slice(None),) * axis + (slice(factor // 2, None, factor),)]
        targets.append(target.contiguous())
    return tuple(targets)


@contextmanager
def _named(cases: Sequence[str]) -> Iterator[None]:
    """Say in an unforeseen error which cases it was about."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f"case {', '.join(cases)}: {type(error).__name__}: {error}") from error


def close_cases() -> None:
    """Forget the cases that are open in this process: they may be preprocessed anew."""
    _open.cache_clear()


@lru_cache(maxsize=OPEN_CASES)
def _open(folder: Path, case_id: str) -> StoredCase:
    return CaseStore(folder).open(case_id)


@lru_cache(maxsize=1)
def _augmentation(
    configuration: Configuration, mirror_axes: tuple[int, ...] | None, transforms: StyleName
) -> Augmentation:
    return Augmentation(configuration.patch_size, configuration.use_mask_for_norm, mirror_axes, transforms)
