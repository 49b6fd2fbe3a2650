"""From the components of a file to the channels that a data set declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.formats import NATURAL_ENDINGS, has_ending


@dataclass(frozen=True)
class Notice:
    """Something about a file that does not stop, but that the user should know once.

    Attributes:
        problem: The kind, the same words for every file.
        file: The file.
        found: What is there.
        expected: What would need no notice.
        remedy: What the user can do.
    """

    problem: str
    file: Path
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem} Found {self.found}; expected {self.expected}. {self.remedy}"


def may_hold(components: int, channels: int) -> bool:
    """Whether a file of so many components can give all channels of a case: exactly, or with a transparency."""
    return components == channels or (components, channels) == (4, 3)


def has_transparency(components: int, path: Path) -> bool:
    """Whether the last component is a transparency: pictures of four components are RGBA."""
    return components == 4 and has_ending(path, NATURAL_ENDINGS)


def fit_channels(values: NDArray[Any], channels: int, path: Path) -> tuple[NDArray[Any], tuple[Notice, ...]]:
    """Leave out components that say nothing: a constant transparency, colours that are all equal.

    Drawing programs add them to greyscale and RGB pictures without being asked.

    Args:
        values: (components, z, y, x).
        channels: How many are declared.
        path: The file, for the notices and the format.

    Returns:
        (channels, z, y, x) with a notice for whatever was left out; or ``values`` as they are, if that does not give
        the declared number.
    """
    kept, notices = values, []
    if has_transparency(len(kept), path) and channels < len(kept) and np.all(kept[-1] == kept[-1].flat[0]):
        kept = kept[:-1]
        notices.append(
            Notice(
                "The transparency of an image is left out: it is the same everywhere.",
                path,
                found=f"{len(values)} components, the last of them {values[-1].flat[0]} everywhere",
                expected=f"{channels} channels (channel_names in dataset.json)",
                remedy="Nothing need be done; files without transparency are smaller.",
            )
        )
    if channels == 1 and len(kept) == 3 and np.all(kept[1:] == kept[:1]):
        kept = kept[:1]
        notices.append(
            Notice(
                "A greyscale image is stored as three equal colours: one of them is taken.",
                path,
                found="3 equal components",
                expected="1 channel (channel_names in dataset.json)",
                remedy="Nothing need be done; greyscale files are smaller.",
            )
        )
    return (kept, tuple(notices)) if len(kept) == channels else (values, ())
