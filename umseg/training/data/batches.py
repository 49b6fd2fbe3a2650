"""Training and validation batches: a function of (seed, epoch, index) and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.common.errors import UserError
from umseg.common.processes.workers import note_case
from umseg.common.text import counted
from umseg.planning.plan import Configuration
from umseg.preprocess.store.case_store import CaseStore, StoredCase
from umseg.preprocess.store.stored_array import REMEDY
from umseg.training.augmentation import Augmentation, Context, empty_batch, patch_geometry
from umseg.training.augmentation.names import DEFAULT_PIPELINE
from umseg.training.augmentation.pipelines import CASCADE, PIPELINES, Pipeline
from umseg.training.augmentation.transform import draw_all
from umseg.training.data.sampling import FOREGROUND_SHARE, cut, forced_foreground, patch_centres, patch_corner

Phase = Literal["train", "validation"]
PHASES: tuple[Phase, ...] = ("train", "validation")
Key = tuple[int, Phase, int]
"""The epoch, the phase, and the number of the batch in the phase."""
AugmentationPlace = Literal["cpu", "gpu", "none"]
"""Where training batches are augmented: in the processes that prepare them, on the device that trains, or nowhere."""

OPEN_CASES = 128
"""Number of cases that a process keeps open."""


@dataclass(frozen=True)
class Batch:
    """The input and the targets of one training step.

    Attributes:
        data: (batch, channels, *patch) float32.
        targets: Label maps (batch, *spatial) int16 at the resolution of each head, the full resolution first.
        cases: Case ids of the samples.
    """

    data: Tensor
    targets: tuple[Tensor, ...]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Patches:
    """A batch on its way from the process that prepares it to the one that trains.

    It has few tensors, because each of them takes time to send.

    Attributes:
        data: (batch, channels, *patch) float32.
        label: (batch, planes, *patch) int16 without negative values; where there are seeds, -1 outside the nonzero
            region in the first plane.
        cases: Case ids of the samples.
        seeds: Seeds of the samples whose augmentation is still to be done, on patches with a margin; None: it is done.
    """

    data: Tensor
    label: Tensor
    cases: tuple[str, ...]
    seeds: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> Patches:
        """The same batch on a device; nothing waits for a copy from page-locked memory."""
        data, label = (x.to(device, non_blocking=True) for x in (self.data, self.label))
        return Patches(data, label, self.cases, self.seeds)


@dataclass(frozen=True)
class BatchFactory:
    """Makes the batch of a key in two parts: ``prepare`` in a worker process, ``finish`` on the training device.

    Attributes:
        folder: Folder of the preprocessed cases.
        configuration: The plan's configuration: patch size, batch size and strides.
        cases: Case ids of each phase.
        seed: Seed of everything random.
        augmentation: Where training batches are augmented; ``gpu`` leaves it to ``finish``.
        oversampling: Share of a batch that must show foreground.
        mirror_axes: Spatial axes that are mirrored; None means all.
        first_stage: Store of the first stage's segmentations, in the second stage of a cascade.
        first_stage_values: Label values of these segmentations that become a channel each.
        transforms: The transforms of the augmentation.
        samples: Numbers of the samples that are made, where several processes share a batch; None means all.

    Raises:
        UserError: A transform cannot be applied in the place or to the data of this run.
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
    transforms: Pipeline = PIPELINES[DEFAULT_PIPELINE]
    samples: range | None = None

    def __post_init__(self) -> None:
        for transform in self.transforms if self.augmentation != "none" else ():
            if self.augmentation == "gpu" and not transform.on_gpu:
                raise UserError(
                    f"The transform '{transform.name}' cannot be applied on a GPU.",
                    found="--augmentation gpu",
                    remedy="Use --augmentation cpu, or leave the transform out of --transforms.",
                )
            transform.check(self._context)

    @property
    def numbers(self) -> range:
        """Numbers of the samples of the batch that are made."""
        return range(self.configuration.batch_size) if self.samples is None else self.samples

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.configuration.normalization_schemes)

    @property
    def planes(self) -> int:
        """Number of label maps of a sample: the reference, and in a cascade the first stage's segmentation."""
        return 1 if self.first_stage is None else 2

    def size(self, phase: Phase) -> tuple[int, ...]:
        """Size of the patches that ``prepare`` makes: with a margin where they are still to be augmented."""
        geometry = self._context.geometry
        return geometry.initial_patch if phase == "train" and self.augmentation == "gpu" else geometry.patch

    def empty(self, phase: Phase) -> tuple[Tensor, Tensor]:
        """Uninitialised memory for the data and label maps of a batch."""
        return empty_batch(len(self.numbers), self.channels, self.planes, self.size(phase))

    def prepare(self, epoch: int, phase: Phase, index: int, out: tuple[Tensor, Tensor] | None = None) -> Patches:
        """Draw cases with replacement, cut patches and, in training, augment them.

        Source: docs/rules.md, Patch sampling and Augmentation.

        Args:
            epoch: Number of the epoch, from 0.
            phase: Phase of the epoch.
            index: Number of the batch in the phase.
            out: Memory for data and label maps (``empty``); None allocates it.
        """
        key = (self.seed, epoch, 0 if phase == "train" else 1, index)
        rngs = [np.random.default_rng((*key, number)) for number in self.numbers]
        seeds = tuple(int(rng.integers(2**32)) for rng in rngs)
        data, label = out or self.empty(phase)
        if phase != "train" or self.augmentation == "none":
            cases = self._draw(rngs, phase, self.size(phase), data.unbind(), label.unbind())
            return Patches(data, label.clamp_(min=0), cases)
        initial = self._context.geometry.initial_patch
        if self.augmentation == "gpu":
            cases = self._draw(rngs, phase, initial, data.unbind(), label.unbind())
            # Before the augmentation and not after it, because these transforms cannot be applied on a GPU.
            self._disturb(label, seeds)
            return Patches(data, label, cases, seeds)
        # Most samples are not rotated, and the margin for a rotation need not be read.
        draws = self._augmentation.draw(seeds)
        sizes = self._augmentation.sizes(draws, len(seeds))
        pairs = [empty_batch(1, self.channels, self.planes, size) for size in sizes]
        images, maps = [image[0] for image, _ in pairs], [label[0] for _, label in pairs]
        cases = self._draw(rngs, phase, initial, images, maps)
        with _named(cases):
            self._augmentation(images, maps, draws, (data, label))
            self._disturb(label, seeds)
        return Patches(data, label, cases)

    def finish(self, patches: Patches) -> Batch:
        """Do the rest of the work on the device that holds the patches."""
        data, label = patches.data, patches.label
        if patches.seeds is not None:
            with _named(patches.cases):
                draws = self._augmentation.draw(patches.seeds)
                data, label = self._augmentation(data.unbind(), label.unbind(), draws)
        if self.first_stage is not None:
            values = torch.tensor(self.first_stage_values, dtype=label.dtype, device=label.device)
            hot = label[:, 1:] == values.view(-1, *(1,) * (label.dim() - 2))
            data = torch.cat([data, hot.to(data.dtype)], dim=1)
        return Batch(data, deep_supervision_targets(label[:, 0], self.configuration.strides), patches.cases)

    def _disturb(self, label: Tensor, seeds: Sequence[int]) -> None:
        """Apply the transforms of the first stage's segmentation, in place."""
        if self.first_stage is not None:
            for transform in CASCADE:
                for sample, params in zip(label, draw_all(transform, seeds, self._context), strict=True):
                    if params is not None:
                        transform.apply(sample, sample, params)

    # These two travel to worker processes with the factory.
    @cached_property
    def _context(self) -> Context:
        geometry = patch_geometry(self.configuration.patch_size, self.mirror_axes)
        return Context(self.channels, geometry, self.first_stage_values)

    @cached_property
    def _augmentation(self) -> Augmentation:
        return Augmentation(self.transforms, self._context, self.configuration.use_mask_for_norm)

    def _draw(
        self,
        rngs: Sequence[np.random.Generator],
        phase: Phase,
        initial: tuple[int, ...],
        images: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> tuple[str, ...]:
        """Fill images and label maps with patches of random cases, or with their centres; returns the case ids."""
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
        if case.label is None or case.data.shape[0] != len(data):
            raise UserError(
                f"Preprocessed case {name} does not fit the plan.",
                file=self.folder,
                found=f"{counted(case.data.shape[0], 'channel')}, {'no' if case.label is None else 'a'} label map",
                expected=f"{counted(len(data), 'channel')} and a label map",
                remedy=REMEDY,
            )
        if len(final) == 2:
            data, label, initial, final = data[:, None], label[:, None], (1, *initial), (1, *final)
        centres = patch_centres(case.class_locations, forced)
        corner = patch_corner(rng, case.label.shape, initial, final, centres)
        centred = [c + (whole - part) // 2 for c, whole, part in zip(corner, initial, label.shape[1:], strict=True)]
        cut(case.data, centred, data, 0)
        cut(case.label, centred, label[0], -1)
        if self.first_stage is not None:
            cut(_open(self.first_stage, name).data, centred, label[1:], 0)


def deep_supervision_targets(label: Tensor, strides: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
    """Label maps for every head by nearest-neighbour reduction (docs/rules.md, Augmentation).

    Args:
        label: (batch, *spatial).
        strides: Stride at the beginning of each encoder stage; every stage but the last has a head.
    """
    targets = []
    for factors in np.cumprod(np.asarray(strides), axis=0)[: max(len(strides) - 1, 1)].tolist():
        target = label
        for axis, factor in enumerate(factors, start=1):
            # The voxel at the centre of each block, or the upper one of two.
            whole = target.shape[axis] // factor * factor
            target = target.narrow(axis, 0, whole)[(slice(None),) * axis + (slice(factor // 2, None, factor),)]
        targets.append(target.contiguous())
    return tuple(targets)


@contextmanager
def _named(cases: Sequence[str]) -> Iterator[None]:
    """Name the cases in the message of an unforeseen error, and where the process dies without a word."""
    note_case(", ".join(cases))
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise RuntimeError(f"case {', '.join(cases)}: {type(error).__name__}: {error}") from error


def close_cases() -> None:
    """Close the cases that are open in this process, because they may have been preprocessed again."""
    _open.cache_clear()


@lru_cache(maxsize=OPEN_CASES)
def _open(folder: Path, case_id: str) -> StoredCase:
    return CaseStore(folder).open(case_id)
