"""From the components of a file to the channels that a data set declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.text import counted
from umseg.dataset.io.registry import format_of
from umseg.dataset.io.source import Notice


def may_hold(components: int, channels: int) -> bool:
    """Whether a file with this number of components can hold all channels of a case, perhaps with a transparency."""
    return components == channels or (components, channels) == (4, 3)


def has_transparency(components: int, path: Path) -> bool:
    """Whether the last component of an image file that has so many is a transparency."""
    return format_of(path).has_transparency(path, components)


def fit_channels(values: NDArray[Any], channels: int, path: Path) -> tuple[NDArray[Any], tuple[Notice, ...]]:
    """Leave out components that carry no information: a constant transparency, or colours that are all equal.

    Drawing programs add them to greyscale and RGB pictures without being asked.

    Args:
        values: Voxels, (components, z, y, x).
        channels: Number of channels that the data set declares.
        path: The file that the voxels come from.

    Returns:
        (channels, z, y, x) with a notice for each kind of component that was left out; or the unchanged ``values`` if
        leaving components out does not give the declared number.
    """
    fitted, notices = values, []
    if channels < len(fitted) and np.all(fitted[-1] == fitted[-1].flat[0]) and has_transparency(len(fitted), path):
        fitted = fitted[:-1]
        notices.append(
            Notice(
                "The transparency of an image is left out: it is the same everywhere.",
                path,
                found=f"{len(values)} components, the last of them {values[-1].flat[0]} everywhere",
                expected=f"{counted(channels, 'channel')} (channel_names in dataset.json)",
                remedy="Nothing need be done; files without transparency are smaller.",
            )
        )
    if channels == 1 and len(fitted) == 3 and np.all(fitted[1:] == fitted[:1]):
        fitted = fitted[:1]
        notices.append(
            Notice(
                "A greyscale image is stored as three equal colours: one of them is taken.",
                path,
                found="3 equal components",
                expected="1 channel (channel_names in dataset.json)",
                remedy="Nothing need be done; greyscale files are smaller.",
            )
        )
    return (fitted, tuple(notices)) if len(fitted) == channels else (values, ())
