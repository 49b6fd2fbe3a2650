"""``config.json`` of a run: every choice that training depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from umseg.common.errors import UserError
from umseg.common.parallel import default_workers
from umseg.common.record import Record
from umseg.models.registry import ModelOptions, has_mamba_layers
from umseg.planning.plan import Configuration
from umseg.training.augmentation import patch_geometry
from umseg.training.augmentation.names import DEFAULT_PIPELINE
from umseg.training.augmentation.names import check_names as check_transforms
from umseg.training.config.recipes import DEFAULT_RECIPE, with_defaults
from umseg.training.data.batches import AugmentationPlace
from umseg.training.loop.processes import environment
from umseg.training.loss.segmentation import LossName
from umseg.training.optim.schedule import ScheduleName
from umseg.workspace import ModelFolder, Workspace

OptimizerName = Literal["sgd", "adam", "adamw", "muon"]

DEFAULT_LR: dict[OptimizerName, float] = {"sgd": 1e-2, "adam": 1e-3, "adamw": 1e-3, "muon": 1e-1}
DEFAULT_WEIGHT_DECAY: dict[OptimizerName, float] = {"sgd": 3e-5, "adam": 0.0, "adamw": 1e-2, "muon": 1e-2}


def _split(value: Any) -> Any:
    """Numbers between commas, as on a command line; ``none`` is no number at all."""
    if not isinstance(value, str):
        return value
    return () if value == "none" else tuple(value.split(","))


Axes = Annotated[tuple[int, ...] | None, Field(strict=False), BeforeValidator(_split)]


class TrainingConfig(Record):
    """All options of ``umseg train``; defaults are the paper's (3.2; docs/rules.md).

    Attributes:
        configuration: Name of the plan's configuration.
        model: Name of the network.
        options: Options of the network.
        fold: Cross-validation fold, or ``all`` to train on every case.
        epochs: Training epochs; the learning-rate schedule spans them.
        iterations: Batches per epoch.
        validation_iterations: Validation batches per epoch; None means a fifth of ``iterations``.
        optimizer: Optimiser of the network (of the convolutions only, where the SSM layers have their own); with Muon
            AdamW trains what is no matrix, at a tenth of the learning rate.
        lr: Initial learning rate; None means 0.01 for SGD, 0.001 for Adam and AdamW, 0.1 for Muon.
        momentum: Of SGD (Nesterov).
        weight_decay: None means 3e-5 for SGD, 0 for Adam, 0.01 for AdamW and Muon.
        ssm_optimizer: Optimiser of the SSM layers; None means they are trained with all the rest, but by AdamW where
            that is Muon.
        ssm_lr: Initial learning rate of the SSM layers; None means ``lr``, or the default of an optimiser of their own.
        ssm_weight_decay: Of the SSM layers, but never of ``A_log`` and ``D``; None as for ``ssm_lr``.
        eps: Of Adam and AdamW: what is added to the root of the second moment.
        schedule: How the learning rate falls: ``poly`` (1 - epoch / epochs)^power, ``cosine``, or ``constant``.
        power: Of the schedule ``poly``.
        lr_end: Learning rate at the end of the schedule ``cosine``.
        warmup: Iterations in which the learning rate rises to its value.
        ema: Decay of an average of the weights, taken after every iteration, that is validated and kept instead of the
            last weights; 0: none.
        clip: Largest norm of all gradients together; 0 does not clip.
        accumulate: Parts in which a batch goes through the network, to save memory. Dice over the batch becomes Dice
            over each part.
        checkpoint_activations: Compute the activations of every stage again on the way back instead of keeping them.
        deep_supervision: Train the lower decoder stages too.
        batch_size: Patches per iteration; None means the plan's.
        patch_size: Voxels per axis of a patch, in the plan's order of axes; None means the plan's.
        oversampling: Share of a batch that must show foreground.
        mirror_axes: Axes of the patch that are mirrored, in training and by ``umseg predict --mirror``; None means all.
        augmentation: Training batches are augmented by the processes that prepare them (``cpu``), by the GPU that
            trains, or not at all.
        transforms: Transforms of the augmentation: names of pipelines and transforms, separated by commas. ``umamba``
            interpolates by cubic splines, as nnU-Net did when U-Mamba was published, ``nnunet`` linearly, as newer
            releases do; ``batchgenerators`` runs the pipeline of ``umamba`` with the package of that name.
        loss: See ``SegmentationLoss``.
        first_stage: In the second stage of a cascade: the first one's model folder; None means the same model and tag.
        init_from: Model folder whose weights training starts from, as far as they fit.
        seed: Seed of the weights, the batches and the augmentation.
        deterministic: Only deterministic operators on a GPU too, where two runs may else differ in the last bits.
        compile: Let torch.compile fuse the network's operators; needs a compiler.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    """

    schema_version: Literal[1] = 1
    configuration: str = "3d_fullres"
    model: str = "umamba_enc"
    options: ModelOptions = ModelOptions()
    fold: int | Literal["all"] = 0
    epochs: int = Field(default=1000, ge=1)
    iterations: int = Field(default=250, ge=1)
    validation_iterations: int | None = Field(default=None, ge=1)
    optimizer: OptimizerName = "sgd"
    lr: float | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)
    weight_decay: float | None = Field(default=None, ge=0)
    ssm_optimizer: OptimizerName | None = None
    ssm_lr: float | None = Field(default=None, gt=0)
    ssm_weight_decay: float | None = Field(default=None, ge=0)
    eps: float = Field(default=1e-8, gt=0)
    schedule: ScheduleName = "poly"
    power: float = Field(default=0.9, gt=0)
    lr_end: float = Field(default=0.0, ge=0)
    warmup: int = Field(default=0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    clip: float = Field(default=12.0, ge=0)
    accumulate: int = Field(default=1, ge=1)
    checkpoint_activations: bool = False
    deep_supervision: bool = True
    batch_size: int | None = Field(default=None, ge=1)
    patch_size: Axes = None
    oversampling: float = Field(default=0.33, ge=0, le=1)
    mirror_axes: Axes = None
    augmentation: AugmentationPlace = "cpu"
    transforms: str = DEFAULT_PIPELINE
    loss: LossName = "dice_ce"
    first_stage: str | None = None
    init_from: str | None = None
    seed: int = Field(default=0, ge=0)
    deterministic: bool = False
    compile: bool = False
    precision: str = "auto"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TrainingConfig:
        """Build a configuration from options that a user gave; ``recipe`` and the model say what is default.

        Raises:
            UserError: Names the option that is wrong.
        """
        given = {**options}
        recipe = given.pop("recipe", DEFAULT_RECIPE)
        try:
            config = cls.model_validate(with_defaults(given.get("model"), recipe, given))
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0]).replace("_", "-")
            raise UserError(f"{option} is not valid.", found=first["input"], expected=first["msg"]) from error
        # Not when a record is read: a run may have used an object that was passed from Python.
        check_transforms(config.transforms)
        return config

    def resolved(self, configuration: Configuration | None = None) -> TrainingConfig:
        """With the values that stand for None, those of a plan's configuration where it is given."""
        decay = DEFAULT_WEIGHT_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay
        values: dict[str, Any] = {
            "lr": self.initial_lr,
            "weight_decay": decay,
            "ssm_optimizer": self.own_ssm_optimizer if has_mamba_layers(self.model, self.options) else None,
            "validation_iterations": self.validation_batches,
        }
        if configuration is not None:
            values["batch_size"] = self.batch_size or configuration.batch_size
            values["patch_size"] = self.patch_size or configuration.patch_size
            values["mirror_axes"] = patch_geometry(configuration.patch_size, self.mirror_axes).mirror_axes
        return self.model_copy(update=values)

    @property
    def initial_lr(self) -> float:
        """Learning rate of the (first) optimiser before the schedule."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

    @property
    def own_ssm_optimizer(self) -> OptimizerName | None:
        """What trains the SSM layers, where that is not the optimiser of all the rest.

        Beside Muon that is AdamW: Muon's large steps let a network with SSM layers in every stage diverge
        (docs/ssm_training.md).
        """
        return self.ssm_optimizer or ("adamw" if self.optimizer == "muon" else None)

    @property
    def validation_batches(self) -> int:
        """Validation batches per epoch: the paper's ratio of 250 to 50 unless given."""
        return self.validation_iterations or max(1, self.iterations // 5)


def model_folder(workspace: Workspace, config: TrainingConfig, tag: str | None = None) -> ModelFolder:
    """``models/<model>__<configuration>``; options that change the network, and ``tag``, become part of the name."""
    parts = [config.model]
    if not config.options.ssm:
        parts.append("no-ssm")
    if config.options.ssm_residual:
        parts.append("ssm-residual")
    if tag:
        parts.append(tag)
    return workspace.model("-".join(parts), config.configuration)


def default_loader_workers() -> int:
    """Processes that prepare batches when the user names none: half of the cores, as the network needs the others.

    Of several trainings on a machine, as ``torchrun`` starts them, each has its part.
    """
    return max(1, default_workers() // 2 // environment().local_count)
