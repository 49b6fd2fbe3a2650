"""``umseg train``: from a planned workspace to trained weights."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import platform
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from umseg import __version__
from umseg.common.errors import UserError
from umseg.common.memory import explained_memory
from umseg.common.text import counted, wrapped
from umseg.dataset.dataset import Dataset
from umseg.models.card import ModelCard
from umseg.models.device import precision_name, resolve_precision
from umseg.preprocess.store.case_store import CaseStore
from umseg.training.augmentation.pipelines import find_transforms, recorded_name
from umseg.training.config.training_config import TrainingConfig, model_folder
from umseg.training.data.batches import BatchFactory
from umseg.training.data.loader import load_batches
from umseg.training.data.notices import warn_of_data
from umseg.training.data.splits import Split, Splits, fold_cases
from umseg.training.loop.memory import REMEDY as MEMORY_REMEDY
from umseg.training.loop.memory import check_training_memory
from umseg.training.loop.processes import environment, joined
from umseg.training.loop.stop import StopRequest
from umseg.training.loop.trainer import Trainer
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets
from umseg.training.saved.card import model_card
from umseg.training.saved.cascade import FirstStage
from umseg.training.saved.claimed import claimed_folds
from umseg.training.saved.folder import RunFolder
from umseg.training.saved.pretrained import load_pretrained
from umseg.training.watch.run_log import RunLog
from umseg.workspace import Workspace

log = logging.getLogger(__name__)


def train(
    workspace: str | os.PathLike[str],
    config: TrainingConfig,
    *,
    device: str = "auto",
    workers: int = 0,
    tag: str | None = None,
    discard: Collection[int | str] = (),
    max_seconds: float = math.inf,
    tensorboard: bool = False,
    quiet: bool = False,
    transforms: str | Sequence[object] | None = None,
) -> Path:
    """Train a network on one fold, or resume an earlier run of it.

    Processes that ``torchrun`` started share every batch.

    Args:
        workspace: The data set's workspace as made by ``umseg plan``: a ``Workspace`` or its folder.
        config: All choices. Two CPU runs with equal configurations give bit-identical weights.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        workers: Processes that prepare batches; 0 prepares them in this process.
        tag: Suffix of the model folder's name, to keep experiments apart.
        discard: Folds whose earlier runs are discarded instead of resumed, once it is clear that this one can start.
        max_seconds: Time limit in seconds, after which training stops as after Ctrl-C: the iteration is finished and
            everything is saved.
        tensorboard: Whether the log is also written for TensorBoard.
        quiet: Whether the progress bar is hidden.
        transforms: Transforms of the augmentation in place of ``config.transforms``, which records their names: names,
            ``umseg.training.augmentation.Transform`` objects, or transforms of batchgenerators.

    Returns:
        The fold's folder. It holds ``weights_final.safetensors`` if training is complete.

    Raises:
        UserError: The workspace is incomplete, a name is unknown, the device is missing, an earlier run had another
            configuration, another process works in the folder, or training diverged.
    """
    planned = Workspace(Path(workspace))
    pipeline = find_transforms(config.transforms if transforms is None else transforms)
    if transforms is not None:
        config = config.model_copy(update={"transforms": recorded_name(transforms)})
    card = model_card(planned, config, tag)
    dataset = planned.load(Dataset)
    split = _split(planned, config, dataset)
    processes = environment()
    target = processes.device(device)
    if config.augmentation == "gpu" and target.type != "cuda":
        raise UserError(
            "--augmentation gpu needs a CUDA device.", found=str(target), remedy="Train with --augmentation cpu."
        )
    precision = resolve_precision(config.precision, target)
    models = model_folder(planned, config, tag)
    with (
        explained_memory(f"Training {config.model}", remedy=MEMORY_REMEDY),
        joined(processes, target) as processes,
        claimed_folds(planned, models, [config.fold, *discard], processes.first),
    ):
        folder = RunFolder(models, config, split, discard)
        folder.check_cases()
        if folder.complete:
            log.info("Training is already complete: %s", folder.fold.path)
            return folder.fold.path
        folder.check(card)
        warn_of_data(planned, config.fold, split)
        factory = BatchFactory(
            planned.preprocessed(card.configuration.inherits_from or config.configuration),
            card.configuration,
            {"train": split.train, "validation": split.validation},
            config.seed,
            config.augmentation,
            config.oversampling,
            card.mirror_axes,
            transforms=pipeline,
            samples=processes.share(card.configuration.batch_size),
        )
        cases = sorted({*split.train, *split.validation})
        if processes.first:
            CaseStore(factory.folder).verify(cases, quiet)
        if card.configuration.previous_stage is not None:
            stage = FirstStage.of(planned, config, card.configuration.previous_stage, tag)
            if processes.first:
                stage.prepare(card, dataset, cases, quiet)
            values = card.dataset.foreground_values
            factory = replace(factory, first_stage=stage.store(card).folder, first_stage_values=values)
        # The others wait here, and not for as long as that takes in the first step of the network.
        processes.wait()
        check_training_memory(card, config, target, precision, processes)
        _set_up(config, target)
        trainer = Trainer(
            network=card.build_network(config.deep_supervision),
            config=config,
            batch_size=card.configuration.batch_size,
            loss=SegmentationLoss(Targets.of(card.dataset), card.configuration.batch_dice, config.loss, processes),
            folder=folder.fold,
            device=target,
            precision=precision,
            quiet=quiet,
            tensorboard=tensorboard,
            preset=card.plan.preset,
        )
        beginning = _start(trainer, folder, card)
        with RunLog(folder.fold.log_text if processes.first else None) as run_log:
            trainer.say = run_log
            run_log.note(_versions())
            run_log.note(_options(config, card, precision_name(precision), workers))
            trainer.say(_description(trainer, split))
            if beginning:
                trainer.say(beginning)
            _run(trainer, factory, workers, StopRequest(max_seconds, patient=processes.count > 1))
    return folder.fold.path


def _set_up(config: TrainingConfig, device: torch.device) -> None:
    """Make the process-wide settings, before any random number is drawn."""
    # Every batch has the same shape: cuDNN tries its algorithms once and keeps the fastest.
    torch.backends.cudnn.benchmark = device.type == "cuda" and not config.deterministic
    if config.deterministic:
        # cuBLAS is deterministic only with this setting, which it reads when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(config.seed)


def _start(trainer: Trainer, folder: RunFolder, card: ModelCard) -> str:
    """Load the weights that training starts from; then, when nothing can be refused any more, change the folder.

    Returns:
        What it starts from, in words; empty for new weights.
    """
    config, processes = trainer.config, trainer.processes
    beginning = ""
    if folder.begun:
        trainer.resume()
        iteration = min(len(trainer.losses) + 1, config.iterations)
        beginning = f"Resuming in epoch {len(trainer.rows) + 1} of {config.epochs}, iteration {iteration}."
    elif config.init_from is not None:
        loaded = load_pretrained(
            trainer.network,
            Path(config.init_from),
            dataset=card.plan.dataset_name,
            fold=config.fold,
            validation=folder.split.validation,
        )
        beginning = f"Starting from {loaded}."
        trainer.restart_average()
    # From here on no process may read the earlier state of the folder.
    processes.wait()
    if processes.first:
        folder.prepare(card, precision_name(trainer.precision))
    return beginning


def _versions() -> str:
    return f"umseg {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}, {platform.system()}"


def _options(config: TrainingConfig, card: ModelCard, precision: str, workers: int) -> str:
    """All options with the values that hold, for the log."""
    values = config.resolved(card.configuration).model_dump(mode="json", exclude={"schema_version"})
    values |= {**values.pop("options"), "precision": precision}
    text = ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items())
    return "\n".join(wrapped(f"{text}, workers {workers}", indent="  ", first="Options: "))


def _description(trainer: Trainer, split: Split) -> str:
    count = trainer.processes.count
    return (
        f"Training {trainer.config.model}, fold {trainer.config.fold}: {len(split.train):,} training and "
        f"{counted(len(split.validation), 'validation case')}, "
        f"{'CPU' if trainer.device.type == 'cpu' else trainer.device}, "
        f"{precision_name(trainer.precision)}{f', {count} processes' if count > 1 else ''}. "
        f"Output: {trainer.folder.path}"
    )


def _run(trainer: Trainer, factory: BatchFactory, workers: int, stop: StopRequest) -> None:
    config = trainer.config
    batches = load_batches(
        factory,
        first_epoch=len(trainer.rows),
        first_iteration=len(trainer.losses),
        epochs=config.epochs,
        train=config.iterations,
        validation=config.validation_batches,
        workers=workers,
        device=trainer.device,
        stop=stop.__bool__,
    )
    # The batches are closed at once, whatever ends the training, so that no worker process outlives it.
    with contextlib.closing(batches), stop:
        if trainer.run(batches, stop):
            trainer.say("Training is complete.")
        else:
            log.warning(
                "Stopped (%s) in epoch %d of %d; everything is saved.",
                stop.reason or "by another process",
                len(trainer.rows) + 1,
                config.epochs,
            )
    # The other processes look for the last file that the first one writes.
    trainer.processes.wait()


def _split(workspace: Workspace, config: TrainingConfig, dataset: Dataset) -> Split:
    case_ids = [case.id for case in dataset.cases]
    return fold_cases(workspace.load(Splits), config.fold, case_ids, workspace.file(Splits))
