"""The final validation of a fold, which segments its held-out cases as whole images and scores them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.evaluation import InstanceMetrics, Metrics, Pair, evaluate_described, load_metrics, write_metrics
from umseg.inference import Predictor
from umseg.training.data.splits import Splits, fold_cases
from umseg.training.loop.processes import environment, joined
from umseg.workspace import FoldFolder, Workspace

_METRICS_REMEDY = "Remove the file; the same command then scores the fold again."


def earlier_validation(fold_folder: Path) -> Metrics | InstanceMetrics | None:
    """The scores of a fold that has been validated since its training ended, or None.

    Raises:
        UserError: The file of the scores is damaged.
    """
    fold = FoldFolder(fold_folder)
    file = fold.metrics_file
    if not file.exists() or file.stat().st_mtime < fold.weights("final").stat().st_mtime:
        return None
    return load_metrics(file, _METRICS_REMEDY)


def validate_fold(
    workspace: Workspace,
    fold_folder: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    tolerance: float = 1.0,
    workers: int = 0,
    quiet: bool = False,
) -> Metrics | InstanceMetrics | None:
    """Predict the validation cases of a trained fold from their original images and evaluate them.

    Processes that ``torchrun`` started each predict some of the cases; the first one evaluates them all.

    Args:
        workspace: Workspace of the data set.
        fold_folder: Folder ``models/<model>__<configuration>/fold_<k>``; label maps and scores are written to its
            ``validation/``.
        device: Device as in training: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: Number format as in training: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        tolerance: Tolerance of the NSD in mm; ignored in an instance task.
        workers: Number of processes that compute scores; 0 works in this process.
        quiet: Whether to show no progress bars.

    Returns:
        The scores in the first process, None in every other one.

    Raises:
        UserError: The images have moved since planning or are no longer readable.
    """
    folder = FoldFolder(fold_folder)
    name = folder.name
    dataset = workspace.load(Dataset)
    if not any(case.label is not None and case.label.is_file() for case in dataset.cases):
        raise UserError(
            "The fold cannot be validated, because its data set has moved since planning.",
            file=dataset.folder,
            remedy="Move it back, or run `umseg plan` on its new folder. The trained weights are complete.",
        )
    target = environment().device(device)
    predictor = Predictor(folder.models.path, str(target), folds=[name], precision=precision)
    fold: int | Literal["all"] = "all" if name == "all" else int(name)
    split = fold_cases(workspace.load(Splits), fold, [case.id for case in dataset.cases], workspace.file(Splits))
    cases = [case for case in dataset.cases if case.id in set(split.validation)]
    output = folder.validation
    with joined(environment(), target) as processes:
        share = cases[processes.rank :: processes.count]
        predictor.predict_cases(share, output, quiet=quiet or not processes.first)
        processes.wait()
        if not processes.first:
            return None
    # The label maps are those of the plan, which may come from a file map or be corrected copies.
    pairs = [Pair(case.id, predictor.target(case, output), case.label) for case in cases if case.label]
    metrics = evaluate_described(pairs, dataset.description, tolerance=tolerance, workers=workers, quiet=quiet)
    write_metrics(metrics, output)
    return metrics
