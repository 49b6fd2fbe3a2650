"""What an ONNX file says of its model: all that prediction needs besides the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from umseg.common.errors import UserError
from umseg.common.json_file import parse_json
from umseg.common.names import Name
from umseg.common.record import FieldError, Record
from umseg.inference.standalone.metadata import KEY
from umseg.models.card import ModelCard
from umseg.planning.consistency import PER_AXIS, Voxels
from umseg.preprocess.instance_cleaning import Cleaning

ONNX_REMEDY = "Export the model again with `umseg export --onnx`."


class OnnxMetadata(Record):
    """The description of the model in an ONNX file, under the key ``umseg`` of its metadata.

    Attributes:
        umseg_version: Version of umseg that wrote the file.
        card: The model's card, with the plan and the labels; the first stage of a cascade is the folder
            ``first_stage`` beside the file.
        patch_size: Size of the network's patch, which the network may have rounded up from the plan's.
        fold: Fold whose weights these are.
        weights: Digest of the file of the weights.
        cleaning: How objects are cleaned in an instance task, as the validation of the fold chose it.
    """

    most_bytes: ClassVar[int] = 2**24

    schema_version: Literal[1] = 1
    umseg_version: Annotated[str, Field(max_length=100)]
    card: ModelCard
    patch_size: Annotated[tuple[Voxels, ...], PER_AXIS]
    fold: Name
    weights: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    cleaning: Cleaning | None = None

    @model_validator(mode="after")
    def _has_the_patch_of_the_card(self) -> OnnxMetadata:
        expected = tuple(self.card.configuration.patch_size)
        if self.patch_size != expected:
            raise FieldError("patch_size", self.patch_size, f"{expected}, by the card")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels and patch of the network's input."""
        return self.card.configuration.input_channels(self.card.dataset), *self.patch_size

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Classes and patch of the network's output."""
        return self.card.dataset.num_classes, *self.patch_size


def parse_metadata(text: str, path: Path) -> OnnxMetadata:
    """Read the description in an ONNX file; ``path`` is for the error message.

    Raises:
        UserError: It is too long, no JSON, or not that of a model.
    """
    if len(text) > OnnxMetadata.most_bytes:
        raise UserError(
            f"The description of the model in {path.name} is too long.",
            file=path,
            found=f"{len(text):,} letters",
            expected=f"at most {OnnxMetadata.most_bytes:,}",
            remedy=ONNX_REMEDY,
        )
    try:
        content = parse_json(text)
    except ValueError as error:
        raise UserError(
            f"The description of the model in {path.name} is not valid JSON.",
            file=path,
            found=str(error),
            remedy=ONNX_REMEDY,
        ) from error
    return OnnxMetadata.from_json(content, path, ONNX_REMEDY)


__all__ = ["KEY", "ONNX_REMEDY", "OnnxMetadata", "parse_metadata"]
