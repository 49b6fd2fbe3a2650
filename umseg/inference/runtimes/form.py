"""The form of umseg's ONNX files, in which they are written and as which they are read."""

from __future__ import annotations

OPSET = 18
IR_VERSION = 8
"""Versions that every onnxruntime since 1.14 reads."""

_NAMES = """
Abs Add AveragePool BatchNormalization Concat Conv ConvTranspose Div Einsum Elu Erf Exp Expand
GlobalAveragePool Identity InstanceNormalization LayerNormalization LeakyRelu MatMul MaxPool Mul Neg PRelu
Pad ReduceMean ReduceSum Relu Reshape Resize Scan Sigmoid Slice Softmax Softplus Split Sqrt Squeeze Tanh
Transpose Unsqueeze
"""
OPERATORS = frozenset(_NAMES.split())
"""The operators of ONNX that conversions use."""

INPUT, OUTPUT, BATCH = "image", "logits", "batch"
