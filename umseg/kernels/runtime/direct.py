"""Calls of kernels without torch's operators around them, where nothing but the result is wanted.

The first call of a custom operator imports torch's compiler, which takes seconds and 130 MB that prediction has no use
for.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_direct(x: Tensor) -> bool:
    """Whether a kernel may be called without its operator: in inference mode, on a tensor that has data.

    Autograd and compilers know operators only, and tensors without data are of a class of their own.
    """
    # Compilers cannot trace the question about inference mode.
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled() and type(x) is Tensor
