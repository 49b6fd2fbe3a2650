"""Files that anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.inference.standalone.cards import make_card, save_model
from umseg.common import memory
from umseg.common.errors import UserError
from umseg.inference.runtimes.export import export_onnx
from umseg.inference.runtimes.onnx_file import read_onnx
from umseg.inference.runtimes.onnx_network import OnnxNetwork

Change = Callable[[ModelProto], object]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Mamba, which has loops."""
    folder = tmp_path_factory.mktemp("exported")
    return export_onnx(save_model(make_card(model="umamba_bot"), folder / "model"), folder / "out.onnx")[0]


def changed(exported: Path, path: Path, change: Change) -> Path:
    model = onnx.load(exported)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def text_of(model: ModelProto) -> Any:
    return json.loads(model.metadata_props[0].value)


def set_text(model: ModelProto, text: str) -> None:
    model.metadata_props[0].value = text


def edit(model: ModelProto, **fields: Any) -> None:
    set_text(model, json.dumps({**text_of(model), **fields}))


def large_weight(model: ModelProto) -> TensorProto:
    tensors: Sequence[TensorProto] = model.graph.initializer
    return max(tensors, key=lambda tensor: len(tensor.raw_data))


def put_outside(model: ModelProto) -> None:
    tensor = large_weight(model)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    tensor.ClearField("raw_data")


def put_a_tensor_into_a_node(model: ModelProto) -> None:
    value = TensorProto(data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=[1])
    value.external_data.add(key="location", value="/etc/passwd")
    model.graph.node[0].attribute.append(helper.make_attribute("value", value))


def add_node(model: ModelProto, operator: str, *inputs: str, **attributes: Any) -> None:
    model.graph.node.append(helper.make_node(operator, inputs, ["more"], **attributes))


def body_of(model: ModelProto) -> onnx.GraphProto:
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    body: onnx.GraphProto = next(attribute.g for attribute in scan.attribute if attribute.name == "body")
    return body


def enlarge(model: ModelProto) -> None:
    """A kilobyte that becomes 2 TB."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2**13, 2**13, 2**13]), "sizes"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
    add_node(model, "Expand", "one", "sizes")


def compute_a_size(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**40]), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["factor", "factor"], ["sizes"]))
    add_node(model, "Expand", "image", "sizes")


def nest(model: ModelProto) -> None:
    scan = next(node for node in model.graph.node if node.op_type == "Scan")
    body_of(model).node.append(scan)


def reverse_the_layers(model: ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


CHANGES: dict[str, tuple[Change, str]] = {
    "weights elsewhere": (put_outside, "weights in another file"),
    "weights in a node": (put_a_tensor_into_a_node, "weights in an unusual form"),
    "half of the weights": (lambda m: setattr(large_weight(m), "raw_data", b"1234"), "only a part of them"),
    "other numbers": (lambda m: setattr(large_weight(m), "data_type", TensorProto.STRING), "unusual form"),
    "more weights than there are": (lambda m: large_weight(m).dims.append(2**40), "only a part of them"),
    "sparse weights": (lambda m: m.graph.sparse_initializer.add(), "unusual form"),
    "another library": (lambda m: m.opset_import.add(domain="com.evil", version=1), "operators of its own .com.evil."),
    "a node of a library": (lambda m: setattr(m.graph.node[0], "domain", "com.evil"), "does not write .Conv."),
    "functions": (lambda m: m.functions.add(name="f"), "operators of its own .functions."),
    "an unknown operator": (lambda m: add_node(m, "RandomNormal", shape=[2**40]), "RandomNormal"),
    "an unknown operator in a loop": (
        lambda m: body_of(m).node.append(helper.make_node("Loop", [], ["x"])),
        "does not write .Loop.",
    ),
    "an empty last input": (lambda m: m.graph.node[0].input.append(""), "an empty last input"),
    "a loop in a loop": (nest, "unusual form"),
    "a huge tensor": (enlarge, "needs 2.2 TB"),
    "a size that is computed": (compute_a_size, "a size that is computed .Expand."),
    "an order that cannot run": (reverse_the_layers, "do not fit together"),
    "no description": (lambda m: m.ClearField("metadata_props"), "does not describe a model"),
    "two descriptions": (lambda m: m.metadata_props.add(key="umseg", value="{}"), "does not describe a model"),
    "a description that is no JSON": (lambda m: set_text(m, "{"), "not valid JSON"),
    "a description without end": (lambda m: set_text(m, "[" * 10**6), "lists or objects within each other"),
    "a description that is too long": (lambda m: set_text(m, "[" + " " * 2**24 + "]"), "too long"),
    "a description of something else": (lambda m: set_text(m, "[]"), "not valid"),
    "an unknown field": (lambda m: edit(m, code="import os"), "field 'code'"),
    "another version": (lambda m: edit(m, schema_version=2), "field 'schema_version'"),
    "another patch": (lambda m: edit(m, patch_size=[8, 8, 16]), "field 'patch_size'"),
    "another input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2),
        "not the network of the model",
    ),
    "more outputs": (lambda m: m.graph.output.append(m.graph.output[0]), "not the network of the model"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_files_are_refused(exported: Path, tmp_path: Path, name: str) -> None:
    change, message = CHANGES[name]
    with pytest.raises(UserError) as error:
        read_onnx(changed(exported, tmp_path / "changed.onnx", change))
    assert error.match(message)


def test_a_file_is_what_it_was(exported: Path) -> None:
    file = read_onnx(exported)
    assert file.content == exported.read_bytes()
    assert file.metadata.card == make_card(model="umamba_bot")
    assert file.metadata.fold == "0"


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"ORTM" * 50, b"PK\x03\x04 no network", b"\x0a\xff\xff\xff\xff\x7f"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(UserError, match="is not a network that"):
        read_onnx(tmp_path / "a.onnx")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_onnx(tmp_path / "a.onnx")
    with pytest.raises(UserError, match="not a regular file"):
        read_onnx(tmp_path)


def test_a_part_of_a_file_is_refused(exported: Path, tmp_path: Path) -> None:
    content = exported.read_bytes()
    for length in range(len(content) // 7, len(content), len(content) // 7):
        (tmp_path / "part.onnx").write_bytes(content[:length])
        with pytest.raises(UserError):
            read_onnx(tmp_path / "part.onnx")


def test_flipped_bits_are_refused_or_harmless(exported: Path, tmp_path: Path) -> None:
    """Whatever is flipped, there is an error for the user or a network that runs."""
    content, rng, refused = exported.read_bytes(), np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        (tmp_path / "a.onnx").write_bytes(damaged)
        try:
            network = OnnxNetwork(read_onnx(tmp_path / "a.onnx"))
            assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
        except UserError:
            refused += 1
    assert 0 < refused < 60


def test_files_that_do_not_fit_into_memory_are_not_read(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SMALL_BYTES", 0)
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match="needs more memory"):
        read_onnx(exported)


def test_what_onnxruntime_cannot_run_is_an_error_for_the_user(exported: Path) -> None:
    file = read_onnx(exported)
    with pytest.raises(UserError, match="cannot open"):
        OnnxNetwork(replace(file, content=b"ORTM" * 100))
    with pytest.raises(UserError, match="cannot compute"):
        OnnxNetwork(file)(torch.zeros(1, 2, 8, 8, 8))
    other = file.metadata.model_copy(update={"card": make_card(description={"labels": {"background": 0, "a": 1}})})
    with pytest.raises(UserError, match="another shape"):
        OnnxNetwork(replace(file, metadata=other))(torch.zeros(1, 1, 8, 8, 8))
