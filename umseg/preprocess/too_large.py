"""The cases of a data set whose images would not fit into memory, found before the first one is preprocessed."""

from __future__ import annotations

from collections.abc import Iterable

from umseg.common.errors import UserError
from umseg.common.memory import available_memory
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.plan import Plan
from umseg.planning.rules.spacing import permute, resampled_shape
from umseg.preprocess.foresight import full_spacing
from umseg.preprocess.memory import require_resampling_memory


def too_large_cases(
    fingerprint: Fingerprint, plan: Plan, configurations: Iterable[str], available: int | None = None
) -> dict[str, UserError]:
    """The error of each case that cannot be resampled here, e.g. because its spacing is in metres.

    Args:
        fingerprint: Fingerprint with the spacing and shape of every case.
        plan: Plan that gives the axis order and the target spacings.
        configurations: Names of the configurations that are preprocessed.
        available: Bytes of memory that can be had; None asks the machine.
    """
    limit = available_memory() if available is None else available
    errors: dict[str, UserError] = {}
    cases = zip(fingerprint.case_ids, fingerprint.spacings, fingerprint.shapes_after_crop, strict=True)
    for case_id, spacing, shape in cases:
        old = permute(spacing, plan.transpose_forward)
        depth, height, width = (shape[axis] for axis in plan.transpose_forward)
        for name in configurations:
            configuration = plan.configuration(name)
            target, channels = full_spacing(configuration, old), len(configuration.normalization_schemes)
            new_shape = resampled_shape(old, (depth, height, width), target)
            try:
                require_resampling_memory((depth, height, width), new_shape, old, target, channels, limit)
            except UserError as error:
                errors.setdefault(case_id, error)
    return errors
