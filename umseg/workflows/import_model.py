"""``umseg import nnunet``: a model folder from a trained nnU-Net v2 or released U-Mamba."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import umseg
from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.common.record import invalid
from umseg.dataset.description import DatasetDescription, load_description
from umseg.models.card import ModelCard
from umseg.models.convert import convert_state_dict
from umseg.planning.foreign import read_foreign_plan
from umseg.planning.plan import Configuration, Plan
from umseg.training.saved import checkpoint
from umseg.workflows.foreign_checkpoint import plain_tensors, read_foreign_checkpoint
from umseg.workspace import FoldFolder, ModelFolder, WeightsName

REMEDY = "Give the folder of a trained model: plans.json, dataset.json, fold_0/checkpoint_final.pth, ..."
_CHECKPOINTS: dict[str, WeightsName] = {"checkpoint_final.pth": "final", "checkpoint_best.pth": "best"}
_RELEASED = {"nnUNetTrainerUMambaBot": "umamba_bot_released", "nnUNetTrainerUMambaEnc": "umamba_enc_released"}


def import_nnunet(source: Path, destination: Path) -> Path:
    """Make a model folder for ``umseg predict`` from a trained model of nnU-Net v2 or the released U-Mamba.

    Args:
        source: ``.../<Trainer>__<Plans>__<configuration>`` with plans.json, dataset.json and fold_*/checkpoint_*.pth.
        destination: The new model folder.

    Returns:
        ``destination``.

    Raises:
        UserError: A file is missing or damaged, the network is unknown, the plan needs a feature that umseg does not
            have, or the destination exists. Nothing is written in these cases.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists():
        raise UserError("The destination already exists.", file=destination, remedy="Give the name of a new folder.")
    description = load_description(source / "dataset.json")
    plan = read_foreign_plan(source / "plans.json")
    files = sorted(path for name in _CHECKPOINTS for path in source.glob(f"fold_*/{name}"))
    if not files:
        raise UserError(
            "The folder has no trained fold.",
            file=source,
            expected="fold_*/" + " or fold_*/".join(_CHECKPOINTS),
            remedy=REMEDY,
        )
    first = read_foreign_checkpoint(files[0], REMEDY)
    card = _card(first, description, plan, files[0])
    network = card.build_network()
    models, weights = ModelFolder(destination), {}
    for file in files:
        content = first if file == files[0] else read_foreign_checkpoint(file, REMEDY)
        tensors = plain_tensors(_entry(content, "network_weights", file), file, REMEDY)
        try:
            renamed = convert_state_dict(tensors, card.model)
        except UserError as error:
            raise error.at(file) from error
        checkpoint.load_into(network, renamed, file, "Check that the checkpoint belongs to the plans.json beside it.")
        # The folders of the folds have the same names as umseg's.
        fold = FoldFolder(file.parent).name
        weights[models.fold(fold).weights(_CHECKPOINTS[file.name])] = renamed
    for path, renamed in weights.items():
        checkpoint.save_tensors(path, renamed)
    card.save(models.card_file)
    return destination


def _card(content: Mapping[str, Any], description: DatasetDescription, plan: Plan, file: Path) -> ModelCard:
    """The card of the model that a checkpoint belongs to."""
    name = _text(_entry(content, "init_args", file), "configuration", file)
    if plan.configuration(name).previous_stage is not None:
        raise UserError(
            "The model is the second stage of a cascade, which cannot be imported.",
            file=file,
            found=f"{name}, whose previous stage is {plan.configuration(name).previous_stage}",
            expected="a model that needs only the image",
            remedy="Import a model of another configuration, e.g. 3d_fullres or 3d_lowres.",
        )
    axes = content.get("inference_allowed_mirroring_axes")
    try:
        return ModelCard(
            umseg_version=umseg.__version__,
            model=_model_name(content, plan.configuration(name), file),
            options=ModelOptions(),
            configuration_name=name,
            dataset=description,
            plan=plan,
            mirror_axes=() if axes is None else axes,
        )
    except ValidationError as error:
        raise invalid("The checkpoint does not fit its plans.json and dataset.json", error, file=file) from error


def _model_name(content: Mapping[str, Any], configuration: Configuration, file: Path) -> str:
    trainer = _text(content, "trainer_name", file)
    for prefix, model in _RELEASED.items():
        if trainer.startswith(prefix):
            return model
    return "nnunet" if configuration.n_blocks_per_stage is None else "nnunet_resenc"


def _text(content: object, key: str, file: Path) -> str:
    value = _entry(content, key, file)
    if not isinstance(value, str):
        raise _no_checkpoint(file, f"'{key}' of type {type(value).__name__}")
    return value


def _entry(content: object, key: str, file: Path) -> Any:
    if not isinstance(content, Mapping) or key not in content:
        raise _no_checkpoint(file, f"no entry '{key}'")
    return content[key]


def _no_checkpoint(file: Path, found: str) -> UserError:
    return UserError("The file is not a checkpoint of nnU-Net v2.", file=file, found=found, remedy=REMEDY)
