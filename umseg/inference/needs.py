"""The memory that an image needs, known before anything is computed for it."""

from __future__ import annotations

from dataclasses import dataclass

LATER = 160_000_000
"""Bytes of parts of the program that are loaded with the first case: numba, scipy, oneDNN's and the kernels' code."""


@dataclass(frozen=True)
class Needs:
    """Bytes that an image takes beside the program, the networks' weights and the image itself as it was read.

    Attributes:
        preparing: The most that preprocessing takes at once.
        prepared: What is left of it: the preprocessed image, for each model and each stage of a cascade.
        segmenting: The most that windows, sums and the label map take at once, beside what was prepared.
        label_map: What is left in the end.
        on_gpu: The most on the GPU of the networks; 0 where they run on the CPU.
    """

    preparing: int
    prepared: int
    segmenting: int
    label_map: int
    on_gpu: int = 0

    def at_once(self, image: int) -> int:
        """The most bytes of the computer's memory.

        Args:
            image: Bytes of the image as it was read, which is gone when it is prepared.
        """
        return max(image + self.preparing, self.prepared + self.segmenting)

    def before(self, second: Needs, joined: int) -> Needs:
        """The needs of a cascade of which these are those of the first stage.

        Args:
            second: Those of the second stage.
            joined: Bytes of the second stage's image together with the channels of the first stage.
        """
        return Needs(
            preparing=max(self.preparing, self.prepared + second.preparing),
            prepared=self.prepared + second.prepared,
            segmenting=max(self.segmenting, joined + second.segmenting),
            label_map=second.label_map,
            on_gpu=max(self.on_gpu, second.on_gpu),
        )

    def beside(self, other: Needs) -> Needs:
        """The needs of two models that predict together, without what they do in common."""
        return Needs(
            preparing=max(self.preparing, self.prepared + other.preparing),
            prepared=self.prepared + other.prepared,
            segmenting=self.segmenting + other.segmenting,
            label_map=max(self.label_map, other.label_map),
            on_gpu=self.on_gpu + other.on_gpu,
        )
