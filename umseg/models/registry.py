"""Networks as torch modules, under the names of ``umseg.architectures.registry``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from umseg.architectures.memory.model import described, parameter_count
from umseg.architectures.options import ModelOptions
from umseg.architectures.registry import NETWORKS, network_spec, network_specs
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.common.errors import UserError
from umseg.common.memory import require_memory
from umseg.common.text import by
from umseg.models.convolution import replace_convolutions
from umseg.models.single_head import SingleHead
from umseg.models.unet import UNet
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages

__all__ = [
    "MODELS",
    "ModelOptions",
    "build_from_spec",
    "build_network",
    "check_model",
    "enable_activation_checkpoints",
    "fit_configuration",
    "has_mamba_layers",
    "network_heads",
    "output_layers",
]

_WEIGHT_BYTES = 4
_SMALLER = "Check that the plan is the one that was meant, and that nobody has edited it."

MODELS = NETWORKS
"""Every network by its name, umseg's own first."""


def fit_configuration(model: str, configuration: Configuration) -> Configuration:
    """The plan's configuration with a patch that the model can take; U-Nets take the plan's patch unchanged.

    Raises:
        UserError: The model is unknown.
    """
    patch = network_spec(model).rounded_patch(configuration.patch_size)
    if patch == tuple(configuration.patch_size):
        return configuration
    return configuration.model_copy(update={"patch_size": patch})


def has_mamba_layers(model: str, options: ModelOptions) -> bool:
    """Whether the network has Mamba layers; false for an unknown model."""
    spec = NETWORKS.get(model)
    return spec is not None and spec.has_mamba_layers and options.ssm


def check_model(model: str, options: ModelOptions) -> ModelSpec:
    """The network of that name, after a check that it has the options.

    Raises:
        UserError: The model is unknown (the message lists all models and suggests the nearest), it does not have an
            option, or the options contradict each other.
    """
    spec = network_spec(model)
    chosen = {name for name, value in options if value != getattr(ModelOptions(), name)}
    if unsupported := sorted(chosen - spec.options):
        raise UserError(
            f"Model '{model}' has no Mamba layers: --no-ssm and --ssm-residual do not apply to it."
            if not spec.has_mamba_layers
            else f"Model '{model}' does not have the option {unsupported[0]}.",
            found=model,
            expected=" or ".join(other.name for other in network_specs() if chosen <= other.options),
            remedy="Leave the option out, or choose one of these models.",
        )
    if options.ssm_residual and not options.ssm:
        raise UserError(
            "--no-ssm and --ssm-residual contradict each other.",
            remedy="Leave one of them out.",
        )
    return spec


def build_network(
    model: str,
    configuration: Configuration,
    in_channels: int,
    num_classes: int,
    deep_supervision: bool = False,
    options: ModelOptions | None = None,
) -> nn.Module:
    """Build a network with freshly initialised weights (drawn from torch's current random state).

    Args:
        model: Name of a network in ``MODELS``.
        configuration: Patch, channels, kernels and strides from the plan (see ``fit_configuration``).
        in_channels: Number of image channels.
        num_classes: Number of classes, including the background.
        deep_supervision: Whether to return the scores of every decoder stage, not only of the last.
        options: Choices that change the layers; the default options if None.

    Returns:
        A module from (batch, in_channels, *patch) to logits (batch, num_classes, *patch). Under deep supervision it
        returns a list of logits from the full resolution down, with one entry per decoder stage of a U-Net, or a single
        entry for a network that has one head.

    Raises:
        UserError: The model or an option is unknown, a package that the model needs is missing, or the weights do not
            fit into memory.
    """
    options = options or ModelOptions()
    spec = check_model(model, options)
    stages = configuration_stages(configuration)
    if spec.describe is not None:
        parameters = parameter_count(model, stages, in_channels, num_classes, ssm=options.ssm)
        features = f"{parameters:,} weights; features {by(configuration.features_per_stage)}"
        require_memory(_WEIGHT_BYTES * parameters, f"The network {model}", found=features, remedy=_SMALLER)
    return build_from_spec(spec, stages, in_channels, num_classes, deep_supervision, options)


def build_from_spec(
    spec: ModelSpec,
    stages: Sequence[Stage],
    in_channels: int,
    num_classes: int,
    deep_supervision: bool,
    options: ModelOptions,
    *,
    fused: bool = True,
) -> nn.Module:
    """Build a network on the stages of a plan; see ``build_network``.

    Args:
        spec: Network to be built.
        stages: Stages of the plan, with a patch that fits the network.
        in_channels: Number of image channels.
        num_classes: Number of classes, including the background.
        deep_supervision: Whether to return the scores of every decoder stage, not only of the last.
        options: Choices that change the layers; the network has to support them.
        fused: Whether to compute a U-Net's upsampling and the convolution after it in one step where that saves time;
            see ``UNet``.

    Raises:
        UserError: A package that the network needs is missing, or the network does not fit the plan.
    """
    if spec.build is None:
        return UNet(
            stages,
            described(spec, stages, ssm=options.ssm),
            in_channels,
            num_classes,
            ssm_residual=options.ssm_residual,
            deep_supervision=deep_supervision,
            fused=fused,
        )
    try:
        network = spec.build(stages, in_channels, num_classes, deep_supervision and spec.supervises, options)
    except ImportError as error:
        raise UserError(
            f"Model '{spec.name}' needs {spec.package or 'a package'}, which is not installed or only in part.",
            found=(str(error).strip().splitlines() or [type(error).__name__])[0],
            remedy=f"Run `{spec.install}`." if spec.install else "Install the package that is named above.",
        ) from error
    replace_convolutions(network)
    return network if spec.supervises else SingleHead(network, deep_supervision)


def network_heads(network: nn.Module) -> list[nn.Module]:
    """The layers that give the outputs of a U-Net under deep supervision, in their order; otherwise an empty list."""
    return list(network.heads)[::-1] if isinstance(network, UNet) and network.deep_supervision else []


def output_layers(network: nn.Module) -> list[nn.Module]:
    """The layers that give scores: one per decoder stage of a U-Net, the last convolution of any other network."""
    if isinstance(network, UNet):
        return list(network.heads)
    layers: list[nn.Module] = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
    return layers[-1:]


def enable_activation_checkpoints(network: nn.Module, model: str) -> None:
    """Make every stage compute its activations again in the backward pass instead of keeping them.

    Raises:
        UserError: The network does not support that.
    """
    if not network_spec(model).can_checkpoint:
        raise UserError(
            f"--checkpoint-activations is not available for '{model}'.",
            found=model,
            expected=" or ".join(spec.name for spec in network_specs() if spec.can_checkpoint),
            remedy="Save memory with --accumulate, or plan smaller patches with `umseg plan --for-model`.",
        )
    inner = network.network if isinstance(network, SingleHead) else network
    setattr(inner, "checkpoint_activations", True)  # noqa: B010 - torch declares module attributes as tensors or modules
