"""A network in torch and in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from umseg.inference.runtimes.conversion import converted
from umseg.inference.runtimes.form import INPUT, OPERATORS, OUTPUT


def run(model: onnx.ModelProto, images: torch.Tensor) -> NDArray[np.float32]:
    onnx.checker.check_model(model)
    session: Any = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images.numpy()})[0]
    return logits


def largest_difference(network: nn.Module, in_channels: int, patch: Sequence[int], batch: int = 1) -> float:
    """Between the logits of both, for images of noise."""
    images = torch.randn(batch, in_channels, *patch, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network.eval()(images).numpy()
    model = converted(network, in_channels, expected.shape[1], patch)
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    found = run(model, images)
    assert found.shape == expected.shape
    assert np.ptp(expected) > 0.01, "a constant output shows nothing"
    return float(np.abs(found - expected).max())


def shaken(network: nn.Module) -> nn.Module:
    """The network with parameters that are nowhere 0 or 1, as after training."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return network
