"""From the fingerprint of a data set to the plan of its networks (facts 1.4)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.memory import features_per_stage, plain_unet_estimate
from umseg.planning.plan import Configuration, Plan
from umseg.planning.spacing import axis_medians, axis_order, median_shape, permute, target_spacing
from umseg.planning.topology import Topology, plan_topology

log = logging.getLogger(__name__)

_INITIAL_EDGE = {2: 2048, 3: 256}
_MIN_BATCH_SIZE = 2
_LOWRES_THRESHOLD = 0.25
_LOWRES_STEP = 1.03
_MASK_THRESHOLD = 3 / 4
_CONVS_PER_STAGE = 2


@dataclass(frozen=True)
class Preset:
    """The constants in which planners differ.

    Attributes:
        memory_gb: GPU memory for which the reference values hold.
        reference_values: Feature-map values that fit there, per dimension, at the reference batch size.
        reference_batch_size: Per dimension.
        dataset_share: Largest share of the training voxels in one batch.
        patch_at_batch_two: Shrink patches until a batch of two fits, not until the reference batch does: 2-D patches
            become larger and batches smaller.
        lowres_min_gain: A low resolution configuration must have this many times fewer voxels.
    """

    memory_gb: float
    reference_values: dict[int, float]
    reference_batch_size: dict[int, int]
    dataset_share: float
    patch_at_batch_two: bool
    lowres_min_gain: float


PRESETS = {
    "default": Preset(8.0, {2: 85e6, 3: 560e6}, {2: 12, 3: 2}, 0.05, patch_at_batch_two=False, lowres_min_gain=1.0),
    "nnunet": Preset(8.0, {2: 85e6, 3: 560e6}, {2: 12, 3: 2}, 0.05, patch_at_batch_two=True, lowres_min_gain=2.0),
}

_NORMALIZATION = {
    "ct": "CTNormalization",
    "nonorm": "NoNormalization",
    "zscore": "ZScoreNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}


@dataclass(frozen=True)
class Context:
    """What all configurations of a plan share."""

    preset: Preset
    memory_gb: float
    num_classes: int
    schemes: tuple[str, ...]
    use_mask: tuple[bool, ...]

    def budget(self, dimensions: int) -> float:
        return self.preset.reference_values[dimensions] * self.memory_gb / self.preset.memory_gb

    def estimate(self, topology: Topology) -> int:
        return plain_unet_estimate(topology, self.num_classes, _CONVS_PER_STAGE)


def make_plan(
    fingerprint: Fingerprint,
    description: DatasetDescription,
    preset: str = "default",
    memory_gb: float | None = None,
) -> Plan:
    """Decide how networks for a data set are trained (paper, section 2.2; facts 1.4).

    Args:
        fingerprint: The measured data set.
        description: Its channels, labels and number of training cases.
        preset: ``default`` (the paper's rule) or ``nnunet``.
        memory_gb: GPU memory to plan for; the preset's own if None.

    Raises:
        UserError: Unknown preset, or a memory that is not positive.
    """
    rules = _look_up_preset(preset)
    if memory_gb is not None and not memory_gb > 0:
        raise UserError("The memory to plan for is not positive.", found=f"{memory_gb} GB", remedy="Give it in GB.")
    target = target_spacing(fingerprint.spacings, fingerprint.shapes_after_crop)
    median = median_shape(fingerprint.spacings, fingerprint.shapes_after_crop, target)
    forward, backward = axis_order(target, median)
    spacing, size = permute(target, forward), permute(median, forward)
    original_spacing = permute(axis_medians(fingerprint.spacings), forward)
    original_shape = permute(axis_medians(fingerprint.shapes_after_crop), forward)
    schemes = normalization_schemes(description)
    masked = fingerprint.median_relative_size_after_cropping < _MASK_THRESHOLD
    context = Context(
        preset=rules,
        memory_gb=rules.memory_gb if memory_gb is None else memory_gb,
        num_classes=description.num_classes,
        schemes=schemes,
        use_mask=tuple(masked and scheme == "ZScoreNormalization" for scheme in schemes),
    )
    return Plan(
        dataset_name=fingerprint.dataset_name,
        preset=preset,
        original_median_spacing_after_transp=original_spacing,
        original_median_shape_after_transp=(
            round(original_shape[0]),
            round(original_shape[1]),
            round(original_shape[2]),
        ),
        transpose_forward=forward,
        transpose_backward=backward,
        foreground_intensity_properties_per_channel=fingerprint.foreground_intensity_properties_per_channel,
        configurations=_configurations(context, spacing, size, description.numTraining),
    )


def normalization_schemes(description: DatasetDescription) -> tuple[str, ...]:
    """Normalisation per channel, chosen by the channel's name; z-score where the name says nothing (facts 1.4)."""
    names = description.channel_names.values()
    return tuple(_NORMALIZATION.get(name.casefold(), "ZScoreNormalization") for name in names)


def plan_patch(spacing: Sequence[float], median: Sequence[float], context: Context) -> tuple[Topology, int]:
    """Largest patch (and its network) within the memory budget, and its estimate (facts 1.4, steps 1 to 3).

    The patch starts with the physical proportions of a cube, no axis longer than the median image, and loses voxels
    where it covers the largest share of the image. A patch that cannot shrink any further is returned as it is.
    """
    dimensions = len(spacing)
    budget = context.budget(dimensions)
    if context.preset.patch_at_batch_two:
        budget *= context.preset.reference_batch_size[dimensions] / 2
    topology = plan_topology(spacing, initial_patch(spacing, median))
    while (estimate := context.estimate(topology)) > budget:
        smaller = _shrink(topology, spacing, median)
        if smaller is None:
            log.warning("Even the smallest patch %s exceeds the memory to plan for.", topology.patch_size)
            break
        topology = smaller
    return topology, estimate


def initial_patch(spacing: Sequence[float], median: Sequence[float]) -> tuple[float, ...]:
    """A cube in mm of the volume of 256³ voxels (a square of 2048² in 2-D), clipped to the median image (maybe x.5)."""
    dimensions = len(spacing)
    inverse = [1 / value for value in spacing]
    scale = (_INITIAL_EDGE[dimensions] ** dimensions / math.prod(inverse)) ** (1 / dimensions)
    return tuple(min(round(edge * scale), size) for edge, size in zip(inverse, median, strict=True))


def _shrink(topology: Topology, spacing: Sequence[float], median: Sequence[float]) -> Topology | None:
    """Take one step off the axis that covers most of the image; None if no axis can lose any more."""
    patch = topology.patch_size
    # The last of equal axes goes first.
    by_share = sorted(range(len(patch)), key=lambda axis: patch[axis] / median[axis])[::-1]
    for axis in by_share:
        tentative = _less(patch, axis, topology.divisor[axis])
        if tentative[axis] < 1:
            continue
        # The step is the divisor that the smaller patch will have, so that it needs no padding.
        smaller = _less(patch, axis, plan_topology(spacing, tentative).divisor[axis])
        return plan_topology(spacing, smaller)
    return None


def _less(patch: Sequence[int], axis: int, step: int) -> tuple[int, ...]:
    return tuple(size - step if a == axis else size for a, size in enumerate(patch))


def plan_batch_size(topology: Topology, estimate: int, training_voxels: float, context: Context) -> int:
    """As many patches as the memory allows and as show at most 5 % of the training voxels, at least two."""
    dimensions = len(topology.patch_size)
    reference = context.preset.reference_batch_size[dimensions]
    fitting = round(context.budget(dimensions) / estimate * reference)
    cap = round(training_voxels * context.preset.dataset_share / math.prod(topology.patch_size))
    return max(min(fitting, cap), _MIN_BATCH_SIZE)


def _configurations(
    context: Context, spacing: Sequence[float], size: Sequence[float], num_training: int
) -> dict[str, Configuration]:
    voxels = math.prod(size) * num_training
    configurations = {"2d": _configuration(context, spacing[1:], size[1:], voxels, batch_dice=True)}
    if 1 in size:
        return configurations
    fullres = _configuration(context, spacing, size, voxels, batch_dice=False)
    lowres = _lowres(context, fullres, num_training)
    if lowres is not None:
        fullres = fullres.model_copy(update={"batch_dice": True})
        configurations["3d_lowres"] = lowres
    configurations["3d_fullres"] = fullres
    return configurations


def _configuration(
    context: Context, spacing: Sequence[float], size: Sequence[float], training_voxels: float, *, batch_dice: bool
) -> Configuration:
    topology, estimate = plan_patch(spacing, size, context)
    stages = topology.num_stages
    return Configuration(
        spacing=tuple(spacing),
        median_image_size_in_voxels=tuple(size),
        patch_size=topology.patch_size,
        batch_size=plan_batch_size(topology, estimate, training_voxels, context),
        normalization_schemes=context.schemes,
        use_mask_for_norm=context.use_mask,
        batch_dice=batch_dice,
        features_per_stage=features_per_stage(stages, len(size)),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        num_pool_per_axis=topology.num_pool_per_axis,
        n_conv_per_stage=(_CONVS_PER_STAGE,) * stages,
        n_conv_per_stage_decoder=(_CONVS_PER_STAGE,) * (stages - 1),
    )


def _lowres(context: Context, fullres: Configuration, num_training: int) -> Configuration | None:
    """A coarser configuration whose patch covers a quarter of the image; None if full resolution (nearly) does."""
    spacing = fullres.spacing
    size = fullres.median_image_size_in_voxels
    lowres = fullres
    while math.prod(lowres.patch_size) / math.prod(size) < _LOWRES_THRESHOLD:
        spacing = _coarser(spacing)
        size = tuple(
            full / low * n
            for full, low, n in zip(fullres.spacing, spacing, fullres.median_image_size_in_voxels, strict=True)
        )
        rounded = tuple(float(max(1, round(n))) for n in size)
        lowres = _configuration(context, spacing, rounded, math.prod(size) * num_training, batch_dice=False)
    gain = math.prod(fullres.median_image_size_in_voxels) / math.prod(size)
    if lowres is fullres or gain < context.preset.lowres_min_gain:
        return None
    return lowres


def _coarser(spacing: Sequence[float]) -> tuple[float, ...]:
    """3 % coarser: only the axes more than twice as fine as the coarsest, or all if there is none."""
    fine = [max(spacing) / value > 2 for value in spacing]
    return tuple(
        value * _LOWRES_STEP if is_fine or not any(fine) else value
        for value, is_fine in zip(spacing, fine, strict=True)
    )


def _look_up_preset(name: str) -> Preset:
    if name not in PRESETS:
        raise UserError(
            f"Unknown preset '{name}'.",
            found=name,
            expected=" or ".join(PRESETS),
            remedy="Choose one of the known presets with --preset.",
        )
    return PRESETS[name]
