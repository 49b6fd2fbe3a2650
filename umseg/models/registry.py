"""The models by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.models.blocks import ConvNormAct, ResidualBlock
from umseg.models.unet import UNet
from umseg.planning.plan import Configuration


class ModelOptions(Record):
    """Choices that change a network's layers.

    Attributes:
        ssm: Build the Mamba layers; False takes them out of any U-Mamba, for the honest ablation.
        ssm_residual: Residual connection around every Mamba layer, its output projection initialised to zero.
    """

    ssm: bool = True
    ssm_residual: bool = False


def _umamba(
    configuration: Configuration,
    in_channels: int,
    num_classes: int,
    deep_supervision: bool,
    options: ModelOptions,
    stages: range,
) -> nn.Module:
    """The network of the paper's text (2.2): two residual blocks per encoder stage, one per decoder stage."""
    return UNet(
        configuration,
        in_channels,
        num_classes,
        block=ResidualBlock,
        encoder_blocks=[2] * configuration.num_stages,
        decoder_blocks=[1] * (configuration.num_stages - 1),
        ssm_stages=stages if options.ssm else (),
        ssm_residual=options.ssm_residual,
        deep_supervision=deep_supervision,
    )


def _umamba_enc(
    configuration: Configuration, in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    stages = range(configuration.num_stages)
    return _umamba(configuration, in_channels, num_classes, deep_supervision, options, stages)


def _umamba_bot(
    configuration: Configuration, in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    stages = range(configuration.num_stages - 1, configuration.num_stages)
    return _umamba(configuration, in_channels, num_classes, deep_supervision, options, stages)


def _nnunet(
    configuration: Configuration, in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    if configuration.n_conv_per_stage is None:
        raise UserError(
            "The plain U-Net needs a plan that was made for it.",
            found="a plan for residual encoders (--preset resenc-...)",
            expected="a plan of another preset, e.g. default or nnunet",
            remedy="Plan with another --preset, or train a U-Mamba on this plan.",
        )
    return UNet(
        configuration,
        in_channels,
        num_classes,
        block=ConvNormAct,
        encoder_blocks=configuration.n_conv_per_stage,
        decoder_blocks=configuration.n_conv_per_stage_decoder,
        deep_supervision=deep_supervision,
    )


Builder = Callable[[Configuration, int, int, bool, ModelOptions], nn.Module]

MODELS: dict[str, Builder] = {
    "umamba_enc": _umamba_enc,
    "umamba_bot": _umamba_bot,
    "nnunet": _nnunet,
}


def has_mamba_layers(model: str, options: ModelOptions) -> bool:
    """Whether the network has Mamba layers."""
    return model.startswith("umamba") and options.ssm


def check_model(model: str, options: ModelOptions) -> None:
    """Refuse an unknown model name, or options that the model does not have.

    Raises:
        UserError: Lists the known models.
    """
    if model not in MODELS:
        raise UserError(
            f"Unknown model '{model}'.",
            found=model,
            expected=", ".join(MODELS),
            remedy="Choose one of the known models with --model.",
        )
    if options != ModelOptions() and not model.startswith("umamba"):
        raise UserError(
            f"Model '{model}' has no Mamba layers: --no-ssm and --ssm-residual mean nothing to it.",
            found=model,
            expected="umamba_enc or umamba_bot",
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
        configuration: Patch, channels, kernels and strides from the plan.
        in_channels: Image channels.
        num_classes: Classes including the background.
        deep_supervision: Return the scores of every decoder stage, not only the last.
        options: See ``ModelOptions``.

    Returns:
        A module from (batch, in_channels, *patch) to logits (batch, num_classes, *patch), or a list of logits from the
        full resolution down under deep supervision.

    Raises:
        UserError: Unknown model or option.
    """
    options = options or ModelOptions()
    check_model(model, options)
    return MODELS[model](configuration, in_channels, num_classes, deep_supervision, options)
