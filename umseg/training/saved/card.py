"""The model card of a run, with the changes that training options make to the plan."""

from __future__ import annotations

import math

from pydantic import ValidationError

import umseg
from umseg.common.errors import UserError
from umseg.common.record import invalid
from umseg.dataset.dataset import Dataset
from umseg.models.card import ModelCard
from umseg.models.registry import check_model, has_mamba_layers
from umseg.planning.plan import Configuration, Plan
from umseg.training.augmentation import patch_geometry
from umseg.training.config.training_config import TrainingConfig, model_folder
from umseg.training.saved.cascade import FirstStage
from umseg.workspace import Workspace


def model_card(workspace: Workspace, config: TrainingConfig, tag: str | None = None) -> ModelCard:
    """Everything about the model except its weights.

    Args:
        workspace: The data set's workspace.
        config: The training configuration.
        tag: Suffix of the model folder's name.

    Raises:
        UserError: The workspace is incomplete, a name is unknown, or options do not fit the model or the plan.
    """
    check_model(config.model, config.options)
    _check_ssm_options(config)
    dataset = workspace.load(Dataset)
    plan = workspace.load(Plan)
    configuration = _overridden(plan.configuration(config.configuration, workspace.plan_file), config)
    first_stage = None
    if configuration.previous_stage is not None:
        models = FirstStage.of(workspace, config, configuration.previous_stage, tag)
        first_stage = models.relative_to(model_folder(workspace, config, tag))
    elif config.first_stage is not None:
        raise UserError(
            "--first-stage applies only to the second stage of a cascade.",
            found=f"--config {config.configuration}",
            expected=" or ".join(name for name, c in plan.configurations.items() if c.previous_stage)
            or "a plan with a cascade, which this one has not",
            remedy="Leave the option out, or choose the second stage with --config.",
        )
    changed = plan.model_copy(update={"configurations": {**plan.configurations, config.configuration: configuration}})
    try:
        return ModelCard(
            umseg_version=umseg.__version__,
            model=config.model,
            options=config.options,
            configuration_name=config.configuration,
            dataset=dataset.description,
            plan=changed,
            mirror_axes=patch_geometry(configuration.patch_size, config.mirror_axes).mirror_axes,
            first_stage=first_stage,
            orientation=dataset.orientation,
        )
    except ValidationError as error:
        raise invalid(
            "plan.json and dataset.json of the workspace do not fit each other",
            error,
            file=workspace.plan_file,
            remedy="Run `umseg plan` again.",
        ) from error


def _overridden(configuration: Configuration, config: TrainingConfig) -> Configuration:
    """The configuration with the patch size and batch size that the options ask for."""
    axes = configuration.dimensions
    if config.mirror_axes is not None and not set(config.mirror_axes) <= set(range(axes)):
        raise UserError(
            "--mirror-axes names an axis that the patch does not have.",
            found=",".join(map(str, config.mirror_axes)),
            expected=f"any of {','.join(map(str, range(axes)))}, or none",
        )
    patch, batch = config.patch_size or configuration.patch_size, config.batch_size or configuration.batch_size
    multiples = [math.prod(strides) for strides in zip(*configuration.strides, strict=True)]
    if len(patch) != axes or any(size < 1 or size % step for size, step in zip(patch, multiples, strict=False)):
        raise UserError(
            "--patch-size does not fit the network.",
            found=",".join(map(str, patch)),
            expected=f"{axes} sizes that are multiples of {','.join(map(str, multiples))}",
            remedy="Choose such a size (the plan's patch is "
            + ",".join(map(str, configuration.patch_size))
            + "), or plan another network with `umseg plan --patch-size`.",
        )
    changes = {"patch_size": tuple(patch), "batch_size": batch}
    try:
        return Configuration.model_validate({**configuration.model_dump(), **changes})
    except ValidationError as error:
        raise invalid("--patch-size or --batch-size does not fit the plan", error) from error


def _check_ssm_options(config: TrainingConfig) -> None:
    given = [name for name in ("ssm_optimizer", "ssm_lr", "ssm_weight_decay") if getattr(config, name) is not None]
    if given and not has_mamba_layers(config.model, config.options):
        raise UserError(
            " and ".join("--" + name.replace("_", "-") for name in given)
            + (" apply" if len(given) > 1 else " applies")
            + " only to networks with Mamba layers.",
            found=config.model + ("" if config.options.ssm else " --no-ssm"),
            remedy="Leave the options out, or train a U-Mamba with its Mamba layers.",
        )
