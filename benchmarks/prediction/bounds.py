"""Memory and time of a CT of 512 x 512 x 600 voxels, file to file, and whether what is said beforehand is true."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Row
from benchmarks.prediction.large_ct import write_ct
from benchmarks.prediction.random_models import NARROW_WIDTHS, WIDTHS, atlas_names, write_model
from benchmarks.prediction.resident import run_predict
from benchmarks.prediction.verdict import at_most, fact, told

_SAID = re.compile(r"needs about ([\d.]+) GB")


@dataclass(frozen=True)
class Setting:
    """A model, and the memory that it may take on the CT.

    Attributes:
        title: What is measured.
        classes: Number of outputs; 0: those of the atlas.
        spacing: Spacing of the network's grid, mm.
        patch: Its patch.
        gigabytes: Limit of the resident memory.
        narrow: Whether its network has few channels: what takes memory at the image's own spacing is not the network,
            whose windows would take hours on two cores.
    """

    title: str
    classes: int
    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    gigabytes: float
    narrow: bool = False


COARSE, OWN = (1.5, 1.5, 1.5), (1.25, 0.8, 0.8)
SETTINGS = {
    "14": Setting("14 classes at 1.5 mm", 14, COARSE, (96, 96, 96), 2.0),
    "118": Setting("118 classes at 1.5 mm", 118, COARSE, (96, 96, 96), 3.5),
    "own14": Setting("14 classes at the image's spacing", 14, OWN, (64, 96, 96), 2.5, narrow=True),
    "own118": Setting("118 classes at the image's spacing", 118, OWN, (64, 96, 96), 6.0, narrow=True),
    "724": Setting("725 classes (INIA19) at 1.5 mm", 0, COARSE, (96, 96, 96), 6.0, narrow=True),
}


def rows(scratch: Path, data: Path, names: Sequence[str], slices: int) -> Iterator[Row]:
    """Rows on each of the named settings."""
    ct = scratch / f"ct_{slices}"
    if not (ct / "ct_0000.nii.gz").exists():
        write_ct(ct / "ct_0000.nii.gz", (slices, 512, 512))
    for name in names:
        yield from _of(SETTINGS[name], scratch / f"random_{name}", ct, data)


def _of(setting: Setting, folder: Path, ct: Path, data: Path) -> Iterator[Row]:
    names = None
    if not setting.classes:
        (atlas,) = data.glob("atlas/**/inia19-NeuroMaps*.nii*")
        names = atlas_names(atlas)
    widths = NARROW_WIDTHS if setting.narrow else WIDTHS
    write_model(
        folder / "model", setting.classes or len(names or ()) + 1, setting.spacing, setting.patch, names=names,
        widths=widths,
    )  # fmt: skip
    words = ["--model", folder / "model", "--input", ct, "--output", folder / "out", "--step", "1.0", "--no-resume"]
    measured = run_predict(list(map(str, words)))
    title = setting.title + (", narrow network" if setting.narrow else "")
    yield fact("memory", title, f"exit status {measured.code}", "0", measured.code == 0)
    yield at_most("memory", f"{title}: peak", measured.peak / 1e9, setting.gigabytes, "GB")
    said = [1e9 * float(figure) for figure in _SAID.findall(measured.text)]
    if said:
        error = abs(said[-1] / measured.peak - 1)
        yield at_most("memory", f"{title}: error of what is said", 100 * error, 10, "%")
    export = sum(stage.stop - stage.start for stage in measured.stages if stage.name.startswith("LabelExport"))
    yield told("memory", f"{title}: whole run", f"{measured.seconds:.0f} s, of which export {export:.1f} s")
    if setting.classes == 118 and not setting.narrow:
        yield at_most("memory", f"{title}: export", export, 5, "s")
        yield at_most("memory", f"{title}: export of all", 100 * export / measured.seconds, 10, "%")
