"""What every transform of the augmentation is: a name, a draw of parameters, and their application."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from umseg.common.errors import UserError
from umseg.training.augmentation.patch_geometry import PatchGeometry

ParamsT = TypeVar("ParamsT")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Context:
    """The facts about a training run that a transform may need to draw its parameters.

    Attributes:
        channels: Number of image channels.
        geometry: Size of the patch, and how it may be rotated and mirrored.
        first_stage_values: Foreground values of the first stage's segmentation, in the second stage of a cascade.
    """

    channels: int
    geometry: PatchGeometry
    first_stage_values: tuple[int, ...] = ()


class Transform(ABC, Generic[ParamsT]):
    """A random change of training samples.

    A transform draws parameters for each sample, from a generator that only the sample's seed and the transform's name
    determine, and then applies them. A transform that joins or leaves a pipeline therefore does not change the draws of
    the others, and a renamed transform draws anew.

    The object travels to worker processes: its class must be defined at the top level of a module. It must not keep
    anything between two calls.

    Attributes:
        name: Name in ``--transforms`` and in ``config.json``; it is part of the seed.
        margin: Whether samples that it is applied to are cut with a margin around the final patch. Such transforms
            stand at the beginning of a pipeline; after the last of them the samples are cropped to the final patch.
        on_gpu: Whether it can be applied to tensors on a GPU (``--augmentation gpu``).
    """

    name: str
    margin: bool = False
    on_gpu: bool = True

    @abstractmethod
    def draw(self, rng: np.random.Generator, context: Context) -> ParamsT | None:
        """The parameters for one sample; None leaves the sample unchanged.

        Args:
            rng: The generator of this sample and transform.
            context: The facts about the run.
        """

    @abstractmethod
    def apply(self, image: Tensor, label: Tensor, params: ParamsT) -> tuple[Tensor, Tensor]:
        """The changed image and label map of one sample; they may be the same tensors, changed in place.

        Args:
            image: (channels, *spatial) float32.
            label: (planes, *spatial) int16. The first plane is the reference, -1 outside the nonzero region; the second
                stage of a cascade adds the first one's segmentation.
            params: The result of ``draw``.
        """

    def apply_batch(self, images: Tensor, labels: Tensor, params: Sequence[ParamsT | None]) -> None:
        """Change a batch in place.

        Args:
            images: (batch, channels, *patch) float32.
            labels: (batch, planes, *patch) int16.
            params: The result of ``draw`` for every sample.
        """
        for image, label, param in zip(images, labels, params, strict=True):
            if param is not None:
                changed = self.apply(image, label, param)
                require_shape(self, changed, tuple(image.shape[1:]))
                for target, result in zip((image, label), changed, strict=True):
                    if result is not target:
                        target.copy_(result)

    def check(self, context: Context) -> None:
        """Refuse a run that this transform cannot serve, before training begins.

        Raises:
            UserError: A package is missing, or the data are of a kind that the transform cannot handle.
        """


def generator(seed: int, name: str) -> np.random.Generator:
    """The source of randomness of one transform for one sample.

    Args:
        seed: Seed of the sample.
        name: Name of the transform.
    """
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


def draw_all(transform: Transform[ParamsT], seeds: Sequence[int], context: Context) -> list[ParamsT | None]:
    """The parameters of one transform for samples with these seeds."""
    return [transform.draw(generator(seed, transform.name), context) for seed in seeds]


def around_one(rng: np.random.Generator, limits: tuple[float, float], size: int) -> Floats:
    """Factors that lie below 1 as often as above, and uniformly on either side.

    Args:
        rng: Source of randomness.
        limits: Smallest and largest factor.
        size: Number of factors.
    """
    low, high = limits
    return np.where(rng.random(size) < 0.5, rng.uniform(low, 1.0, size), rng.uniform(1.0, high, size))


def require_shape(transform: Transform[Any], sample: tuple[Tensor, Tensor], patch: tuple[int, ...]) -> None:
    """Refuse the result of a transform that changed the size of a sample.

    Raises:
        UserError: Names the transform and both sizes.
    """
    sizes = [tuple(x.shape[1:]) for x in sample]
    if sizes != [patch, patch]:
        image, label = (" x ".join(map(str, size)) for size in sizes)
        raise UserError(
            f"The transform '{transform.name}' changed the size of a patch.",
            found=f"an image of {image} and a label map of {label}",
            expected=" x ".join(map(str, patch)),
            remedy="Correct the transform, or leave it out of --transforms.",
        )
