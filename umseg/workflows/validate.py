"""The final validation of a fold, which segments its held-out cases as whole images and scores them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.dataset import Case, Dataset
from umseg.evaluation import InstanceMetrics, Metrics, Pair, evaluate_described, load_metrics, write_metrics
from umseg.inference import Predictor
from umseg.training.data.splits import Splits, fold_cases
from umseg.training.loop.processes import environment, joined
from umseg.training.saved.tensor_file import weights_hash
from umseg.workflows.choose_postprocessing import choice_message, choose_postprocessing, clean_files
from umseg.workspace import FoldFolder, Workspace

log = logging.getLogger(__name__)

_METRICS_REMEDY = "Remove the file; the same command then scores the fold again."
_WEIGHTS_REMEDY = "Train this fold from the beginning with --restart."


def earlier_validation(workspace: Workspace, fold_folder: Path) -> Metrics | InstanceMetrics | None:
    """The scores of a fold, if they are those of its present weights and validation cases; None if not.

    Raises:
        UserError: The file of the scores, or that of the weights, is damaged.
    """
    fold = FoldFolder(fold_folder)
    if not fold.metrics_file.exists():
        return None
    metrics = load_metrics(fold.metrics_file, _METRICS_REMEDY)
    # Earlier versions recorded no hash. Since then a training that goes on removes the scores.
    if metrics.weights not in (None, weights_hash(fold.weights("final"), _WEIGHTS_REMEDY)):
        return None
    cases = {case.id for case in validation_cases(workspace, workspace.load(Dataset), fold)}
    return metrics if cases == {case.case for case in metrics.cases} else None


def check_originals(workspace: Workspace, fold: int | Literal["all"]) -> None:
    """Check that the files of a fold's validation cases are where they were planned; none is opened.

    Raises:
        UserError: The data set has moved, or files are missing.
    """
    dataset = workspace.load(Dataset)
    split = fold_cases(workspace.load(Splits), fold, [case.id for case in dataset.cases], workspace.file(Splits))
    _require_files(dataset, [case for case in dataset.cases if case.id in set(split.validation)])


def validate_fold(
    workspace: Workspace,
    fold_folder: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    tolerance: float = 1.0,
    workers: int = 0,
    quiet: bool = False,
    say: Callable[[str], None] = log.info,
) -> Metrics | InstanceMetrics | None:
    """Predict the validation cases of a trained fold from their original images and evaluate them.

    In an instance task the label maps also decide the post-processing of the fold's predictions, which is saved beside
    the weights. The label maps and scores that are kept are those after it.

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
        say: Function that is told which post-processing was chosen.

    Returns:
        The scores in the first process, None in every other one.

    Raises:
        UserError: The images have moved since planning or are no longer readable.
    """
    folder = FoldFolder(fold_folder)
    dataset = workspace.load(Dataset)
    cases = validation_cases(workspace, dataset, folder)
    _require_files(dataset, cases)
    target = environment().device(device)
    predictor = Predictor(
        folder.models.path, str(target), folds=[folder.name], precision=precision, postprocessing=False
    )
    output = folder.validation
    with joined(environment(), target) as processes:
        share = cases[processes.rank :: processes.count]
        predictor.predict_cases(share, output, quiet=quiet or not processes.first)
        processes.wait()
        if not processes.first:
            return None
    # The label maps are those of the plan, which may come from a file map or be corrected copies.
    pairs = [Pair(case.id, predictor.target(case, output), case.label) for case in cases if case.label]
    if dataset.description.task == "instance":
        chosen = choose_postprocessing(pairs, workers=workers, quiet=quiet)
        say(choice_message(chosen))
        chosen.save(folder.postprocessing_file)
        clean_files([pair.prediction for pair in pairs], chosen)
    metrics = evaluate_described(pairs, dataset.description, tolerance=tolerance, workers=workers, quiet=quiet)
    metrics = metrics.model_copy(update={"weights": weights_hash(folder.weights("final"), _WEIGHTS_REMEDY)})
    write_metrics(metrics, output)
    return metrics


def validation_cases(workspace: Workspace, dataset: Dataset, folder: FoldFolder) -> list[Case]:
    """The cases that a fold is validated on.

    Raises:
        UserError: The folds of the workspace are damaged.
    """
    fold: int | Literal["all"] = "all" if folder.name == "all" else int(folder.name)
    split = fold_cases(workspace.load(Splits), fold, [case.id for case in dataset.cases], workspace.file(Splits))
    return [case for case in dataset.cases if case.id in set(split.validation)]


def _require_files(dataset: Dataset, cases: Sequence[Case]) -> None:
    missing = [
        case.id for case in cases if case.label is None or not all(file.exists() for file in (*case.images, case.label))
    ]
    if missing:
        moved = len(missing) == len(cases)
        raise UserError(
            "The fold cannot be validated, because "
            + ("its data set has moved since planning." if moved else "images or label maps have gone since planning."),
            file=dataset.folder,
            found=f"files missing of {len(missing)} of {len(cases)} validation cases: {few(missing)}",
            remedy="Put them back, or run `umseg plan` on the data set where it is now. To train without scores, give "
            "--no-validate.",
        )
