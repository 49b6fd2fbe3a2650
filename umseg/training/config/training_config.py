"""``config.json`` of a run: every choice that training depends on.

This module imports no torch: the command line builds its options from the fields and checks names against the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.config import JsonDict

from umseg.architectures.options import ModelOptions
from umseg.architectures.registry import NETWORKS
from umseg.common.errors import UserError
from umseg.common.names import Name, require_name
from umseg.common.processes.parallel import default_workers
from umseg.common.record import Record, expectation
from umseg.common.registry import unknown_name
from umseg.common.text import printable
from umseg.planning.consistency import MOST_BATCH, Axis, Voxels
from umseg.training.augmentation.names import DEFAULT_PIPELINE
from umseg.training.augmentation.names import check_names as check_transforms
from umseg.training.config.recipes import DEFAULT_RECIPE, RECIPES, with_defaults
from umseg.training.loss.registry import LOSSES
from umseg.training.optim.registry import OPTIMIZERS
from umseg.training.optim.schedule import SCHEDULES
from umseg.workspace import ModelFolder, Workspace

if TYPE_CHECKING:
    from umseg.planning.plan import Configuration

AugmentationPlace = Literal["cpu", "gpu", "none"]

WHAT: JsonDict = {"group": "What to train"}
SCHEDULE: JsonDict = {"group": "Schedule"}
OPTIMISER: JsonDict = {"group": "Optimiser"}
LOSS: JsonDict = {"group": "Loss"}
DATA: JsonDict = {"group": "Data"}
MEMORY: JsonDict = {"group": "Memory and speed"}
GROUPS = (WHAT, SCHEDULE, OPTIMISER, LOSS, DATA, MEMORY)
"""The groups of the options in help texts, in their order."""


def _split(value: Any) -> Any:
    """Numbers between commas, as on a command line; ``none`` is the empty tuple."""
    if not isinstance(value, str):
        return value
    return () if value == "none" else tuple(value.split(","))


def _different(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if axes is not None and len(set(axes)) < len(axes):
        raise ValueError("different axes")
    return axes


def _path(text: str | None) -> str | None:
    if text is not None and (not text or "\0" in text):
        raise ValueError("the path of a folder")
    return text


Patch = Annotated[
    Annotated[tuple[Voxels, ...], Field(min_length=2, max_length=3)] | None,
    BeforeValidator(_split),
]
Axes = Annotated[
    Annotated[tuple[Axis, ...], Field(max_length=3)] | None,
    BeforeValidator(_split),
    AfterValidator(_different),
]
Choice = Annotated[str, Field(max_length=1000)]
FolderPath = Annotated[Annotated[str, Field(max_length=4096)] | None, AfterValidator(_path)]
MOST_RATE = 1000
MOST_EPOCHS = 10**6
MOST_ITERATIONS = 10**6


class TrainingConfig(Record):
    """All options of ``umseg train``; the defaults are the paper's (3.2; docs/rules.md).

    The description of a field is its help on the command line.
    """

    schema_version: Literal[1] = 1
    most_bytes: ClassVar[int] = 2**20

    configuration: Name = Field(
        default="3d_fullres",
        description="Configuration of the plan. [default: 3d_fullres, or 2d for 2-D images]",
        json_schema_extra=WHAT,
    )
    model: Name = Field(default="umamba_enc", description="Network.", json_schema_extra=WHAT)
    options: ModelOptions = Field(default=ModelOptions(), description="Options of the network.", json_schema_extra=WHAT)
    fold: Annotated[int, Field(ge=0, le=9999)] | Literal["all"] = Field(
        default=0,
        description="Cross-validation fold, 0 to 4, or all to train on every case; on the command line also several, "
        "one after another: 0,1,2.",
        json_schema_extra=WHAT,
    )
    epochs: int = Field(
        default=1000,
        ge=1,
        le=MOST_EPOCHS,
        description="Number of epochs. A larger number extends a finished run.",
        json_schema_extra=SCHEDULE,
    )
    iterations: int = Field(
        default=250, ge=1, le=MOST_ITERATIONS, description="Training batches per epoch.", json_schema_extra=SCHEDULE
    )
    validation_iterations: int | None = Field(
        default=None,
        ge=1,
        le=MOST_ITERATIONS,
        description="Validation batches per epoch. [default: a fifth of --iterations]",
        json_schema_extra=SCHEDULE,
    )
    optimizer: Choice = Field(default="sgd", description="Optimiser of the network.", json_schema_extra=OPTIMISER)
    lr: float | None = Field(
        default=None,
        gt=0,
        le=MOST_RATE,
        description="Initial learning rate. [default: the optimiser's]",
        json_schema_extra=OPTIMISER,
    )
    momentum: float = Field(
        default=0.99, ge=0, lt=1, description="Nesterov momentum of sgd.", json_schema_extra=OPTIMISER
    )
    weight_decay: float | None = Field(
        default=None,
        ge=0,
        le=MOST_RATE,
        description="Weight decay. [default: the optimiser's]",
        json_schema_extra=OPTIMISER,
    )
    ssm_optimizer: Choice | None = Field(
        default=None,
        description="Separate optimiser of the Mamba layers, from the same list. [default: none; adamw beside muon]",
        json_schema_extra=OPTIMISER,
    )
    ssm_lr: float | None = Field(
        default=None,
        gt=0,
        le=MOST_RATE,
        description="Initial learning rate of the Mamba layers. [default: --lr, or that of --ssm-optimizer]",
        json_schema_extra=OPTIMISER,
    )
    ssm_weight_decay: float | None = Field(
        default=None,
        ge=0,
        le=MOST_RATE,
        description="Weight decay of the Mamba layers, except their A_log and D, which are never decayed if the "
        "layers have a setting of their own. [default: --weight-decay, or that of --ssm-optimizer]",
        json_schema_extra=OPTIMISER,
    )
    eps: float = Field(
        default=1e-8,
        gt=0,
        le=1,
        description="Number that adam and adamw add to the root of the second moment.",
        json_schema_extra=OPTIMISER,
    )
    schedule: Choice = Field(
        default="poly",
        description="Decrease of the learning rate over the epochs.",
        json_schema_extra=SCHEDULE,
    )
    power: float = Field(
        default=0.9, gt=0, le=100, description="Exponent of the schedule poly.", json_schema_extra=SCHEDULE
    )
    lr_end: float = Field(
        default=0.0,
        ge=0,
        le=MOST_RATE,
        description="Final learning rate of the schedule cosine.",
        json_schema_extra=SCHEDULE,
    )
    warmup: int = Field(
        default=0,
        ge=0,
        le=MOST_EPOCHS * MOST_ITERATIONS,
        description="Iterations in which the learning rate rises to its initial value.",
        json_schema_extra=SCHEDULE,
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay of an exponential moving average of the weights, which is validated and saved in place of "
        "the final weights; 0 disables it.",
        json_schema_extra=OPTIMISER,
    )
    clip: float = Field(
        default=12.0,
        ge=0,
        le=1e30,
        description="Clip gradients to this norm; 0 disables clipping.",
        json_schema_extra=OPTIMISER,
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=MOST_BATCH,
        description="Split each batch into this many parts (gradient accumulation) to save memory. Dice over the "
        "batch becomes Dice over each part.",
        json_schema_extra=MEMORY,
    )
    checkpoint_activations: bool = Field(
        default=False,
        description="Compute activations again in the backward pass instead of keeping them, to save memory.",
        json_schema_extra=MEMORY,
    )
    deep_supervision: bool = Field(
        default=True, description="Compute the loss at the lower decoder stages too.", json_schema_extra=LOSS
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=MOST_BATCH,
        description="Patches per iteration. [default: the plan's]",
        json_schema_extra=DATA,
    )
    patch_size: Patch = Field(
        default=None,
        description="Voxels of a patch, in the plan's order of axes, e.g. 40,56,40. [default: the plan's]",
        json_schema_extra=DATA,
    )
    oversampling: float = Field(
        default=0.33,
        ge=0,
        le=1,
        description="Fraction of a batch that must contain foreground.",
        json_schema_extra=DATA,
    )
    mirror_axes: Axes = Field(
        default=None,
        description="Axes of the patch that are mirrored, in training and by `umseg predict --mirror`, e.g. 0,1, or "
        "none. [default: all]",
        json_schema_extra=DATA,
    )
    augmentation: AugmentationPlace = Field(
        default="cpu",
        description="Place of the augmentation: cpu (in the workers), gpu (on the GPU that trains; for few CPU cores) "
        "or none.",
        json_schema_extra=DATA,
    )
    transforms: Choice = Field(
        default=DEFAULT_PIPELINE,
        description="Transforms of the augmentation: names of pipelines and single transforms, separated by commas, or "
        "none. Pipelines: umamba (cubic splines, as in U-Mamba's release), nnunet (linear interpolation, as in current "
        "nnU-Net; faster), batchgenerators (the pipeline of umamba, run by the package of that name).",
        json_schema_extra=DATA,
    )
    loss: Choice = Field(default="dice_ce", description="Loss.", json_schema_extra=LOSS)
    first_stage: FolderPath = Field(
        default=None,
        description="Model folder of a cascade's first stage. [default: the same --model and --tag]",
        json_schema_extra=WHAT,
    )
    init_from: FolderPath = Field(
        default=None,
        description="Model folder whose weights training starts from, as far as they fit (fine-tuning).",
        json_schema_extra=WHAT,
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**63 - 1,
        description="Seed of weights, batches and augmentation.",
        json_schema_extra=DATA,
    )
    deterministic: bool = Field(
        default=False,
        description="Use deterministic operators on a GPU too, some of which are slower: two runs then give the same "
        "weights.",
        json_schema_extra=MEMORY,
    )
    compile: bool = Field(
        default=False,
        description="Fuse the network's operators with torch.compile, which needs a C++ compiler.",
        json_schema_extra=MEMORY,
    )
    precision: Choice = Field(
        default="auto",
        description="Number format of the convolutions: auto, fp32, bf16 or fp16.",
        json_schema_extra=MEMORY,
    )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TrainingConfig:
        """Build a configuration from options that a user gave; the recipe and the model supply the other values.

        Args:
            options: Values by field name, and the name of a ``recipe``.

        Raises:
            UserError: An option or a name is unknown, or a value is not valid.
        """
        given = {**options}
        recipe = given.pop("recipe", DEFAULT_RECIPE)
        if not isinstance(recipe, str):
            raise unknown_name("recipe", printable(str(recipe)), RECIPES, "--recipe")
        for name in given:
            if name not in cls.model_fields:
                raise unknown_name("training option", name, [*cls.model_fields, "recipe"])
        check_names(given)
        try:
            config = cls.model_validate(with_defaults(given.get("model"), recipe, given))
        except ValidationError as error:
            first = error.errors()[0]
            option = option_of(str(first["loc"][0]))
            raise UserError(
                f"{option} is not valid.", found=printable(str(first["input"])), expected=expectation(first["msg"])
            ) from error
        # Not when a record is read: its run may have used an object that was passed from Python.
        check_transforms(config.transforms)
        return config

    def resolved(self, configuration: Configuration | None = None) -> TrainingConfig:
        """The configuration with values in place of None; those of a plan's configuration where it is given."""
        implied = self.implied(configuration)
        values = {name: value for name, value in implied.items() if getattr(self, name) is None}
        # A network without Mamba layers ignores their optimiser.
        return self.model_copy(update={**values, "ssm_optimizer": implied["ssm_optimizer"]})

    def implied(self, configuration: Configuration | None = None) -> dict[str, Any]:
        """What None stands for, by field: values of the optimiser, and of a plan's configuration where it is given."""
        optimizer = OPTIMIZERS.look_up(self.optimizer, "--optimizer")
        spec = NETWORKS.get(self.model)
        mamba = spec is not None and spec.has_mamba_layers and self.options.ssm
        values: dict[str, Any] = {
            "lr": optimizer.lr,
            "weight_decay": optimizer.weight_decay,
            "ssm_optimizer": self.own_ssm_optimizer if mamba else None,
            "validation_iterations": self.validation_batches,
        }
        if configuration is not None:
            values["batch_size"] = configuration.batch_size
            values["patch_size"] = configuration.patch_size
            values["mirror_axes"] = tuple(range(len(configuration.patch_size)))
        return values

    @property
    def initial_lr(self) -> float:
        """Learning rate of the (first) optimiser before the schedule."""
        return OPTIMIZERS.look_up(self.optimizer, "--optimizer").lr if self.lr is None else self.lr

    @property
    def own_ssm_optimizer(self) -> str | None:
        """Optimiser of the Mamba layers; None means that of all other layers."""
        return self.ssm_optimizer or OPTIMIZERS.look_up(self.optimizer, "--optimizer").ssm_optimizer

    @property
    def validation_batches(self) -> int:
        """Validation batches per epoch: the paper's ratio of 250 to 50 unless given."""
        return self.validation_iterations or max(1, self.iterations // 5)


def named_choices() -> dict[str, tuple[str, Collection[str]]]:
    """For each field that holds a name: the kind of thing that it names, and the names that there are."""
    return {
        "model": ("model", tuple(NETWORKS)),
        "optimizer": ("optimiser", OPTIMIZERS),
        "ssm_optimizer": ("optimiser", OPTIMIZERS),
        "schedule": ("schedule", SCHEDULES),
        "loss": ("loss", LOSSES),
    }


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse names that no table has; fields that are missing or None are left alone.

    Raises:
        UserError: A name is unknown; suggests the nearest.
    """
    for field, (kind, known) in named_choices().items():
        name = options.get(field)
        if name is not None and (not isinstance(name, str) or name not in known):
            raise unknown_name(kind, printable(str(name)), known, option_of(field))


def option_of(field: str) -> str:
    """The command-line option of a field."""
    return "--config" if field == "configuration" else "--" + field.replace("_", "-")


def model_folder(workspace: Workspace, config: TrainingConfig, tag: str | None = None) -> ModelFolder:
    """``models/<model>__<configuration>``; options that change the network, and ``tag``, become part of the name."""
    parts = [config.model]
    if not config.options.ssm:
        parts.append("no-ssm")
    if config.options.ssm_residual:
        parts.append("ssm-residual")
    if tag:
        parts.append(require_name(tag, "--tag"))
    return workspace.model("-".join(parts), config.configuration)


def default_loader_workers() -> int:
    """Number of processes that prepare batches when the user names none.

    Half of the cores, because the network needs the others. Of several trainings on a machine, as ``torchrun`` starts
    them, each has its part.
    """
    from umseg.training.loop.processes import environment

    return max(1, default_workers() // 2 // environment().local_count)
