"""What a preprocessed case was made from: by this a later run knows whether the case still holds."""

from __future__ import annotations

from collections.abc import Sequence

from umseg.common.record import Record
from umseg.dataset.check.digest import digest_of_record
from umseg.dataset.dataset import Dataset
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.normalizations import needs_statistics
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.locations import location_classes

METHOD = 2
"""To be raised with every change of preprocessing that changes its results: then all cases are made anew."""


class Origin(Record):
    """What the arrays of a preprocessed case depend on.

    Attributes:
        source: Hash of its image and label files (``case_digest``).
        recipe: Hash of all else that preprocessing depends on. What the network sees later (patch, batch, strides) is
            no part of it, nor are intensity statistics where no channel is normalised by them: such cases stay when
            others are added to the data set.
    """

    source: str
    recipe: str


class _Recipe(Record):
    method: int
    transpose_forward: tuple[int, int, int]
    boundary_width: int | None
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    statistics: dict[str, IntensityStatistics]
    classes: dict[int, tuple[int, ...]]


def case_origins(
    dataset: Dataset, digests: Sequence[str], plan: Plan, configuration: Configuration
) -> dict[str, Origin]:
    """What every case of a data set has to be made from, by case id.

    Args:
        dataset: The cases, and the classes to draw locations for.
        digests: ``case_digest`` of every case.
        plan: Axis order, boundary width and intensity statistics.
        configuration: One of the plan's.
    """
    schemes = configuration.normalization_schemes
    used = {str(channel) for channel, scheme in enumerate(schemes) if needs_statistics(scheme)}
    known = plan.foreground_intensity_properties_per_channel
    recipe = _Recipe(
        method=METHOD,
        transpose_forward=plan.transpose_forward,
        boundary_width=plan.boundary_width,
        spacing=configuration.spacing,
        normalization_schemes=schemes,
        use_mask_for_norm=configuration.use_mask_for_norm,
        statistics={channel: found for channel, found in known.items() if channel in used},
        classes=location_classes(dataset.description),
    )
    digest = digest_of_record(recipe)
    return {case.id: Origin(source=source, recipe=digest) for case, source in zip(dataset.cases, digests, strict=True)}
