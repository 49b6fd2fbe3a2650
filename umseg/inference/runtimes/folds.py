"""The folds of a model as ONNX networks: converted from their weights, and compared with torch."""

from __future__ import annotations

from pathlib import Path

import torch
from onnx import ModelProto

from umseg import __version__
from umseg.common.errors import UserError
from umseg.common.memory import memory_text
from umseg.dataset.check.digest import digest_of_file
from umseg.inference.postprocessing.instances import Postprocessing
from umseg.inference.runtimes.conversion import converted
from umseg.inference.runtimes.metadata import KEY, OnnxMetadata
from umseg.inference.runtimes.onnx_file import MOST_BYTES, OnnxFile
from umseg.inference.runtimes.onnx_network import OnnxNetwork
from umseg.inference.runtimes.sizes import sizes_of
from umseg.inference.weights import WEIGHTS_REMEDY
from umseg.models.card import ModelCard
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.training.saved import checkpoint
from umseg.workspace import FoldFolder

TOLERANCE = 1e-4
"""Largest difference of logits between torch and onnxruntime, for logits of about 1; in proportion for larger ones."""

_BESIDES_WEIGHTS = 2**24


def converted_fold(card: ModelCard, weights: Path) -> OnnxFile:
    """The network of a fold, converted to ONNX with its description; nothing is written.

    Args:
        card: The model's card.
        weights: File of the fold's weights, in the fold's folder.

    Raises:
        UserError: The weights do not fit, the network cannot be converted, or it is larger than ONNX files can be.
    """
    network = card.build_network().eval()
    checkpoint.load_weights(network, weights, WEIGHTS_REMEDY)
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size + _BESIDES_WEIGHTS > MOST_BYTES:
        raise UserError(
            "The network is too large for an ONNX file in one piece.",
            file=weights,
            found=memory_text(size),
            expected=f"less than {memory_text(MOST_BYTES)}",
            remedy="Predict with torch, which is the default.",
        )
    fold = FoldFolder(weights.parent)
    metadata = OnnxMetadata(
        umseg_version=__version__,
        card=card,
        patch_size=tuple(card.configuration.patch_size),
        fold=fold.name,
        weights=digest_of_file(weights),
        cleaning=_cleaning(card, fold),
    )
    model = converted(network, metadata.input_shape[0], metadata.output_shape[0], metadata.patch_size)
    return OnnxFile(weights, _with_metadata(model, metadata).SerializeToString(), metadata, sizes_of(model))


def largest_difference(file: OnnxFile, weights: Path) -> float:
    """The largest difference between the logits of a converted network and torch's, for one image of noise.

    Logits larger than 1 count in proportion to the largest of them.
    """
    network = file.metadata.card.build_network().eval()
    checkpoint.load_weights(network, weights, WEIGHTS_REMEDY)
    image = torch.randn(1, *file.metadata.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected: torch.Tensor = network(image)
        found: torch.Tensor = OnnxNetwork(file)(image)
    return float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def _cleaning(card: ModelCard, fold: FoldFolder) -> Cleaning | None:
    """How the validation of a fold chose to clean objects."""
    if card.dataset.task != "instance" or not fold.postprocessing_file.exists():
        return None
    choice = Postprocessing.load(fold.postprocessing_file, WEIGHTS_REMEDY)
    return Cleaning(smallest=choice.smallest, fill_holes=choice.fill_holes)


def _with_metadata(model: ModelProto, metadata: OnnxMetadata) -> ModelProto:
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json())
    model.doc_string = f"{metadata.card.model} of {metadata.card.plan.dataset_name}, fold {metadata.fold}; umseg"
    return model
