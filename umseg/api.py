"""The verbs ``umseg.plan`` and ``umseg.evaluate``.

``umseg.train`` and ``umseg.Predictor`` are ``umseg.training.train`` and ``umseg.inference.Predictor``.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umseg.workspace import DEFAULT_ROOT, Workspace

if TYPE_CHECKING:
    from umseg.evaluation import InstanceMetrics, Metrics


def plan(
    dataset_folder: str | PathLike[str], workspace_root: str | PathLike[str] = DEFAULT_ROOT, **options: Any
) -> Workspace:
    """Check and measure a data set, decide how to train on it, and preprocess it, as ``umseg plan`` does.

    Args:
        dataset_folder: A data set in nnU-Net v2's raw format.
        workspace_root: Folder of the workspaces, one for each data set.
        options: Options of ``umseg.workflows.plan.plan_dataset``, e.g. ``preset="cpu"`` or ``workers=4``.

    Returns:
        The data set's workspace, which ``umseg.train`` takes.

    Raises:
        UserError: Something is wrong with the data or an option.
    """
    from umseg.workflows.plan import plan_dataset

    workspace, _, _ = plan_dataset(Path(dataset_folder), Path(workspace_root), **options)
    return workspace


def evaluate(
    predictions: str | PathLike[str], reference: str | PathLike[str], **options: Any
) -> Metrics | InstanceMetrics:
    """Score a folder of label maps against references of the same names, as ``umseg evaluate`` does.

    Args:
        predictions: Folder of predicted label maps.
        reference: Folder of reference label maps.
        options: Options of ``umseg.evaluation.evaluate_folder``, e.g. ``tolerance=2.0`` or ``workers=4``.

    Raises:
        UserError: A file is missing or does not fit the other one.
    """
    from umseg.evaluation import evaluate_folder

    return evaluate_folder(Path(predictions), Path(reference), **options)
