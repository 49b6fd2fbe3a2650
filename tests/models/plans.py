"""Small network configurations for tests."""

from __future__ import annotations

from collections.abc import Sequence

from umseg.architectures.registry import NETWORKS
from umseg.planning.plan import Configuration

U_NETS = [name for name, spec in NETWORKS.items() if spec.describe is not None]
"""The networks that are built from a description."""
BASELINES = [name for name, spec in NETWORKS.items() if spec.package == "monai"]
"""The networks of MONAI."""


def make_configuration(
    patch: Sequence[int],
    features: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]] | None = None,
) -> Configuration:
    """A configuration as a plan would hold it, two convolutions per stage."""
    axes = len(patch)
    return Configuration(
        spacing=(1.0,) * axes,
        median_image_size_in_voxels=tuple(float(n) for n in patch),
        patch_size=tuple(patch),
        batch_size=2,
        normalization_schemes=("ZScoreNormalization",),
        use_mask_for_norm=(False,),
        batch_dice=False,
        features_per_stage=tuple(features),
        kernel_sizes=tuple(map(tuple, kernels or [[3] * axes] * len(features))),
        strides=tuple(map(tuple, strides)),
        num_pool_per_axis=tuple(sum(stride[axis] > 1 for stride in strides) for axis in range(axes)),
        n_conv_per_stage=(2,) * len(features),
        n_conv_per_stage_decoder=(2,) * (len(features) - 1),
    )


HIPPOCAMPUS = make_configuration((40, 56, 40), (32, 64, 128, 256), [[1] * 3] + [[2] * 3] * 3)

SMALL = {
    "2d": make_configuration((12, 20), (4, 6, 8), [[1, 1], [2, 2], [2, 2]]),
    "3d": make_configuration((8, 12, 4), (4, 6, 8), [[1, 1, 1], [2, 2, 2], [2, 2, 2]]),
    "anisotropic": make_configuration(
        (3, 16, 24), (3, 5, 7), [[1, 1, 1], [1, 2, 2], [1, 2, 4]], [[1, 3, 3], [1, 3, 3], [3, 3, 3]]
    ),
    "one_stage": make_configuration((6, 5, 7), (4,), [[1, 1, 1]]),
    "two_stages": make_configuration((8, 6), (4, 6), [[1, 1], [2, 1]], [[3, 1], [3, 3]]),
}
"""Named so that a failing test says what kind of network it was; channels are few, as tests should be quick."""
