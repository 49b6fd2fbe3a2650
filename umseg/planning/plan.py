"""``plan.json``: everything that planning decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from umseg.common.errors import UserError
from umseg.common.names import Component, Name
from umseg.common.record import Record
from umseg.dataset.description import DatasetDescription
from umseg.planning.consistency import (
    MOST_CONFIGURATIONS,
    MOST_STAGES,
    PER_AXIS,
    PER_CHANNEL,
    PER_STAGE,
    Axis,
    Batch,
    ChannelNumber,
    Convolutions,
    Features,
    Kernel,
    Length,
    Pools,
    Size,
    Stride,
    Voxels,
    check_configuration,
    check_relations,
    check_transposition,
)
from umseg.planning.fingerprint import IntensityStatistics


class Configuration(Record):
    """How one network is trained, under nnU-Net's field names where the meaning is the same.

    Axes are in the plan's transposed order, in which axis 0 has the largest spacing. ``patch_size``, ``spacing`` and
    all other fields per axis have three entries in a 3-D configuration and two (in-plane) in a 2-D one.

    Attributes:
        spacing: Target spacing in mm, after transposition.
        median_image_size_in_voxels: Median shape of the training images at that spacing.
        patch_size: Size in voxels per axis of the patches that the network sees.
        batch_size: Patches per training iteration.
        normalization_schemes: Name of the normalisation of each channel: ``CTNormalization``,
            ``ZScoreNormalization``, ``NoNormalization``, ``RescaleTo01Normalization``, ``RGBTo01Normalization``, or
            one that another package adds.
        use_mask_for_norm: Whether the normalisation of each channel looks only at voxels that are not zero.
        batch_dice: Whether the Dice loss treats the whole batch as one image.
        features_per_stage: Channels per encoder stage; its length is the number of stages.
        kernel_sizes: Size of the convolution kernel per stage and axis.
        strides: Stride at the entry of each stage; all 1 for the first.
        num_pool_per_axis: Number of halvings per axis.
        n_conv_per_stage_decoder: Convolutions per decoder stage of the network that the plan is for.
        n_conv_per_stage: Convolutions per encoder stage, where the plan is for a plain U-Net.
        n_blocks_per_stage: Residual blocks per encoder stage, where the plan is for a residual encoder.
        inherits_from: Configuration whose preprocessed images this one uses, and whose values it repeats.
        previous_stage: Configuration whose segmentation is an input of this one (cascade).
        next_stage: Configuration that uses this one's segmentation.
    """

    spacing: Annotated[tuple[Length, ...], PER_AXIS]
    median_image_size_in_voxels: Annotated[tuple[Size, ...], PER_AXIS]
    patch_size: Annotated[tuple[Voxels, ...], PER_AXIS]
    batch_size: Batch
    normalization_schemes: Annotated[tuple[Name, ...], PER_CHANNEL]
    use_mask_for_norm: Annotated[tuple[bool, ...], PER_CHANNEL]
    batch_dice: bool
    features_per_stage: Annotated[tuple[Features, ...], PER_STAGE]
    kernel_sizes: Annotated[tuple[Annotated[tuple[Kernel, ...], PER_AXIS], ...], PER_STAGE]
    strides: Annotated[tuple[Annotated[tuple[Stride, ...], PER_AXIS], ...], PER_STAGE]
    num_pool_per_axis: Annotated[tuple[Pools, ...], PER_AXIS]
    n_conv_per_stage_decoder: Annotated[tuple[Convolutions, ...], Field(max_length=MOST_STAGES)]
    n_conv_per_stage: Annotated[tuple[Convolutions, ...], PER_STAGE] | None = None
    n_blocks_per_stage: Annotated[tuple[Convolutions, ...], PER_STAGE] | None = None
    inherits_from: Name | None = None
    previous_stage: Name | None = None
    next_stage: Name | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Configuration:
        check_configuration(self)
        return self

    def input_channels(self, description: DatasetDescription) -> int:
        """Number of input channels: the image's, and in a cascade's second stage one more for each foreground value."""
        first_stage = 0 if self.previous_stage is None else len(description.foreground_values)
        return description.num_channels + first_stage

    @property
    def dimensions(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return len(self.patch_size)

    @property
    def num_stages(self) -> int:
        """Number of encoder stages."""
        return len(self.features_per_stage)


class Plan(Record):
    """Everything that planning decided for one data set.

    Attributes:
        dataset_name: Folder name of the data set.
        preset: Name of the planner's rule set: ``default`` (the paper's), ``nnunet``, ...
        memory_gb: GPU memory in GB that the plan is for.
        for_model: Model whose own training memory the plan fits; None where the published estimate was used.
        boundary_width: Number of voxels of the original image, from an object's surface inwards, that become the class
            boundary in an instance task.
        transpose_forward: Axis order that is applied to image arrays (z, y, x) before everything else.
        transpose_backward: Inverse of ``transpose_forward``.
        foreground_intensity_properties_per_channel: Statistics by channel index, which is a string (for CT
            normalisation).
        configurations: Configurations by name: those of ``2d``, ``3d_fullres``, ``3d_lowres`` and
            ``3d_cascade_fullres`` that make sense for the data.
    """

    most_bytes: ClassVar[int] = 2**22

    schema_version: Literal[1] = 1
    dataset_name: Component
    preset: Name
    memory_gb: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 8
    for_model: Name | None = None
    boundary_width: Annotated[int, Field(ge=1, le=1000)] | None = None
    original_median_spacing_after_transp: tuple[Length, Length, Length]
    original_median_shape_after_transp: tuple[Voxels, Voxels, Voxels]
    transpose_forward: tuple[Axis, Axis, Axis]
    transpose_backward: tuple[Axis, Axis, Axis]
    foreground_intensity_properties_per_channel: dict[ChannelNumber, IntensityStatistics]
    configurations: Annotated[dict[Name, Configuration], Field(max_length=MOST_CONFIGURATIONS)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Plan:
        check_transposition(self.transpose_forward, self.transpose_backward)
        check_relations(self.configurations)
        return self

    @property
    def default_configuration(self) -> str:
        """The configuration that is trained when the user names none: ``3d_fullres`` for 3-D data, else ``2d``."""
        return "3d_fullres" if "3d_fullres" in self.configurations else "2d"

    def configuration(self, name: str, file: Path | None = None) -> Configuration:
        """Look up a configuration.

        Raises:
            UserError: The plan has no configuration of that name; the message lists those that it has.
        """
        if name not in self.configurations:
            raise UserError(
                f"Unknown configuration '{name}'.",
                file=file,
                found=name,
                expected=" or ".join(self.configurations),
                remedy="Choose one of the configurations in the plan with --config.",
            )
        return self.configurations[name]
