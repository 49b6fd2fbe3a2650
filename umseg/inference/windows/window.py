"""The options of the sliding window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SlidingWindow:
    """The way in which an image is covered with windows.

    Attributes:
        patch: Size of a window; two axes mean that every slice along axis 0 is covered separately.
        batch_size: Number of windows that go through the network together; None chooses it (``batches``).
        step: Distance of neighbouring windows as a fraction of the patch.
        mirror_axes: Axes of the patch that are flipped; the logits are averaged over all combinations of flips. Empty:
            no mirroring.
        most_bytes: Bytes that the sums may take at once; an image that needs more is worked on in strips. None: what
            ``strips.most_bytes`` finds.
        skip_empty: Whether windows outside of the body are left out (``empty`` says what that changes).
        separate: Whether slabs also have the sums of each network, or of each flip if there is one network.
    """

    patch: tuple[int, ...]
    batch_size: int | None = None
    step: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    most_bytes: int | None = None
    skip_empty: bool = False
    separate: bool = False
