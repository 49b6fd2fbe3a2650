"""``umseg train``: from a planned workspace to trained weights."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
from pathlib import Path

import torch

import umseg
from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.models.card import FILE_NAME as CARD
from umseg.models.card import ModelCard
from umseg.models.device import resolve_device, resolve_precision
from umseg.models.memory import keep_freed_memory
from umseg.models.registry import check_model, has_mamba_layers
from umseg.planning.plan import Plan
from umseg.preprocess.store import CaseStore
from umseg.training import checkpoint
from umseg.training.augmentation import patch_geometry
from umseg.training.batches import BatchFactory
from umseg.training.config import TrainingConfig, model_folder
from umseg.training.loader import load_batches
from umseg.training.loss import SegmentationLoss
from umseg.training.pretrained import load_pretrained
from umseg.training.splits import Split, Splits, fold_cases
from umseg.training.stop import StopRequest
from umseg.training.targets import Targets
from umseg.training.trainer import Trainer

log = logging.getLogger(__name__)

PLAN_REMEDY = "Run `umseg plan DATASET` first, or give its --workspace."


def train(
    workspace: Path,
    config: TrainingConfig,
    *,
    device: str = "auto",
    workers: int = 0,
    tag: str | None = None,
    restart: bool = False,
    max_seconds: float = math.inf,
    quiet: bool = False,
) -> Path:
    """Train a network on one fold; continue if the same run was begun before.

    Args:
        workspace: The data set's workspace, ``W/<DatasetName>``, as made by ``umseg plan``.
        config: What to train. Two CPU runs with equal configurations give bit-identical weights.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        workers: Processes that prepare batches; 0 prepares them in this process.
        tag: Suffix of the model folder's name, to keep experiments apart.
        restart: Discard an earlier run of this fold instead of continuing it.
        max_seconds: Stop after this time as after Ctrl-C: the iteration is finished and everything saved.
        quiet: No progress bar.

    Returns:
        The fold's folder. It holds ``weights_final.safetensors`` if training is complete.

    Raises:
        UserError: The workspace is incomplete, a name is unknown, the device is missing, an earlier run had another
            configuration, or training diverged.
    """
    workspace = Path(workspace)
    card = _model_card(workspace, config)
    target = resolve_device(device)
    if config.augmentation == "gpu" and target.type != "cuda":
        raise UserError("--augmentation gpu needs a CUDA device.", found=str(target), remedy="Use --augmentation cpu.")
    precision = resolve_precision(config.precision, target)
    store = CaseStore(workspace / "preprocessed" / config.configuration)
    split = _split(workspace, config)
    store.verify(sorted({*split.train, *split.validation}), quiet)
    models = model_folder(workspace, config, tag)
    folder = models / f"fold_{config.fold}"
    begun = _prepare_folder(models, folder, card, config, restart)

    if target.type == "cpu":
        keep_freed_memory()
    # Every batch has the same shape: let cuDNN try its algorithms once and keep the fastest.
    torch.backends.cudnn.benchmark = target.type == "cuda" and not config.deterministic
    if config.deterministic:
        # Without it cuBLAS refuses to be deterministic; it is read when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(config.seed)
    network = card.build_network(config.deep_supervision)
    if config.init_from is not None and not begun:
        log.info("starting from %s", load_pretrained(network, Path(config.init_from)))
    trainer = Trainer(
        network=network,
        config=config,
        loss=SegmentationLoss(Targets.of(card.dataset), card.configuration.batch_dice, config.loss),
        folder=folder,
        device=target,
        precision=precision,
        quiet=quiet,
    )
    if begun:
        trainer.resume()
        log.info("continuing after epoch %d of %d", len(trainer.rows), config.epochs)
    log.info(
        "training %s on %d cases, validating on %d; %s, %s; %s",
        config.model,
        len(split.train),
        len(split.validation),
        target,
        str(precision).removeprefix("torch."),
        folder,
    )
    factory = BatchFactory(
        store.folder,
        card.configuration,
        {"train": split.train, "validation": split.validation},
        config.seed,
        config.augmentation,
        config.oversampling,
    )
    batches = load_batches(
        factory,
        first_epoch=len(trainer.rows),
        first_iteration=len(trainer.losses),
        epochs=config.epochs,
        train=config.iterations,
        validation=config.validation_batches,
        workers=workers,
        device=target,
    )
    # Closed at once, whatever ends the training, so that no worker process outlives it.
    with contextlib.closing(batches), StopRequest(max_seconds) as stop:
        if not trainer.run(batches, stop):
            log.warning(
                "stopped (%s) in epoch %d of %d; everything is saved", stop.reason, len(trainer.rows) + 1, config.epochs
            )
    return folder


def _model_card(workspace: Path, config: TrainingConfig) -> ModelCard:
    check_model(config.model, config.options)
    _refuse_idle_ssm_options(config)
    dataset = Dataset.load(workspace / "dataset.json", PLAN_REMEDY)
    plan = Plan.load(workspace / "plan.json", PLAN_REMEDY)
    configuration = plan.configuration(config.configuration, workspace / "plan.json")
    if configuration.previous_stage is not None:
        raise UserError(
            "The second stage of a cascade cannot be trained yet.",
            file=workspace / "plan.json",
            found=f"{config.configuration}, which takes the result of {configuration.previous_stage} as input",
            expected="a configuration of its own",
            remedy=f"Train {configuration.inherits_from} or {configuration.previous_stage} with --config.",
        )
    return ModelCard(
        umseg_version=umseg.__version__,
        model=config.model,
        options=config.options,
        configuration_name=config.configuration,
        dataset=dataset.description,
        plan=plan,
        mirror_axes=patch_geometry(configuration.patch_size).mirror_axes,
    )


def _refuse_idle_ssm_options(config: TrainingConfig) -> None:
    given = config.ssm_optimizer is not None or config.ssm_lr is not None
    if given and not has_mamba_layers(config.model, config.options):
        raise UserError(
            "--ssm-optimizer and --ssm-lr mean nothing to a network without Mamba layers.",
            found=config.model + ("" if config.options.ssm else " --no-ssm"),
            remedy="Leave the options out, or train a U-Mamba with its Mamba layers.",
        )


def _split(workspace: Path, config: TrainingConfig) -> Split:
    path = workspace / "splits.json"
    splits = Splits.load(path, PLAN_REMEDY)
    planned = [case.id for case in Dataset.load(workspace / "dataset.json", PLAN_REMEDY).cases]
    return fold_cases(splits, config.fold, planned, path)


def _prepare_folder(models: Path, folder: Path, card: ModelCard, config: TrainingConfig, restart: bool) -> bool:
    """Write ``model.json`` and ``config.json``; returns whether a run is to be continued."""
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    begun = (folder / checkpoint.LATEST).exists()
    if begun:
        earlier = TrainingConfig.load(folder / "config.json", "Start this fold anew with --restart.")
        _refuse_change(earlier, config, folder)
        if config.epochs > earlier.epochs:
            (folder / checkpoint.FINAL).unlink(missing_ok=True)
    _write_card(models, card)
    config.save(folder / "config.json")
    return begun


def _refuse_change(earlier: TrainingConfig, config: TrainingConfig, folder: Path) -> None:
    old, new = earlier.model_dump(), config.model_dump()
    # More epochs only stretch the schedule: what is left of it is longer.
    extended = {"epochs"} if new["epochs"] > old["epochs"] else set()
    changed = [name for name in new if old[name] != new[name] and name not in extended]
    if changed:
        raise UserError(
            "This fold was begun with other options.",
            file=folder / "config.json",
            found=", ".join(f"{name} = {new[name]}" for name in changed),
            expected=", ".join(f"{name} = {old[name]}" for name in changed),
            remedy="Repeat the earlier options to continue, begin anew with --restart, or keep both with --tag NAME.",
        )


def _write_card(models: Path, card: ModelCard) -> None:
    """All folds of a model folder share one card; folds of another plan or network must not join them."""
    path = models / CARD
    if path.exists() and any(models.glob(f"fold_*/{checkpoint.LATEST}")):
        there = ModelCard.load(path, "Remove the folder, or train with --tag NAME.")
        if there.model_copy(update={"umseg_version": card.umseg_version}) != card:
            raise UserError(
                "The model folder holds folds of another plan or network.",
                file=path,
                found="a model.json that differs from what this run would write",
                remedy="Train with --tag NAME to keep both, or remove the folder.",
            )
    card.save(path)
