"""The names of pipelines and transforms, for programs that only check them: this module does not import torch."""

from __future__ import annotations

from umseg.common.registry import Registry, unknown_name

GROUP = "umseg.transforms"
"""The group of the entry points by which other packages add transforms."""
OPTION = "--transforms"
DEFAULT_PIPELINE = "umamba"
NONE = "none"
"""The name of the empty pipeline, which only crops."""

_GAMMA = ("gamma_inverted", "gamma")
_UMAMBA = ("spatial", "noise", "blur", "brightness", "contrast", "low_resolution", *_GAMMA, "mirror")
_NNUNET = (
    "spatial_linear",
    "noise",
    "blur_by_axis",
    "brightness",
    "contrast",
    "low_resolution_linear",
    *_GAMMA,
    "mirror",
)

PIPELINE_NAMES: dict[str, tuple[str, ...]] = {
    "umamba": _UMAMBA,
    "nnunet": _NNUNET,
    "batchgenerators": tuple(f"batchgenerators_{name}" for name in _UMAMBA),
}
"""The names of the transforms of each pipeline, in their order (docs/rules.md, Augmentation)."""

TRANSFORM_NAMES: Registry[object] = Registry(
    "transform", GROUP, dict.fromkeys(name for names in PIPELINE_NAMES.values() for name in names)
)
"""The names of all transforms, also of those that other packages add."""


def split_names(text: str) -> list[str]:
    """The names in a text that separates them by commas; ``none`` stands for no name."""
    return [] if text == NONE else [name.strip() for name in text.split(",")]


def check_names(text: str) -> None:
    """Refuse names that stand neither for a pipeline nor for a transform.

    Args:
        text: Names, separated by commas, or ``none``.

    Raises:
        UserError: Suggests the nearest name.
    """
    for name in split_names(text):
        if name not in PIPELINE_NAMES and name not in TRANSFORM_NAMES:
            raise unknown_name("transform", name, [*PIPELINE_NAMES, *TRANSFORM_NAMES], OPTION)
