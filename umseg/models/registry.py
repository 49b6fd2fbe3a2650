"""The models by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from umseg.architectures.monai import BASELINES, rounded_patch
from umseg.architectures.unet import ARCHITECTURES
from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.models.monai import build_baseline
from umseg.models.options import ModelOptions
from umseg.models.unet import UNet
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages

Builder = Callable[[Configuration, int, int, bool, ModelOptions], nn.Module]


def _unet(model: str) -> Builder:
    """The builder of a U-Net that ``umseg.architectures.unet`` describes."""

    def build(
        configuration: Configuration, in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
    ) -> nn.Module:
        stages = configuration_stages(configuration)
        architecture = ARCHITECTURES[model](stages)
        return UNet(
            stages,
            architecture if options.ssm else architecture.without_ssm(),
            in_channels,
            num_classes,
            ssm_residual=options.ssm_residual,
            deep_supervision=deep_supervision,
        )

    return build


def _monai(model: str) -> Builder:
    """The builder of a network that comes with MONAI."""

    def build(
        configuration: Configuration, in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
    ) -> nn.Module:
        return build_baseline(model, configuration, in_channels, num_classes, deep_supervision)

    return build


MODELS: dict[str, Builder] = {
    **{model: _unet(model) for model in ARCHITECTURES},
    **{model: _monai(model) for model in BASELINES},
}


def fit_configuration(model: str, configuration: Configuration) -> Configuration:
    """The plan's configuration with a patch that the model can take; the U-Nets take it as it is."""
    if model not in BASELINES:
        return configuration
    return configuration.model_copy(update={"patch_size": rounded_patch(model, configuration.patch_size)})


def has_mamba_layers(model: str, options: ModelOptions) -> bool:
    """Whether the network has Mamba layers."""
    return model.startswith("umamba") and options.ssm


def check_model(model: str, options: ModelOptions) -> None:
    """Refuse an unknown model name, or options that the model does not have.

    Raises:
        UserError: Lists the known models.
    """
    if model not in MODELS:
        raise unknown_name("model", model, MODELS, "--model")
    if options != ModelOptions() and not model.startswith("umamba"):
        raise UserError(
            f"Model '{model}' has no Mamba layers: --no-ssm and --ssm-residual mean nothing to it.",
            found=model,
            expected=" or ".join(name for name in MODELS if name.startswith("umamba")),
            remedy="Leave the option out, or choose a U-Mamba.",
        )
    if options.ssm_residual and not options.ssm:
        raise UserError(
            "--no-ssm and --ssm-residual contradict each other.",
            remedy="Leave one of them out.",
        )


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
        model: A name of ``MODELS``.
        configuration: Patch, channels, kernels and strides from the plan (see ``fit_configuration``).
        in_channels: Image channels.
        num_classes: Classes including the background.
        deep_supervision: Return the scores of every decoder stage, not only the last.
        options: See ``ModelOptions``.

    Returns:
        A module from (batch, in_channels, *patch) to logits (batch, num_classes, *patch), or a list of logits from the
        full resolution down under deep supervision: one per decoder stage, or a single one for MONAI's networks.

    Raises:
        UserError: Unknown model or option, or a package that the model needs is missing.
    """
    options = options or ModelOptions()
    check_model(model, options)
    return MODELS[model](configuration, in_channels, num_classes, deep_supervision, options)


def network_heads(network: nn.Module) -> list[nn.Module]:
    """The layers that give the outputs of a U-Net under deep supervision, in their order; else none."""
    return list(network.heads)[::-1] if isinstance(network, UNet) and network.deep_supervision else []


def output_layers(network: nn.Module) -> list[nn.Module]:
    """The layers that give scores: one per decoder stage of a U-Net, the last convolution of MONAI's networks."""
    if isinstance(network, UNet):
        return list(network.heads)
    layers: list[nn.Module] = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
    return layers[-1:]


def enable_activation_checkpoints(network: nn.Module, model: str) -> None:
    """Let every stage compute its activations again on the way back, instead of keeping them.

    Raises:
        UserError: The network comes from MONAI, whose stages are its own.
    """
    if not isinstance(network, UNet):
        raise UserError(
            f"--checkpoint-activations is not available for '{model}'.",
            found=model,
            expected=" or ".join(ARCHITECTURES),
            remedy="Save memory with --accumulate, or plan smaller patches with `umseg plan --for-model`.",
        )
    network.checkpoint_activations = True
