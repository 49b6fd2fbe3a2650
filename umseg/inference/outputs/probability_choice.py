"""``--probabilities``: which files of probabilities are written; a module without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from umseg.common.registry import unknown_name
from umseg.dataset.dataset import Case

FOLDER = "probabilities"
"""The folder, in that of the predictions, with a file for each case."""

ENDINGS = (".npz", ".nii", ".nii.gz")
"""Kinds of files: numpy's archive with float16, NIfTI with whole numbers of 16 bits that its header scales to 0..1."""

GRIDS = ("image", "model")


@dataclass(frozen=True)
class ProbabilityChoice:
    """Which files of probabilities are written.

    Attributes:
        ending: Kind of the files, with the dot: one of ``ENDINGS``.
        on_model_grid: Whether they are on the grid of the network, which is smaller, instead of that of the image.
    """

    ending: str
    on_model_grid: bool = False

    def file(self, case: Case, folder: Path) -> Path:
        """The file of a case."""
        return folder / FOLDER / f"{case.id}{self.ending}"


def choose_probabilities(ending: str, grid: str) -> ProbabilityChoice:
    """The choice that two options name, such as ``npz`` and ``image``.

    Raises:
        UserError: One of them names nothing.
    """
    kinds = [known.removeprefix(".") for known in ENDINGS]
    kind = ending.strip().lower().removeprefix(".")
    if kind not in kinds:
        raise unknown_name("kind of file", ending, kinds, "--probabilities")
    if grid not in GRIDS:
        raise unknown_name("grid", grid, GRIDS, "--probability-grid")
    return ProbabilityChoice(f".{kind}", grid == "model")
