from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tests.inference.models import write_model
from tests.training.factories import make_configuration
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.inference.runtimes.conversion import converted
from umseg.inference.runtimes.sizes import Sizes, UnknownSizeError, sizes_of
from umseg.inference.windows.memory import forward_bytes
from umseg.models.registry import build_network


class Chain(nn.Module):
    """Two tensors of 4 x 8 x 8 numbers at once, and then one of 8 x 8 x 8 beside them."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.expand(-1, 4, -1, -1) * torch.arange(1.0, 5.0).view(1, 4, 1, 1)
        other = wide.exp()
        return torch.cat([wide, other.relu()], dim=1)


def test_the_peak_is_where_most_is_alive() -> None:
    sizes = sizes_of(converted(Chain(), 1, 8, (8, 8)))
    assert sizes == Sizes(largest=4 * 8 * 8 * 8, peak=4 * (4 + 4 + 8) * 8 * 8)


def test_a_loop_counts_with_what_is_in_it() -> None:
    configuration = make_configuration((16, 16))
    plain = sizes_of(converted(build_network("umamba_bot", configuration, 1, 3), 1, 3, (16, 16)))
    every = sizes_of(converted(build_network("umamba_enc", configuration, 1, 3), 1, 3, (16, 16)))
    assert 0 < plain.peak < every.peak
    assert plain.largest <= plain.peak


def test_a_size_that_does_not_follow_is_refused() -> None:
    node = helper.make_node("Reshape", ["image", "shape"], ["logits"])
    shape = numpy_helper.from_array(np.array([0, 3]), "other")
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3]) for _ in range(1)]
    inputs.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [2]))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "g", inputs, outputs, [shape])
    with pytest.raises(UnknownSizeError, match="not known"):
        sizes_of(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))


def test_the_windows_know_what_onnxruntime_needs(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_model(tmp_path_factory.mktemp("model"))
    network = LoadedModel(folder, options=LoadOptions(runtime="onnx")).networks[0]
    found = forward_bytes(network, 1, (8, 8, 8), torch.device("cpu"), torch.float32, batch=3, unit=(2, 2, 2))
    # The concatenation of 4 and 4 channels at full resolution, of which two copies are alive.
    assert found == 3 * 4 * 16 * 8**3
