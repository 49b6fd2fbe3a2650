"""The summary that ``umseg plan`` prints: what was measured and decided, in words that a radiologist reads."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from umseg.architectures.memory.model import Measure, described_models
from umseg.common.text import LINE, counted, printable, wrapped
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import NO_SLICE_SPACING
from umseg.planning import Configuration, Fingerprint, Plan
from umseg.planning.classes import ClassStatistics
from umseg.planning.stages import configuration_stages
from umseg.planning.training_memory import training_memory

_MM3_PER_ML = 1000


def plan_summary(
    fingerprint: Fingerprint, plan: Plan, description: DatasetDescription, measure: Measure | None = None
) -> str:
    """The data set, its classes, and the configurations with the memory that each model would take.

    Args:
        fingerprint: The measured data set.
        plan: The plan that was made for it.
        description: Names of channels and classes.
        measure: Measures the memory of the model that was planned for, where its layers are not described. Other such
            models are left out, as a measurement takes seconds; `umseg models` has them all.
    """
    blocks = [
        _dataset(fingerprint, plan, description),
        _classes(fingerprint),
        *(_configuration(name, plan, description, _natural(fingerprint), measure) for name in plan.configurations),
    ]
    return "\n".join(part for block in blocks for line in block for part in _fitting(line))


def _fitting(line: str) -> list[str]:
    """A line of the summary as lines that fit a terminal; what goes on stands below its beginning."""
    text = line.lstrip()
    lead = line[: len(line) - len(text)]
    # A named value, such as "channels:   MRI", goes on below the value.
    value = text.partition(":  ")[2].lstrip()
    first = line[: len(line) - len(value)] if value else lead
    if len(line) <= LINE:
        return [line]
    return wrapped(line[len(first) :], indent=" " * (len(first) if value else len(lead) + 4), first=first)


def _dataset(fingerprint: Fingerprint, plan: Plan, description: DatasetDescription) -> list[str]:
    spacing, shape = np.asarray(fingerprint.spacings), np.asarray(fingerprint.shapes_after_crop)
    # Only the plane of a single slice has a size; the slice axis is the plan's first.
    flat = list(plan.configurations) == ["2d"]
    axes = [axis for axis in range(3) if not (flat and axis == plan.transpose_forward[0])]
    names = ", ".join("zyx"[axis] for axis in axes)
    spacing, shape = spacing[:, axes], shape[:, axes]
    names_and_schemes = zip(description.channel_names.values(), _schemes(plan), strict=True)
    channels = [f"{printable(name)} ({scheme})" for name, scheme in names_and_schemes]
    unit = "pixels" if flat else "voxels"
    lines = [
        f"{printable(plan.dataset_name)}: {counted(len(spacing), 'case')}, {'2-D' if flat else '3-D'}",
        f"  channels:          {', '.join(channels)}",
    ]
    if not _natural(fingerprint):
        lines.append(f"  spacing ({names}):{' ' * (9 - len(names))}{_spread(spacing)} mm")
    lines.append(f"  size ({names}):{' ' * (12 - len(names))}{_spread(shape)} {unit}, after cropping empty borders")
    return lines


def _natural(fingerprint: Fingerprint) -> bool:
    """Whether the images are pictures without a physical size (PNG, TIFF, ...)."""
    return all(spacing == (NO_SLICE_SPACING, 1.0, 1.0) for spacing in fingerprint.spacings)


def _schemes(plan: Plan) -> tuple[str, ...]:
    configuration = plan.configuration(plan.default_configuration)
    words = [scheme.removesuffix("Normalization") for scheme in configuration.normalization_schemes]
    masked = configuration.use_mask_for_norm
    return tuple(word + " where not zero" if m else word for word, m in zip(words, masked, strict=True))


def _classes(fingerprint: Fingerprint) -> list[str]:
    if not fingerprint.classes:
        return []
    volumes = any(min(shape) > 1 for shape in fingerprint.shapes_after_crop)
    unit = "ml" if volumes else "px" if _natural(fingerprint) else "mm²"
    classes = {printable(name): statistics for name, statistics in fingerprint.classes.items()}
    present = {name: statistics for name, statistics in classes.items() if statistics.cases}
    width = max((len(name) for name in present), default=0)
    total = len(fingerprint.case_ids)
    lines = ["  classes:", *(_class(name, statistics, total, unit, width) for name, statistics in present.items())]
    if missing := [name for name in classes if name not in present]:
        lines.append(f"    Warning: these classes occur in no case and cannot be learned: {', '.join(missing)}")
    return lines


def _class(name: str, statistics: ClassStatistics, total: int, unit: str, width: int) -> str:
    scale = _MM3_PER_ML if unit == "ml" else 1
    median, low, high = (_size(v / scale) for v in (statistics.median_size, statistics.min_size, statistics.max_size))
    found = f"in {statistics.cases:,} of {counted(total, 'case')}"
    line = f"    {name:<{width}}  {found}, median {median} {unit} (from {low} to {high})"
    return line if statistics.median_objects is None else f"{line}, median {statistics.median_objects:g} objects"


def _configuration(
    name: str, plan: Plan, description: DatasetDescription, natural: bool, measure: Measure | None
) -> list[str]:
    configuration = plan.configuration(name)
    if configuration.inherits_from:
        return [f"  {name}: {configuration.inherits_from} with the result of {configuration.previous_stage} as input"]
    models = list(described_models(configuration_stages(configuration)))
    if measure is not None and plan.for_model is not None and plan.for_model not in models:
        models.append(plan.for_model)
    memory = (f"{model} {_gigabytes(model, configuration, description, measure):.1f}" for model in models)
    spacing = "" if natural else f"spacing {_times(configuration.spacing)} mm, "
    return [
        f"  {name}: {spacing}patch {_times(configuration.patch_size)}, "
        f"batch {configuration.batch_size}, {configuration.num_stages} stages",
        f"    {_why(name, configuration, plan)}",
        f"    expected GPU memory in training, GB: {', '.join(memory)}",
    ]


def _why(name: str, configuration: Configuration, plan: Plan) -> str:
    covered = math.prod(configuration.patch_size) / math.prod(configuration.median_image_size_in_voxels)
    target = f"{plan.memory_gb:g} GB for {plan.for_model}" if plan.for_model else f"{plan.memory_gb:g} GB"
    reason = "Patches of 3d_fullres cover too little; here a" if name == "3d_lowres" else "A"
    share = f"{reason} patch covers {min(covered, 1):.0%} of the median image."
    return f"Preset {plan.preset}, memory target {target}. {share}"


def _gigabytes(
    model: str, configuration: Configuration, description: DatasetDescription, measure: Measure | None
) -> float:
    channels = configuration.input_channels(description)
    memory = training_memory(model, configuration, channels, description.num_classes, measure=measure)
    return memory.total / 1e9


def _spread(table: np.ndarray) -> str:
    low, high = table.min(0), table.max(0)
    median = _times(np.median(table, 0))
    return median if np.array_equal(low, high) else f"median {median}, from {_times(low)} to {_times(high)}"


def _size(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _times(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
