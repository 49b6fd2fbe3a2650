"""Checkpoints from elsewhere: none runs code, waits for ever, or asks for more memory than it has bytes."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from umseg.common.errors import UserError
from umseg.models.convert import convert_state_dict
from umseg.workflows import foreign_checkpoint
from umseg.workflows.foreign_checkpoint import plain_tensors, read_foreign_checkpoint

REMEDY = "Use the original one."


class Code:
    """An object whose pickle makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def rewritten(path: Path, **options: Any) -> Path:
    """The archive written again by Python's zip module, with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= options.pop("add", {})
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_checkpoint_is_read(tmp_path: Path) -> None:
    content = {"network_weights": nn.Linear(2, 3).state_dict(), "loss": np.float64(0.5), "epoch": 3}
    found = read_foreign_checkpoint(saved(tmp_path / "checkpoint_final.pth", content), REMEDY)
    assert found["loss"] == 0.5
    tensors = plain_tensors(found["network_weights"], tmp_path, REMEDY)
    assert all(torch.equal(tensors[name], value) for name, value in content["network_weights"].items())
    assert read_foreign_checkpoint(rewritten(tmp_path / "checkpoint_final.pth"), REMEDY)["epoch"] == 3


def test_code_is_not_run(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"network_weights": Code(tmp_path / "made")})
    with pytest.raises(UserError, match="could run code"):
        read_foreign_checkpoint(path, REMEDY)
    assert not (tmp_path / "made").exists()


def legacy(path: Path) -> None:
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": Code(path.parent / "made")}))


def tar(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())


def torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path)


def deflated(path: Path) -> None:
    saved(path, {"a": torch.zeros(100_000)})
    rewritten(path, compression=zipfile.ZIP_DEFLATED)


def escaping(path: Path) -> None:
    rewritten(saved(path, {"a": torch.zeros(3)}), add={"../../etc/data/0": b"x"})


def two_folders(path: Path) -> None:
    rewritten(saved(path, {"a": torch.zeros(3)}), add={"other/data.pkl": b"x"})


def large_structure(path: Path) -> None:
    rewritten(
        saved(path, {"a": torch.zeros(3)}), add={"a/data.pkl": bytes(foreign_checkpoint.MOST_STRUCTURE_BYTES + 1)}
    )


def broken_structure(path: Path) -> None:
    saved(path, {"a": torch.zeros(3)})
    rewritten(path, add={f"{path.stem}/data.pkl": b"\x80\x02(((((t."})


def missing_numbers(path: Path) -> None:
    saved(path, {"a": torch.zeros(3)})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/0")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def lying_size(path: Path) -> None:
    """The list of entries says that one has a terabyte less one byte."""
    saved(path, {"a": torch.zeros(3)})
    content = bytearray(rewritten(path).read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"/data/0"))
    content[entry + 20 : entry + 28] = (2**32 - 2).to_bytes(4, "little") * 2
    path.write_bytes(content)


def a_list(path: Path) -> None:
    saved(path, [torch.zeros(3)])


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "legacy": (legacy, "not a zip archive"),
    "pickle": (plain_pickle, "not a zip archive"),
    "tar": (tar, "not a zip archive"),
    "empty": (lambda path: path.write_bytes(b""), "not a zip archive"),
    "text": (lambda path: path.write_text("weights", encoding="utf-8"), "not a zip archive"),
    "cut": (lambda path: path.write_bytes(saved(path, {"a": torch.zeros(3)}).read_bytes()[:-30]), "is damaged"),
    "only a mark": (lambda path: path.write_bytes(b"PK\x03\x04"), "is damaged"),
    "torchscript": (torchscript, "is damaged"),
    "deflated": (deflated, "is damaged"),
    "escaping": (escaping, "is damaged"),
    "two folders": (two_folders, "is damaged"),
    "large structure": (large_structure, "is damaged"),
    "broken structure": (broken_structure, r"is damaged|could run code|not a checkpoint"),
    "missing numbers": (missing_numbers, "is damaged"),
    "lying size": (lying_size, "is damaged"),
    "a list": (a_list, "not a checkpoint of nnU-Net v2"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", FILES)
def test_files_that_are_refused(tmp_path: Path, name: str) -> None:
    write, message = FILES[name]
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        read_foreign_checkpoint(path, REMEDY)
    assert caught.value.file == str(path)
    assert caught.value.remedy
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(UserError, match="not a regular file"):
        read_foreign_checkpoint(tmp_path / "a.pth", REMEDY)


WEIGHTS: dict[str, tuple[object, str]] = {
    "none": (None, "NoneType"),
    "a list": ([torch.ones(2)], "list"),
    "text": ({"a": "os.system"}, "a: an object of type str"),
    "number": ({"a": 3.0}, "a: an object of type float"),
    "name that is a number": ({3: torch.ones(2)}, "3: a name that is no text"),
    "nested": ({"a": {"b": torch.ones(2)}}, "a: an object of type dict"),
    "sparse": ({"a": torch.ones(2, 2).to_sparse()}, "a: a sparse tensor"),
    "meta": ({"a": torch.ones(2, device="meta")}, "a: a meta tensor"),
    "whole numbers": ({"a": torch.ones(2, dtype=torch.int64)}, "a: numbers of the type int64"),
    "bool": ({"a": torch.ones(2, dtype=torch.bool)}, "a: numbers of the type bool"),
    "complex": ({"a": torch.ones(2, dtype=torch.complex64)}, "a: numbers of the type complex64"),
    "one number 2**40 times": ({"a": torch.ones(1).expand(2**20, 2**20)}, "a: 1,099,511,627,776 values"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_refused(tmp_path: Path, name: str) -> None:
    weights, found = WEIGHTS[name]
    content = read_foreign_checkpoint(saved(tmp_path / "a.pth", {"network_weights": weights}), REMEDY)
    with pytest.raises(UserError, match="weights cannot be used") as caught:
        plain_tensors(content["network_weights"], tmp_path / "a.pth", REMEDY)
    assert found in str(caught.value.found)


@pytest.mark.filterwarnings("ignore")
def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    weights = {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}
    with pytest.raises(UserError, match="weights cannot be used"):
        plain_tensors(weights, tmp_path / "a.pth", REMEDY)


def test_copies_of_one_tensor_are_not_compared() -> None:
    first = torch.ones(1).expand(2**20, 2**20)
    name = "stages.0.0.convs.0.conv.weight"
    with pytest.raises(UserError, match="Two copies"):
        convert_state_dict({f"encoder.{name}": first, f"decoder.encoder.{name}": first[:, :1]}, "nnunet")
    converted = convert_state_dict({f"encoder.{name}": first, f"decoder.encoder.{name}": first}, "nnunet")
    assert [value.shape for value in converted.values()] == [first.shape]
