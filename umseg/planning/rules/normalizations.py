"""The table of the intensity normalisations and of the channels that each is for; functions are imported on use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from umseg.common.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umseg.planning.intensity import IntensityStatistics

Normalize = Callable[["NDArray[np.float32]", "NDArray[np.bool_] | None", "IntensityStatistics | None"], Any]
"""``normalize(channel, mask, statistics)`` changes the (z, y, x) channel in place.

``mask`` (z, y, x) is true where the image is not zero, in plans that mask this channel; ``statistics`` describe the
foreground intensities of the channel over the data set.
"""


@dataclass(frozen=True)
class NormalizationSpec:
    """An intensity normalisation that plans choose by name.

    Attributes:
        name: Name of the scheme in plans.
        description: One line of text for users.
        channel_names: Channel names in ``dataset.json`` that choose the scheme; letter case does not matter.
        function: Function that normalises, or its name as ``module:function``, which is imported on use.
        needs_statistics: Whether it depends on the intensities of the whole data set.
        uses_mask: Whether it looks only at voxels that are not zero, in data sets where cropping removes much.
        by_voxel: Whether each result depends on no other voxel, so that a channel can be normalised slab by slab; the
            function gets no mask then.
    """

    name: str
    description: str
    channel_names: tuple[str, ...]
    function: Normalize | str
    needs_statistics: bool = False
    uses_mask: bool = False
    by_voxel: bool = False

    def resolve(self) -> Normalize:
        """The function that normalises, imported if necessary."""
        function: Normalize = resolve_name(self.function) if isinstance(self.function, str) else self.function
        return function


_FUNCTIONS = "umseg.preprocess.normalize"
_OWN = (
    NormalizationSpec(
        "CTNormalization",
        "clip to the data set's 0.5 and 99.5 percentiles, then subtract its mean and divide by its deviation",
        ("ct",),
        f"{_FUNCTIONS}:ct",
        needs_statistics=True,
        by_voxel=True,
    ),
    NormalizationSpec(
        "ZScoreNormalization",
        "zero mean and unit deviation in every image",
        ("zscore",),
        f"{_FUNCTIONS}:z_score",
        uses_mask=True,
    ),
    NormalizationSpec("NoNormalization", "no change", ("nonorm",), f"{_FUNCTIONS}:unchanged", by_voxel=True),
    NormalizationSpec(
        "RescaleTo01Normalization", "minimum to 0, maximum to 1", ("rescale_to_0_1",), f"{_FUNCTIONS}:rescale_to_01"
    ),
    NormalizationSpec("RGBTo01Normalization", "8-bit colours by 255", ("rgb_to_0_1",), f"{_FUNCTIONS}:rgb_to_01"),
)
_DEFAULT = "ZScoreNormalization"

NORMALIZATIONS: Registry[NormalizationSpec] = Registry(
    "normalisation", "umseg.normalizations", {spec.name: spec for spec in _OWN}, accepts=NormalizationSpec
)
"""The normalisations by the names of their schemes (docs/rules.md, Normalisation)."""


def scheme_of_channel(channel_name: str) -> str:
    """The scheme that a channel's name chooses, or z-scores where it chooses none (docs/rules.md, Planning)."""
    name = channel_name.casefold()
    return next((spec.name for spec in NORMALIZATIONS.values() if name in spec.channel_names), _DEFAULT)


def uses_mask(scheme: str) -> bool:
    """Whether a scheme looks only at voxels that are not zero, where the plan says so."""
    return scheme in NORMALIZATIONS and NORMALIZATIONS[scheme].uses_mask


def needs_statistics(scheme: str) -> bool:
    """Whether a scheme depends on the intensities of the whole data set."""
    return scheme in NORMALIZATIONS and NORMALIZATIONS[scheme].needs_statistics


def by_voxel(scheme: str) -> bool:
    """Whether a scheme normalises each voxel by itself, so that a channel can be normalised in parts."""
    return scheme in NORMALIZATIONS and NORMALIZATIONS[scheme].by_voxel
