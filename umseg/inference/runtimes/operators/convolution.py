"""Convolutions, pools and interpolation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from umseg.inference.runtimes.graph import Operand, Symbol
from umseg.inference.runtimes.operators.layout import not_converted
from umseg.inference.runtimes.operators.table import Handlers, Place

HANDLERS = Handlers()


@HANDLERS.of("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
def convolution(
    place: Place,
    x: Operand,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> str:
    """A convolution with zeros around the image."""
    return place.add(
        "Conv",
        x,
        weight,
        bias,
        group=groups,
        **_geometry(weight, stride, padding, dilation),
    )


@HANDLERS.of("aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def transposed_convolution(
    place: Place,
    x: Operand,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    output_padding: Sequence[int] = (0,),
    groups: int = 1,
    dilation: Sequence[int] = (1,),
) -> str:
    """A transposed convolution."""
    return place.add(
        "ConvTranspose",
        x,
        weight,
        bias,
        group=groups,
        output_padding=per_axis(output_padding, weight.dim() - 2),
        **_geometry(weight, stride, padding, dilation),
    )


def _geometry(
    weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> dict[str, list[int]]:
    """Attributes that say which voxels a kernel reaches."""
    axes = weight.dim() - 2
    return {
        "kernel_shape": list(weight.shape[2:]),
        "strides": per_axis(stride, axes),
        "pads": per_axis(padding, axes) * 2,
        "dilations": per_axis(dilation, axes),
    }


@HANDLERS.of("aten.max_pool2d.default", "aten.max_pool3d.default")
def max_pool(
    place: Place,
    x: Symbol,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> str:
    """The largest value of each window."""
    axes = len(x.shape) - 2
    return place.add(
        "MaxPool",
        x,
        kernel_shape=per_axis(kernel, axes),
        strides=per_axis(stride or kernel, axes),
        pads=per_axis(padding, axes) * 2,
        dilations=per_axis(dilation, axes),
        ceil_mode=int(ceil_mode),
    )


@HANDLERS.of("aten.avg_pool2d.default", "aten.avg_pool3d.default")
def average_pool(
    place: Place,
    x: Symbol,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    """The mean of each window."""
    if ceil_mode or divisor_override:
        raise not_converted("its average pool rounds sizes up or has a divisor of its own", x.shape)
    axes = len(x.shape) - 2
    return place.add(
        "AveragePool",
        x,
        kernel_shape=per_axis(kernel, axes),
        strides=per_axis(stride or kernel, axes),
        pads=per_axis(padding, axes) * 2,
        count_include_pad=int(count_include_pad),
    )


@HANDLERS.of("aten.adaptive_avg_pool2d.default", "aten.adaptive_avg_pool3d.default")
def adaptive_average_pool(place: Place, x: Symbol, size: Sequence[int]) -> str:
    """The mean over the whole image."""
    if set(size) != {1}:
        raise not_converted("its adaptive pool has more than one voxel", place.shape)
    return place.add("GlobalAveragePool", x)


@HANDLERS.of("aten.mean.dim")
def mean(place: Place, x: Symbol, dim: Sequence[int], keepdim: bool = False) -> str:
    """The mean along axes."""
    return place.add("ReduceMean", x, place.integers(dim), keepdims=int(keepdim))


@HANDLERS.of("aten.upsample_nearest2d.vec", "aten.upsample_nearest3d.vec")
def upsample_nearest(place: Place, x: Symbol, *_: object) -> str:
    """Every voxel repeated, in whole factors."""
    return _resized(place, x, mode="nearest", coordinates="asymmetric")


@HANDLERS.of("aten.upsample_bilinear2d.vec", "aten.upsample_trilinear3d.vec")
def upsample_linear(place: Place, x: Symbol, size: object, align_corners: bool, *_: object) -> str:
    """Linear interpolation between the centres of voxels, or between the corners of the image."""
    return _resized(place, x, mode="linear", coordinates="align_corners" if align_corners else "half_pixel")


def _resized(place: Place, x: Symbol, mode: str, coordinates: str) -> str:
    factors = []
    for before, after in zip(x.shape[2:], place.shape[2:], strict=True):
        if before is None or after is None or after % before:
            raise not_converted("it resizes an image by a factor that is not a whole number", place.shape)
        factors.append(float(after // before))
    attributes = {"nearest_mode": "floor"} if mode == "nearest" else {}
    scales = Tensor([1.0, 1.0, *factors])
    return place.add("Resize", x, None, scales, mode=mode, coordinate_transformation_mode=coordinates, **attributes)


def per_axis(values: Sequence[int] | int, axes: int) -> list[int]:
    """One value per axis, where torch may have been given one for all."""
    given = [values] if isinstance(values, int) else list(values)
    return given * axes if len(given) == 1 else given
