"""Origin of a preprocessed case, by which a later run knows whether the case is still up to date."""

from __future__ import annotations

from collections.abc import Sequence

from umseg.common.record import Record
from umseg.dataset.check.digest import digest_of_record
from umseg.dataset.dataset import Dataset
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Configuration, Plan
from umseg.planning.rules.normalizations import needs_statistics
from umseg.preprocess.locations import location_classes

METHOD = 2
"""Version of the method, raised with every change of preprocessing that changes results: all cases are then redone."""


class Origin(Record):
    """Everything that the arrays of a preprocessed case depend on.

    Attributes:
        source: Hash of the image and label files (``case_digest``).
        recipe: Hash of everything else that preprocessing depends on. It does not contain what only training depends on
            (patch, batch, strides), nor intensity statistics where no channel is normalised by them: such cases stay
            when others are added to the data set.
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


class _TurnedRecipe(_Recipe):
    """The recipe of a case that is turned; that of all others is as it was before images could be turned."""

    orientation: str


def case_origins(
    dataset: Dataset,
    digests: Sequence[str],
    plan: Plan,
    configuration: Configuration,
    orientations: Sequence[str | None] = (),
) -> dict[str, Origin]:
    """The origin that every case of a data set must have, by case id.

    Args:
        dataset: Data set that gives the cases, and the classes to draw locations for.
        digests: ``case_digest`` of every case.
        plan: Plan that gives the axis order, the boundary width and the intensity statistics.
        configuration: Configuration of the plan.
        orientations: Orientation in which each image is stored (``Fingerprint.orientations``); empty if none is turned.
    """
    schemes = configuration.normalization_schemes
    used = {str(channel) for channel, scheme in enumerate(schemes) if needs_statistics(scheme)}
    statistics = plan.foreground_intensity_properties_per_channel
    recipe = _Recipe(
        method=METHOD,
        transpose_forward=plan.transpose_forward,
        boundary_width=plan.boundary_width,
        spacing=configuration.spacing,
        normalization_schemes=schemes,
        use_mask_for_norm=configuration.use_mask_for_norm,
        statistics={channel: found for channel, found in statistics.items() if channel in used},
        classes=location_classes(dataset.description),
    )
    as_stored = turned = digest_of_record(recipe)
    if dataset.orientation is not None:
        turned = digest_of_record(_TurnedRecipe(**recipe.model_dump(), orientation=dataset.orientation))
    stays = (None, dataset.orientation)
    return {
        case.id: Origin(source=source, recipe=as_stored if axes in stays else turned)
        for case, source, axes in zip(dataset.cases, digests, orientations or (None,) * len(dataset.cases), strict=True)
    }
