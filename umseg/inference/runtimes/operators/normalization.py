"""Normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from umseg.inference.runtimes.graph import Operand, Symbol
from umseg.inference.runtimes.operators.table import Handlers, Place

HANDLERS = Handlers()


@HANDLERS.of("umseg.instance_norm_act.default")
def norm_act(
    place: Place, x: Symbol, residual: Symbol | None, weight: Tensor, bias: Tensor, eps: float, slope: float
) -> tuple[str, None, None]:
    """LeakyReLU(InstanceNorm(x) + residual); the statistics, which only the backward pass needs, are left out."""
    out = place.add("InstanceNormalization", x, weight, bias, epsilon=float(eps))
    if residual is not None:
        out = place.add("Add", out, residual)
    return (out if slope == 1 else place.add("LeakyRelu", out, alpha=float(slope))), None, None


@HANDLERS.of("aten.instance_norm.default")
def instance_norm(
    place: Place,
    x: Symbol,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: object,
) -> str:
    """Zero mean and unit deviation of each channel of each image, or with the statistics of training."""
    if not use_input_stats and running_mean is not None and running_var is not None:
        return _with_statistics(place, x, weight, bias, running_mean, running_var, eps)
    channels = x.shape[1]
    assert channels is not None
    scale, shift = _affine(weight, bias, channels)
    return place.add("InstanceNormalization", x, scale, shift, epsilon=float(eps))


@HANDLERS.of("aten._native_batch_norm_legit_no_training.default")
def batch_norm(
    place: Place,
    x: Symbol,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[str, None, None]:
    """The normalisation with the statistics of training."""
    return _with_statistics(place, x, weight, bias, running_mean, running_var, eps), None, None


@HANDLERS.of("aten.group_norm.default")
def group_norm(
    place: Place,
    x: Symbol,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: object,
) -> str:
    """Zero mean and unit deviation of each group of channels, then a factor and a constant per channel."""
    rows = place.add("Reshape", x, place.integers([0, groups, -1]))
    scale, shift = _affine(None, None, groups)
    normal = place.add("InstanceNormalization", rows, scale, shift, epsilon=float(eps))
    out = place.add("Reshape", normal, place.integers([-1, *(size for size in x.shape[1:] if size is not None)]))
    ones = [1] * (len(x.shape) - 2)
    if weight is not None:
        out = place.add("Mul", out, weight.reshape(-1, *ones))
    return out if bias is None else place.add("Add", out, bias.reshape(-1, *ones))


@HANDLERS.of("aten.layer_norm.default")
def layer_norm(
    place: Place,
    x: Operand,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: object,
) -> str:
    """Zero mean and unit deviation over the last axes, then a factor and a constant."""
    scale = torch.ones(tuple(normalized_shape)) if weight is None else weight
    return place.add("LayerNormalization", x, scale, bias, axis=-len(normalized_shape), epsilon=float(eps))


def _with_statistics(
    place: Place,
    x: Symbol,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> str:
    scale, shift = _affine(weight, bias, len(mean))
    return place.add("BatchNormalization", x, scale, shift, mean, variance, epsilon=float(eps))


def _affine(weight: Tensor | None, bias: Tensor | None, channels: int) -> tuple[Tensor, Tensor]:
    return (torch.ones(channels) if weight is None else weight), (torch.zeros(channels) if bias is None else bias)
