"""The presets: constants in which planners differ (docs/rules.md, Planning)."""

from __future__ import annotations

from dataclasses import dataclass, field

from umseg.common.errors import UserError
from umseg.planning.memory import NetworkShape


@dataclass(frozen=True)
class Preset:
    """The constants of one planner.

    Attributes:
        memory_gb: GPU memory for which the reference values hold.
        reference_values: Feature-map values that fit there, per dimension, at the reference batch size.
        reference_batch_size: Per dimension.
        dataset_share: Largest share of the training voxels in one batch.
        patch_at_batch_two: Shrink patches until a batch of two fits, not until the reference batch does: 2-D patches
            become larger and batches smaller.
        lowres_min_gain: A low resolution configuration must have this many times fewer voxels.
        network: The U-Net whose feature maps are counted.
    """

    memory_gb: float
    reference_values: dict[int, float]
    dataset_share: float
    patch_at_batch_two: bool
    lowres_min_gain: float
    network: NetworkShape = field(default_factory=NetworkShape)
    reference_batch_size: dict[int, int] = field(default_factory=lambda: {2: 12, 3: 2})


_RESIDUAL = NetworkShape(encoder_units=(1, 3, 4, 6), decoder_convs=1, residual=True)


def _residual(memory_gb: float, values_2d: float, values_3d: float) -> Preset:
    return Preset(memory_gb, {2: values_2d, 3: values_3d}, 1.0, False, 2.0, _RESIDUAL)


PRESETS = {
    "default": Preset(8, {2: 85e6, 3: 560e6}, 0.05, patch_at_batch_two=False, lowres_min_gain=1.0),
    "nnunet": Preset(8, {2: 85e6, 3: 560e6}, 0.05, patch_at_batch_two=True, lowres_min_gain=2.0),
    "resenc-m": _residual(8, 135e6, 680e6),
    "resenc-l": _residual(24, 380e6, 2100e6),
    "resenc-xl": _residual(40, 560e6, 3600e6),
    "cpu": Preset(
        8,
        {2: 3.4e6, 3: 21e6},
        0.05,
        patch_at_batch_two=True,
        lowres_min_gain=2.0,
        network=NetworkShape(base_features=16),
    ),
}
"""``default`` is the paper's and the released U-Mamba's rule, ``nnunet`` nnU-Net 2.8's, ``resenc-*`` its presets for
residual encoders. ``cpu`` is our own for machines without a GPU: half the channels, and as many values as two cores
train a U-Mamba_Enc on in under two seconds per iteration (measured by benchmarks/training_step.py)."""


def look_up_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UserError: There is none; lists the known ones.
    """
    if name not in PRESETS:
        raise UserError(
            f"Unknown preset '{name}'.",
            found=name,
            expected=" or ".join(PRESETS),
            remedy="Choose one of the known presets with --preset.",
        )
    return PRESETS[name]
