"""The presets, which hold the constants in which planners differ (docs/rules.md, Planning)."""

from __future__ import annotations

from dataclasses import dataclass, field

from umseg.common.registry import Registry
from umseg.planning.rules.memory import NetworkShape


@dataclass(frozen=True)
class Preset:
    """The constants of one planner.

    Attributes:
        description: One line of text for the help.
        memory_gb: GPU memory in GB for which the reference values hold.
        reference_values: Number of feature-map values that fit into that memory at the reference batch size, by number
            of dimensions.
        dataset_share: Largest fraction of the training voxels in one batch.
        patch_at_batch_two: Whether patches shrink until a batch of two fits, instead of the reference batch, which
            makes 2-D patches larger and batches smaller.
        lowres_min_gain: Factor by which a low-resolution configuration must have fewer voxels.
        network: U-Net whose feature maps are counted.
        reference_batch_size: Batch size to which the reference values belong, by number of dimensions.
    """

    description: str
    memory_gb: float
    reference_values: dict[int, float]
    dataset_share: float
    patch_at_batch_two: bool
    lowres_min_gain: float
    network: NetworkShape = field(default_factory=NetworkShape)
    reference_batch_size: dict[int, int] = field(default_factory=lambda: {2: 12, 3: 2})


_RESIDUAL = NetworkShape(encoder_units=(1, 3, 4, 6), decoder_convs=1, residual=True)


def _residual(description: str, memory_gb: float, values_2d: float, values_3d: float) -> Preset:
    return Preset(description, memory_gb, {2: values_2d, 3: values_3d}, 1.0, False, 2.0, _RESIDUAL)


_OWN = {
    "default": Preset(
        "the U-Mamba paper's rules", 8, {2: 85e6, 3: 560e6}, 0.05, patch_at_batch_two=False, lowres_min_gain=1.0
    ),
    "nnunet": Preset("nnU-Net 2.8's rules", 8, {2: 85e6, 3: 560e6}, 0.05, patch_at_batch_two=True, lowres_min_gain=2.0),
    "resenc-m": _residual("nnU-Net's residual encoder, medium", 8, 135e6, 680e6),
    "resenc-l": _residual("nnU-Net's residual encoder, large", 24, 380e6, 2100e6),
    "resenc-xl": _residual("nnU-Net's residual encoder, extra large", 40, 560e6, 3600e6),
    # With so many values two cores train a U-Mamba_Enc in under two seconds per iteration (measured by
    # benchmarks/training_step.py).
    "cpu": Preset(
        "smaller patches and half the channels, for machines without a GPU",
        8,
        {2: 3.4e6, 3: 21e6},
        0.05,
        patch_at_batch_two=True,
        lowres_min_gain=2.0,
        network=NetworkShape(base_features=16),
    ),
}

PRESETS: Registry[Preset] = Registry("preset", "umseg.presets", _OWN, accepts=Preset)
"""The presets by name. ``default`` is also the rule of the released U-Mamba."""
