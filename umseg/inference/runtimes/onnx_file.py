"""Reading of ONNX files that anybody may have written.

A file is taken only if it is as umseg writes it: known operators, weights inside of the file, and sizes of tensors that
follow from the graph and fit into memory. onnxruntime gets what was checked, and no library of operators is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto

from umseg.common.errors import UserError
from umseg.common.files import read_bytes
from umseg.common.memory import require_memory
from umseg.common.text import by, few
from umseg.inference.runtimes.form import INPUT, OPERATORS, OUTPUT
from umseg.inference.runtimes.metadata import KEY, ONNX_REMEDY, OnnxMetadata, parse_metadata
from umseg.inference.runtimes.sizes import BYTES, Sizes, UnknownSizeError, extents, graphs, sizes_of

MOST_BYTES = 2**31 - 1
"""Largest ONNX file: that of its format."""

_COPIES = 3
"""Copies of the weights that are held while a file is opened: its bytes, the message, and onnxruntime's."""
_SIZED = {"Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Unsqueeze"}
"""Operators whose inputs after the first state sizes or places."""


@dataclass(frozen=True)
class OnnxFile:
    """A checked file.

    Attributes:
        path: The file.
        content: Its bytes.
        metadata: What it says of its model.
        sizes: The sizes of its tensors.
    """

    path: Path
    content: bytes
    metadata: OnnxMetadata
    sizes: Sizes


def read_onnx(path: Path) -> OnnxFile:
    """Read a network that ``umseg export --onnx`` wrote.

    Raises:
        UserError: The file is missing or damaged, is no network of umseg's, or needs more memory than there is.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        require_memory(_COPIES * size, f"The network in {path.name}", file=path)
        content = read_bytes(path, MOST_BYTES, ONNX_REMEDY)
        model = ModelProto.FromString(content)
    except FileNotFoundError as error:
        raise UserError(f"{path.name} does not exist.", file=path, remedy=ONNX_REMEDY) from error
    except OSError as error:
        raise _refused(path, f"it cannot be read ({error.strerror or error})") from error
    except DecodeError as error:
        raise _refused(path, "it is no ONNX file, or only a part of one") from error
    metadata = _metadata(model, path)
    _check_graph(model, metadata, path)
    return OnnxFile(path, content, metadata, _sizes(model, path))


def _metadata(model: ModelProto, path: Path) -> OnnxMetadata:
    texts = [entry.value for entry in model.metadata_props if entry.key == KEY]
    if len(texts) != 1:
        raise _refused(path, "it does not describe a model, as networks of other programs do not")
    return parse_metadata(texts[0], path)


def _check_graph(model: ModelProto, metadata: OnnxMetadata, path: Path) -> None:
    """Require a graph of known operators with the model's input and output and all its weights."""
    domains = {entry.domain for entry in model.opset_import}
    if domains != {""} or model.functions or model.training_info:
        raise _refused(path, f"operators of its own ({few(sorted(domains - {''})) or 'functions'})")
    for graph in graphs(model.graph):
        unknown = {node.op_type for node in graph.node if node.op_type not in OPERATORS or node.domain}
        if unknown:
            raise _refused(path, f"operators that umseg does not write ({few(sorted(unknown))})")
        if any(node.input and not node.input[-1] for node in graph.node):
            raise _refused(path, "an operator with an empty last input, on which onnxruntime crashes")
        constants = {tensor.name for tensor in model.graph.initializer}
        for node in (node for node in graph.node if node.op_type in _SIZED):
            if not constants.issuperset(name for name in node.input[1:] if name):
                raise _refused(path, f"a size that is computed ({node.op_type})")
        attributes = (attribute for node in graph.node for attribute in node.attribute)
        if graph.sparse_initializer or any(_holds_tensors(attribute) for attribute in attributes):
            raise _refused(path, "weights in an unusual form")
        for tensor in graph.initializer:
            _check_tensor(tensor, path)
    for values, name, shape in (
        (model.graph.input, INPUT, metadata.input_shape),
        (model.graph.output, OUTPUT, metadata.output_shape),
    ):
        found = [(value.name, extents(value)) for value in values]
        if [entry[0] for entry in found] != [name] or tuple(found[0][1][1:]) != shape:
            texts = [f"{key} of {by(size or 'batch' for size in sizes)}" for key, sizes in found]
            raise UserError(
                f"{path.name} is not the network of the model that it describes.",
                file=path,
                found="; ".join(texts) or "nothing",
                expected=f"{name} of {by(['batch', *shape])}",
                remedy=ONNX_REMEDY,
            )


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    """Require values that lie in the file, as many as the shape says."""
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        raise _refused(path, f"weights in another file ({tensor.name})")
    size = BYTES.get(tensor.data_type)
    if size is None or min(tensor.dims, default=0) < 0 or len(tensor.raw_data) != size * math.prod(tensor.dims):
        raise _refused(path, f"weights in an unusual form, or only a part of them ({tensor.name})")


def _sizes(model: ModelProto, path: Path) -> Sizes:
    """The sizes of the network's tensors, the largest of which memory holds."""
    try:
        sizes = sizes_of(model)
    except UnknownSizeError as error:
        raise _refused(path, str(error)) from error
    require_memory(sizes.largest, f"The network in {path.name}", file=path, remedy=ONNX_REMEDY)
    return sizes


def _holds_tensors(attribute: AttributeProto) -> bool:
    return bool(
        attribute.HasField("t")
        or attribute.HasField("sparse_tensor")
        or attribute.tensors
        or attribute.sparse_tensors
        or attribute.graphs
        or (attribute.HasField("g") and any(_bodies(attribute.g.node)))
    )


def _bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[bool]:
    return (attribute.HasField("g") or bool(attribute.graphs) for node in nodes for attribute in node.attribute)


def _refused(path: Path, found: str) -> UserError:
    return UserError(
        f"{path.name} is not a network that `umseg export --onnx` wrote.", file=path, found=found, remedy=ONNX_REMEDY
    )
