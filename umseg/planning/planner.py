"""The planner, which turns the fingerprint of a data set into a plan of its networks (docs/rules.md, Planning)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from pydantic import ValidationError

from umseg.architectures.memory.model import Measure
from umseg.architectures.registry import network_spec
from umseg.common.errors import UserError
from umseg.common.record import invalid
from umseg.common.text import by
from umseg.dataset.description import DatasetDescription
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.overrides import Overrides
from umseg.planning.plan import Configuration, Plan
from umseg.planning.rules.memory_rules import CountedRule, MeasuredRule, MemoryRule, PublishedRule
from umseg.planning.rules.normalizations import scheme_of_channel, uses_mask
from umseg.planning.rules.patch import plan_batch_size, plan_patch
from umseg.planning.rules.presets import PRESETS, Preset
from umseg.planning.rules.spacing import Triple, axis_medians, axis_order, median_shape, permute, target_spacing
from umseg.planning.rules.topology import plan_topology

_LOWRES_THRESHOLD = 0.25
_LOWRES_STEP = 1.03
_MASK_THRESHOLD = 3 / 4
_MOST_MEMORY = 100_000
_MOST_VOXELS = 2**34
"""Most voxels of the median image: those of 64 GB as float32."""

BOUNDARY_WIDTH = 2
"""Number of voxels, from an object's surface inwards, that become the class boundary in an instance task."""


@dataclass(frozen=True)
class Context:
    """The values that all configurations of a plan share.

    Attributes:
        preset: Preset with the network and the limits.
        rule: Rule that decides what fits into the memory.
        overrides: Values that the user fixed, in the plan's axis order.
        schemes: Name of the normalisation of each channel.
        use_mask: Whether the normalisation of each channel looks only at voxels that are not zero.
        num_training: Number of training cases.
    """

    preset: Preset
    rule: MemoryRule
    overrides: Overrides
    schemes: tuple[str, ...]
    use_mask: tuple[bool, ...]
    num_training: int


def check_rules(preset: str, memory_gb: float | None, for_model: str | None) -> tuple[Preset, float]:
    """The preset of that name, and the memory to plan for in GB, which is the preset's unless it is given.

    Raises:
        UserError: The preset or the model is unknown, or the memory is not positive.
    """
    rules = PRESETS.look_up(preset, "--preset")
    memory = rules.memory_gb if memory_gb is None else memory_gb
    if not 0 < memory <= _MOST_MEMORY:
        raise UserError(
            "The memory to plan for is not valid.",
            found=f"{memory:g} GB",
            expected=f"a positive number of at most {_MOST_MEMORY:,} GB",
            remedy="Correct --memory-gb.",
        )
    if for_model is not None:
        network_spec(for_model)
    return rules, memory


def make_plan(
    fingerprint: Fingerprint,
    description: DatasetDescription,
    preset: str = "default",
    memory_gb: float | None = None,
    *,
    for_model: str | None = None,
    overrides: Overrides | None = None,
    measure: Measure | None = None,
) -> Plan:
    """Decide how networks for a data set are trained (paper, section 2.2; docs/rules.md, Planning).

    Args:
        fingerprint: Measurements of the data set.
        description: Channels, labels and number of training cases of the data set.
        preset: Name of a preset in ``PRESETS``; ``default`` is the paper's rule.
        memory_gb: GPU memory to plan for in GB; the preset's if None.
        for_model: Model whose expected training memory has to fit; None uses the published estimate.
        overrides: Spacing, patch and batch size that the user fixed.
        measure: Function that measures the memory of a model whose layers are not described, which takes seconds per
            patch size; see ``umseg.models.measured_memory``.

    Raises:
        UserError: The preset or the model is unknown, the memory is not positive, the overrides do not fit the data,
            or the model can only be measured and ``measure`` is None.
    """
    rules, memory = check_rules(preset, memory_gb, for_model)
    overrides = overrides or Overrides()
    target = overrides.spacing or target_spacing(fingerprint.spacings, fingerprint.shapes_after_crop)
    if overrides.spacing is not None:
        _check_spacing(target, fingerprint)
    median = median_shape(fingerprint.spacings, fingerprint.shapes_after_crop, target)
    if math.prod(median) > _MOST_VOXELS:
        raise UserError(
            "The images would be too large at the target spacing.",
            found=f"{by(median)} voxels at {by(target)} mm",
            expected=f"a median image of at most {_MOST_VOXELS:,} voxels",
            remedy="Choose a coarser spacing with --spacing.",
        )
    forward, backward = axis_order(target, median)
    spacing, size = permute(target, forward), permute(median, forward)
    depth, height, width = permute(axis_medians(fingerprint.shapes_after_crop), forward)
    schemes = normalization_schemes(description)
    masked = fingerprint.median_relative_size_after_cropping < _MASK_THRESHOLD
    context = Context(
        preset=rules,
        rule=_memory_rule(rules, memory, for_model, description, measure),
        overrides=overrides.permuted(forward),
        schemes=schemes,
        use_mask=tuple(masked and uses_mask(scheme) for scheme in schemes),
        num_training=description.numTraining,
    )
    try:
        return Plan(
            dataset_name=fingerprint.dataset_name,
            preset=preset,
            memory_gb=memory,
            for_model=for_model,
            original_median_spacing_after_transp=permute(axis_medians(fingerprint.spacings), forward),
            original_median_shape_after_transp=(round(depth), round(height), round(width)),
            transpose_forward=forward,
            transpose_backward=backward,
            foreground_intensity_properties_per_channel=fingerprint.foreground_intensity_properties_per_channel,
            boundary_width=BOUNDARY_WIDTH if description.task == "instance" else None,
            configurations=_configurations(context, spacing, size),
        )
    except ValidationError as error:
        raise invalid(
            "The plan would not be usable",
            error,
            remedy="Correct --memory-gb, --spacing, --patch-size or --batch-size.",
        ) from error


def _check_spacing(target: Triple, fingerprint: Fingerprint) -> None:
    """Refuse a spacing that is larger than the images, of which one voxel would be left."""
    cases = zip(fingerprint.spacings, fingerprint.shapes_after_crop, strict=True)
    sizes = axis_medians([tuple(map(mul, spacing, shape)) for spacing, shape in cases])
    voxels = axis_medians(fingerprint.shapes_after_crop)
    if any(new > size and count > 1 for new, size, count in zip(target, sizes, voxels, strict=True)):
        raise UserError(
            "The spacing is larger than the images.",
            found=f"{by(target)} mm",
            expected=f"less than the median size of the images, {by(sizes)} mm",
            remedy="Correct --spacing.",
        )


def _memory_rule(
    preset: Preset, memory_gb: float, for_model: str | None, description: DatasetDescription, measure: Measure | None
) -> MemoryRule:
    if for_model is None:
        return PublishedRule(preset, memory_gb, description.num_labels)
    rule = CountedRule if network_spec(for_model).describe is not None else MeasuredRule
    return rule(for_model, preset, memory_gb, description.num_channels, description.num_classes, measure)


def normalization_schemes(description: DatasetDescription) -> tuple[str, ...]:
    """The normalisation of every channel, chosen by the channel's name (docs/rules.md, Planning)."""
    return tuple(scheme_of_channel(name) for name in description.channel_names.values())


def _configurations(context: Context, spacing: Sequence[float], size: Sequence[float]) -> dict[str, Configuration]:
    voxels = math.prod(size) * context.num_training
    flat = _configuration(context, spacing[1:], size[1:], voxels)
    configurations = {"2d": flat.model_copy(update={"batch_dice": True})}
    if 1 in size:
        return configurations
    fullres = _configuration(context, spacing, size, voxels)
    lowres = _lowres(context, fullres)
    if lowres is None:
        return {**configurations, "3d_fullres": fullres}
    fullres = fullres.model_copy(update={"batch_dice": True})
    return {
        **configurations,
        "3d_lowres": lowres.model_copy(update={"next_stage": "3d_cascade_fullres"}),
        "3d_fullres": fullres,
        "3d_cascade_fullres": fullres.model_copy(update={"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}),
    }


def _configuration(
    context: Context, spacing: Sequence[float], size: Sequence[float], training_voxels: float
) -> Configuration:
    """Patch, batch and network, without batch Dice, for images of median ``size`` voxels at ``spacing``."""
    dimensions, network = len(size), context.preset.network
    patch = context.overrides.patch(dimensions)
    topology = plan_topology(spacing, patch) if patch else plan_patch(spacing, size, context.rule)
    batch_size = context.overrides.batch_size or plan_batch_size(
        topology, context.rule, training_voxels, context.preset.dataset_share
    )
    stages = topology.num_stages
    units = network.units(stages)
    return Configuration(
        spacing=tuple(spacing),
        median_image_size_in_voxels=tuple(size),
        patch_size=topology.patch_size,
        batch_size=batch_size,
        normalization_schemes=context.schemes,
        use_mask_for_norm=context.use_mask,
        batch_dice=False,
        features_per_stage=network.features(stages, dimensions),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        num_pool_per_axis=topology.num_pool_per_axis,
        n_conv_per_stage=None if network.residual else units,
        n_blocks_per_stage=units if network.residual else None,
        n_conv_per_stage_decoder=(network.decoder_convs,) * (stages - 1),
    )


def _lowres(context: Context, fullres: Configuration) -> Configuration | None:
    """A coarser configuration whose patch covers a quarter of the image.

    None if the patch at full resolution covers that much, or if the coarser images have hardly fewer voxels.
    """
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
        lowres = _configuration(context, spacing, rounded, math.prod(size) * context.num_training)
    gain = math.prod(fullres.median_image_size_in_voxels) / math.prod(size)
    if lowres is fullres or gain < context.preset.lowres_min_gain:
        return None
    return lowres


def _coarser(spacing: Sequence[float]) -> tuple[float, ...]:
    """A spacing 3 % coarser along the axes more than twice as fine as the coarsest, or along all if there are none."""
    fine = [max(spacing) / value > 2 for value in spacing]
    return tuple(
        value * _LOWRES_STEP if is_fine or not any(fine) else value
        for value, is_fine in zip(spacing, fine, strict=True)
    )
