"""What planning found and decided, in words that a radiologist reads."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from umseg.planning import Configuration, Fingerprint, Plan


def plan_summary(fingerprint: Fingerprint, plan: Plan) -> str:
    """A few lines: cases, shapes, spacings, and the configurations."""
    spacing, shape = np.asarray(fingerprint.spacings), np.asarray(fingerprint.shapes_after_crop)
    lines = [
        f"{plan.dataset_name}: {len(spacing)} cases",
        f"  spacing (z, y, x): median {_times(np.median(spacing, 0))} mm, "
        f"from {_times(spacing.min(0))} to {_times(spacing.max(0))}",
        f"  size (z, y, x):    median {_times(np.median(shape, 0))} voxels, "
        f"from {_times(shape.min(0))} to {_times(shape.max(0))}",
        f"  plan ({plan.preset}):",
    ]
    return "\n".join([*lines, *(f"    {name}: {_describe(c)}" for name, c in plan.configurations.items())])


def _describe(configuration: Configuration) -> str:
    return (
        f"spacing {_times(configuration.spacing)} mm, patch {_times(configuration.patch_size)}, "
        f"batch {configuration.batch_size}, {configuration.num_stages} stages, "
        f"{', '.join(sorted(set(configuration.normalization_schemes)))}"
    )


def _times(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
