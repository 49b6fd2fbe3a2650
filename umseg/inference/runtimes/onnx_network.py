"""A network that onnxruntime computes, in the place of one of torch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.common.memory import explained_memory
from umseg.inference.runtimes.form import INPUT, OUTPUT
from umseg.inference.runtimes.metadata import ONNX_REMEDY
from umseg.inference.runtimes.onnx_file import OnnxFile

_ERRORS_ONLY = 3
_OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "bad allocation")


class OnnxNetwork(nn.Module):
    """The network of a checked ONNX file: a module from images to logits, both on the CPU and in float32.

    Args:
        file: The file, or a network that was just converted.

    Attributes:
        window_bytes: Bytes that a window needs on its way through the network.

    Raises:
        UserError: onnxruntime cannot open the network.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self._path, self._output_shape = file.path, file.metadata.output_shape
        self.window_bytes = file.sizes.peak
        self._session = _session(file)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, channels, *patch) to logits (batch, classes, *patch).

        Raises:
            UserError: onnxruntime cannot compute the network.
            MemoryError: There is not enough memory.
        """
        values = images.detach().float().contiguous().numpy()
        try:
            logits = torch.from_numpy(self._session.run([OUTPUT], {INPUT: values})[0])
        except Exception as error:  # onnxruntime raises many kinds
            raise _failure(error, "compute", self._path) from error
        if logits.shape[1:] != self._output_shape:
            raise UserError(
                f"The network in {self._path.name} gives an output of another shape than it says.",
                file=self._path,
                found=tuple(logits.shape[1:]),
                expected=self._output_shape,
                remedy=ONNX_REMEDY,
            )
        return logits


def _session(file: OnnxFile) -> Any:
    """A session on the CPU with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _ERRORS_ONLY
    # What onnxruntime keeps for the next batch grows to the next power of two, and is never given back.
    options.enable_cpu_mem_arena = False
    # Threads that wait for work would take the time of those that preprocess and export.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Not onnxruntime's own format, whatever the bytes look like.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    with explained_memory("onnxruntime", file=file.path):
        try:
            return onnxruntime.InferenceSession(file.content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds
            raise _failure(error, "open", file.path) from error


def _failure(error: Exception, verb: str, path: Path) -> Exception:
    """The exception in place of one of onnxruntime's: a ``MemoryError``, or an error for the user."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if any(phrase in reason for phrase in _OUT_OF_MEMORY):
        return MemoryError(reason)
    return UserError(
        f"onnxruntime cannot {verb} the network in {path.name}.",
        file=path,
        found=reason,
        remedy="Predict with the model folder and --runtime torch, or export the model again.",
    )
