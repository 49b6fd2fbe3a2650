"""The number formats of devices."""

from __future__ import annotations

import torch

from umseg.preprocess.resampling.tensors import TorchArrays


def test_double_precision_where_the_device_has_it() -> None:
    assert TorchArrays(torch.device("cuda")).double().dtype == torch.float64
    assert TorchArrays(torch.device("mps")).double().dtype == torch.float32
