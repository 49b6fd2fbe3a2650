"""``umseg demo``: plan, train, predict, evaluate and draw the result, on real MRI."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.common.files import plain_path
from umseg.common.text import few
from umseg.dataset.io.images import read_label
from umseg.evaluation import InstanceMetrics, Metrics, evaluate_folder, write_metrics
from umseg.inference import Predictor
from umseg.reports.orientation import array_letters, upright
from umseg.reports.pictures import Slice, draw_overlays
from umseg.training import TrainingConfig
from umseg.training import train as run_training
from umseg.workflows.demo_data import BRAIN, LABELS, DemoData, write_demo_data
from umseg.workflows.plan import plan_dataset
from umseg.workflows.report import PageOptions, make_report
from umseg.workflows.report_sources import Beside
from umseg.workspace import FoldFolder

CONFIG = TrainingConfig(
    model="umamba_bot",
    options=ModelOptions(ssm_residual=True),
    fold="all",
    epochs=6,
    iterations=20,
    validation_iterations=2,
    optimizer="adamw",
)
MARKER = ".umseg-demo"
PAGE = "report.html"
RESULTS = {MARKER, "data", "workspace", "predictions", "metrics.json", "metrics.csv", "overlays.png", PAGE}
"""What a demo writes into its folder."""


@dataclass(frozen=True)
class DemoResult:
    """The results of the demo.

    Attributes:
        metrics: Scores on the held-out slabs of the right hemisphere.
        pictures: Files of the pictures: overlays, and the curves of the training.
        model: The model folder.
        page: The page of scores, cases and training.
    """

    metrics: Metrics | InstanceMetrics
    pictures: tuple[Path, ...]
    model: Path
    page: Path


def run_demo(output: Path, *, workers: int = 0, quiet: bool = False) -> DemoResult:
    """Run the four verbs on the ICBM 152 template.

    Args:
        output: Folder of all results; an earlier demo in it is replaced.
        workers: Number of processes for per-case work and for training batches.
        quiet: Whether progress bars are hidden.

    Raises:
        UserError: nilearn is missing, or ``output`` holds files that are not a demo's.
    """
    output = plain_path(output)
    _clear(output)
    data = write_demo_data(output / "data")
    workspace, _, _ = plan_dataset(
        data.folder, output / "workspace", configurations=["3d_fullres"], workers=workers, quiet=quiet
    )
    fold = run_training(workspace.folder, CONFIG, workers=workers, quiet=quiet)
    predictions = output / "predictions"
    Predictor(fold.parent).predict_files(data.folder / "imagesTs", predictions, quiet=quiet)
    metrics = evaluate_folder(predictions, data.folder / "labelsTs", workers=0, quiet=quiet)
    write_metrics(metrics, output)
    picture = output / "overlays.png"
    draw_overlays(picture, overlay_slices(data, predictions), {n: v for n, v in LABELS.items() if v > 0})
    beside = Beside(data.folder / "labelsTs", data.folder / "imagesTs", predictions, fold)
    options = PageOptions("Grey and white matter of the ICBM 152 template", command="umseg demo")
    page = make_report([output / "metrics.json"], output / PAGE, beside=beside, options=options, quiet=quiet)
    return DemoResult(metrics, (picture, FoldFolder(fold).progress_picture), fold.parent, page)


def overlay_slices(data: DemoData, predictions: Path) -> list[Slice]:
    """A coronal slice through the middle of every tested slab, assembled from its blocks, as radiologists view it."""
    whole = np.zeros_like(data.reference)
    for block in data.test:
        whole[block.place] = read_label(predictions / f"{block.name}.nii.gz").array
    columns = slice(min(b.place[2].start for b in data.test), max(b.place[2].stop for b in data.test))
    slabs = sorted({(b.place[1].start, b.place[1].stop) for b in data.test})
    # The template's axes x, y, z point to the right, front and top.
    view = upright(array_letters("RAS"), across=1)
    slices = []
    for start, stop in slabs:
        middle = (start + stop) // 2

        def coronal(volume: NDArray[np.generic], y: int = middle) -> NDArray[np.generic]:
            return view(volume[BRAIN[0], y, columns])

        title = f"coronal slice {middle + 1}"
        slices.append(Slice(title, coronal(data.image), coronal(data.reference), coronal(whole), view.edges))
    return slices


def _clear(output: Path) -> None:
    """Make ``output`` a folder without results; only those of an earlier demo are removed."""
    if output.exists() and not output.is_dir():
        raise UserError("The output is a file.", file=output, remedy="Give a new folder with --output.")
    marker = output / MARKER
    found = {path.name for path in output.iterdir()} if output.is_dir() else set()
    others = found - RESULTS if marker.exists() else found
    if others:
        raise UserError(
            "The output folder holds files that are not an earlier demo's.",
            file=output,
            found=few(sorted(others)),
            remedy="Give a new folder with --output, or move these files.",
        )
    for path in (output / name for name in found):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    output.mkdir(parents=True, exist_ok=True)
    marker.touch()
