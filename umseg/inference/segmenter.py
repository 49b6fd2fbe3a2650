"""What prediction needs of a model, whether it is one network, several, or something else that segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.orientation import Turn
from umseg.inference.needs import Needs
from umseg.inference.outputs.probabilities import ProbabilityFile
from umseg.inference.pipeline.record import Settings
from umseg.models.card import ModelCard

Progress = Callable[[int, int], None]
"""A function that is told how many windows of an image are done, and how many there are."""


@dataclass(frozen=True)
class Segmentation:
    """What the networks make of an image.

    Attributes:
        label_map: (z, y, x) as the networks see it.
        confidence: Agreement of the networks on each foreground class (``confidence.Agreement``), NaN where none of
            them has it; None where it was not asked for, or there is one network.
    """

    label_map: NDArray[Any]
    confidence: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Place:
    """Where networks run, and in which number format.

    Attributes:
        device: Name of the device, e.g. ``cpu`` or ``cuda:0``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    device: str
    precision: str


class Segmenter(Protocol):
    """A model that is loaded. What ``prepare`` returns is its own affair; the other methods take it.

    ``prepare`` and ``finish`` may be called in several threads at once, ``label_map``, ``label_maps`` and
    ``probabilities`` in one at a time.
    """

    @property
    def card(self) -> ModelCard:
        """The channels and labels, and what else the model says of itself."""
        ...

    @property
    def place(self) -> Place:
        """Where the networks run."""
        ...

    @property
    def settings(self) -> Settings:
        """What label maps depend on besides their images."""
        ...

    def prepare(
        self,
        array: NDArray[Any],
        spacing: tuple[float, float, float],
        axes: str | None = None,
        *,
        overwrite: bool = False,
    ) -> Any:
        """What the networks see of an image.

        Args:
            array: (channels, z, y, x).
            spacing: mm per voxel along z, y, x.
            axes: Orientation of the array; None if it is not known.
            overwrite: Whether the memory of the array may be used, whose values are then lost.
        """
        ...

    def needs(self, array: NDArray[Any], spacing: tuple[float, float, float], axes: str | None = None) -> Needs:
        """The memory that an image needs, before it is prepared.

        Args:
            array: (channels, z, y, x).
            spacing: mm per voxel along z, y, x.
            axes: Orientation of the array; None if it is not known.
        """
        ...

    def turn_of(self, prepared: Any) -> Turn:
        """The turn from an image's own axes to those of its label map."""
        ...

    def is_small(self, prepared: Any) -> bool:
        """Whether an image may go through the networks together with others."""
        ...

    def segment(
        self, prepared: Any, progress: Progress | None = None, probabilities: ProbabilityFile | None = None
    ) -> Segmentation:
        """The label map of an image.

        Args:
            prepared: The image.
            progress: Function that is told how many windows are done.
            probabilities: A file that is written meanwhile.
        """
        ...

    def segment_small(self, several: Sequence[Any]) -> Sequence[Segmentation]:
        """The same of several small images, which go through the networks together."""
        ...

    def finish(self, label_map: NDArray[Any], turn: Turn) -> NDArray[Any]:
        """The label map after post-processing, along the image's own axes."""
        ...

    def probabilities(self, prepared: Any) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The finished label map and the probabilities (classes, z, y, x), along the image's own axes."""
        ...
