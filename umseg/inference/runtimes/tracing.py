"""The operators that a network calls, as a graph with any number of images per batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from umseg.common.errors import UserError
from umseg.models.single_head import SingleHead
from umseg.models.unet import UNet

_CONSTANTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def traced(network: nn.Module, in_channels: int, patch: Sequence[int]) -> ExportedProgram:
    """Trace a network in float32 on the CPU.

    Args:
        network: Network in evaluation mode with one output.
        in_channels: Number of its input channels.
        patch: Size of its patch.

    Raises:
        UserError: torch cannot trace the network for any number of images.
    """
    network = network.float().cpu().eval()
    _simplify(network)
    images = torch.zeros(2, in_channels, *patch)
    batch = torch.export.Dim("batch", min=1)
    # torch's own modules use what torch has deprecated. In inference mode, operators of umseg would be left out.
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program: ExportedProgram = torch.export.export(
                network, (images,), dynamic_shapes=({0: batch},), strict=False
            ).run_decompositions({})
            return program
        except Exception as error:  # torch raises many kinds, for whatever a network of another package does
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                "The network cannot be converted to ONNX: torch cannot trace it.",
                found=reason,
                remedy="Predict with torch, which is the default.",
            ) from error


def constants_of(program: ExportedProgram) -> dict[str, tuple[str, Tensor]]:
    """The weights and other constant inputs of a traced graph: name in the graph to name in the network and tensor."""
    found = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in _CONSTANTS and spec.target is not None:
            tensor = program.state_dict.get(spec.target, program.constants.get(spec.target))
            assert isinstance(tensor, Tensor)
            found[spec.arg.name] = spec.target, tensor.detach()
    return found


def _simplify(network: nn.Module) -> None:
    """Choose the layers' plain forms: which form is quicker for torch is decided by the size of the batch."""
    inner = network.network if isinstance(network, SingleHead) else network
    if isinstance(inner, UNet):
        inner.joins = [False] * len(inner.joins)
