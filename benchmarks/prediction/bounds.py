"""Memory and time of a CT of 512 x 512 x 600 voxels, file to file, and whether what is said beforehand is true."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Row
from benchmarks.prediction import konfai
from benchmarks.prediction.large_ct import write_ct
from benchmarks.prediction.random_models import NARROW_WIDTHS, WIDTHS, atlas_names, write_model
from benchmarks.prediction.resident import Measured, run_predict
from benchmarks.prediction.verdict import at_most, fact, told

STEP = 1.0
_PEER_SECONDS, _PEER_GIGABYTES = 900, 14
"""What KonfAI may take before it is ended."""
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
        noisy: Whether neighbouring voxels have any classes, which is the worst case for the export.
        export: Whether the time of the export has a limit.
        beside_peer: Whether KonfAI's engine runs the same weights.
    """

    title: str
    classes: int
    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    gigabytes: float
    narrow: bool = False
    noisy: bool = False
    export: bool = False
    beside_peer: bool = False


COARSE, OWN = (1.5, 1.5, 1.5), (1.25, 0.8, 0.8)
CUBE, FLAT = (96, 96, 96), (64, 96, 96)
SETTINGS = {
    "14": Setting("14 classes at 1.5 mm", 14, COARSE, CUBE, 2.0, beside_peer=True),
    "118": Setting("118 classes at 1.5 mm", 118, COARSE, CUBE, 3.5, export=True, beside_peer=True),
    "noisy118": Setting("118 classes at 1.5 mm, noise", 118, COARSE, CUBE, 3.5, narrow=True, noisy=True),
    "own14": Setting("14 classes at the image's spacing", 14, OWN, FLAT, 2.5, narrow=True),
    "own118": Setting("118 classes at the image's spacing", 118, OWN, FLAT, 6.0, narrow=True),
    "724": Setting("725 classes (INIA19) at 1.5 mm", 0, COARSE, CUBE, 6.0, narrow=True),
}


def rows(scratch: Path, data: Path, names: Sequence[str], slices: int) -> Iterator[Row]:
    """Rows on each of the named settings."""
    ct = _ct(scratch, slices)
    for name in names:
        _write_model(SETTINGS[name], scratch / f"random_{name}" / "model", data)
        yield from _of(SETTINGS[name], scratch / f"random_{name}", ct)


def beside(scratch: Path, data: Path, names: Sequence[str], slices: int, peer: Path) -> Iterator[Row]:
    """umseg and KonfAI's engine on the same weights and the same CT; ``peer`` is an environment with konfai."""
    ct = _ct(scratch, slices)
    for setting, folder in ((SETTINGS[name], scratch / name) for name in names if SETTINGS[name].beside_peer):
        title = f"{setting.title}, {slices} slices"
        _write_model(setting, folder / "model", data)
        own = _predicted(folder, ct)
        cost = f"{own.seconds:.0f} s, {own.cpu:.0f} s of CPU, {own.peak / 1e9:.2f} GB"
        yield told("konfai", f"{title}: umseg", cost if own.code == 0 else f"exit status {own.code}")
        settings = konfai.prepare(folder / "model", ct, folder / "konfai", STEP)
        run = konfai.run(peer, settings, _PEER_SECONDS, _PEER_GIGABYTES)
        cost = f"{run.seconds:.0f} s, {run.cpu:.0f} s of CPU, {run.gigabytes:.2f} GB"
        equal = "" if run.error else f", {100 * konfai.equal_voxels(run, folder / 'out'):.3f} % of voxels equal"
        yield told("konfai", f"{title}: KonfAI", f"{run.error} ({cost})" if run.error else cost + equal)


def _ct(scratch: Path, slices: int) -> Path:
    """The folder of the CT, which is written once."""
    folder = scratch / f"ct_{slices}"
    if not (folder / "ct_0000.nii.gz").exists():
        write_ct(folder / "ct_0000.nii.gz", (slices, 512, 512))
    return folder


def _write_model(setting: Setting, folder: Path, data: Path) -> None:
    names = None
    if not setting.classes:
        (atlas,) = data.glob("atlas/**/inia19-NeuroMaps*.nii*")
        names = atlas_names(atlas)
    widths = NARROW_WIDTHS if setting.narrow else WIDTHS
    classes = setting.classes or len(names or ()) + 1
    write_model(folder, classes, setting.spacing, setting.patch, names=names, widths=widths, noisy=setting.noisy)


def _predicted(folder: Path, ct: Path) -> Measured:
    places = ["--model", folder / "model", "--input", ct, "--output", folder / "out"]
    return run_predict([*map(str, places), "--step", str(STEP), "--no-resume"])


def _of(setting: Setting, folder: Path, ct: Path) -> Iterator[Row]:
    measured = _predicted(folder, ct)
    title = setting.title + (", narrow network" if setting.narrow else "")
    yield fact("memory", title, f"exit status {measured.code}", "0", measured.code == 0)
    yield at_most("memory", f"{title}: peak", measured.peak / 1e9, setting.gigabytes, "GB")
    said = [1e9 * float(figure) for figure in _SAID.findall(measured.text)]
    if said:
        error = abs(said[-1] / measured.peak - 1)
        yield at_most("memory", f"{title}: error of what is said", 100 * error, 10, "%")
    else:
        yield fact("memory", f"{title}: what is said beforehand", "nothing", "the memory that it needs", False)
    calls = [stage for stage in measured.stages if stage.name.startswith("LabelExport")]
    export, cpu = sum(call.stop - call.start for call in calls), sum(call.cpu for call in calls)
    yield told("memory", f"{title}: whole run", f"{measured.seconds:.0f} s, {measured.cpu:.0f} s of CPU")
    yield told("memory", f"{title}: export", f"{export:.1f} s, {cpu:.1f} s of CPU")
    if setting.export:
        yield at_most("memory", f"{title}: seconds of export", export, 5, "s")
        yield at_most("memory", f"{title}: export of the whole run", 100 * export / measured.seconds, 10, "%")
