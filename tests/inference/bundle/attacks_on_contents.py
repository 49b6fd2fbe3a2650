"""Sound archives of files that are wrong: manifests, cards, and weights, with checksums that are right."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.inference.bundle.attacks_on_archives import Files, add, attack
from tests.inference.bundle.zips import CARD, STORED, WEIGHTS, as_members, build, described, packed
from umseg.inference.bundle.manifest import MANIFEST
from umseg.training.saved.tensor_file import load_tensors, save_tensors


# Manifests.
@attack("another file first", "first file is not bundle.json")
def _(files: Files) -> bytes:
    return build(as_members(files)[::-1])


@attack("a file that the manifest does not list", "other files than bundle.json lists")
def _(files: Files) -> bytes:
    return packed({**files, "fold_1/postprocessing.json": b"{}"})


@attack("a file that is missing", "other files than bundle.json lists")
def _(files: Files) -> bytes:
    return packed({name: content for name, content in files.items() if name != WEIGHTS})


@attack("no card", "field 'files'")
def _(files: Files) -> bytes:
    return packed(described({name: content for name, content in files.items() if name != CARD}))


@attack("no weights", "field 'files'")
def _(files: Files) -> bytes:
    return packed(described({MANIFEST: files[MANIFEST], CARD: files[CARD], "fold_0/postprocessing.json": b"{}"}))


@attack("a file listed twice", "field 'files'")
def _(files: Files) -> bytes:
    entries = json.loads(files[MANIFEST])["files"]
    return packed(described(files, files=[*entries, entries[0]]))


for _field, _value in {
    "command": "rm -rf /",
    "name": "../outside",
    "schema_version": 2,
    "labels": [],
    "licence": "x" * 201,
    "notes": "x" * 20_001,
    "weights": "latest",
    "files": [],
}.items():

    def _wrong(files: Files, field: str = _field, value: Any = _value) -> bytes:
        return packed(described(files, **{field: value}))

    add(f"a manifest with {_field} {str(_value)[:9]}", f"field '{_field}", _wrong)


@attack("a name that Windows reserves", "field 'name'")
def _(files: Files) -> bytes:
    return packed(described(files, name="aux"))


for _text, _expected in {
    b"": "an empty file",
    b"[]": "is not valid",
    b"{" * 100_000: "",
    b"[" * 100 + b"]" * 100: "within each other",
    b'{"schema_version": NaN}': "NaN",
    b"\xff\xfe\x00": "",
    b"1" * 100_000: "thousands of digits",
}.items():

    def _nonsense(files: Files, text: bytes = _text) -> bytes:
        return packed({**files, MANIFEST: text})

    add(f"the manifest {_text[:9]!r}", _expected, _nonsense)


@attack("other classes than the card has", "names other classes")
def _(files: Files) -> bytes:
    labels = json.loads(files[MANIFEST])["labels"]
    return packed(described(files, labels=[{**labels[0], "name": "healthy tissue"}, *labels[1:]]))


# Files that are not what their names say.
@attack("a wrong checksum", "SHA-256")
def _(files: Files) -> bytes:
    entries = json.loads(files[MANIFEST])["files"]
    return packed(described(files, files=[{**entry, "sha256": "0" * 64} for entry in entries]))


@attack("a card that is none", "model.json is not valid")
def _(files: Files) -> bytes:
    return packed(described({**files, CARD: b"{}"}))


@attack("a card with another field", "model.json is not valid")
def _(files: Files) -> bytes:
    return packed(described({**files, CARD: json.dumps({**json.loads(files[CARD]), "code": "import os"}).encode()}))


@attack("a network larger than any memory", "")
def _(files: Files) -> bytes:
    card = json.loads(files[CARD])
    card["plan"]["configurations"]["small"]["features_per_stage"] = [16384, 16384]
    return packed(described({**files, CARD: json.dumps(card).encode()}))


@attack("a network of many gigabytes", "")
def _(files: Files) -> bytes:
    card = json.loads(files[CARD])
    card["plan"]["configurations"]["small"]["features_per_stage"] = [1000, 8000]
    return packed(described({**files, CARD: json.dumps(card).encode()}))


@attack("a card whose first stage lies elsewhere", "names another first stage")
def _(files: Files) -> bytes:
    card = json.loads(files[CARD])
    card["first_stage"] = "../nnunet__3d_lowres"
    configurations = card["plan"]["configurations"]
    configurations["small"]["previous_stage"] = "low"
    configurations["low"] = {**configurations["small"], "previous_stage": None, "next_stage": "small"}
    return packed(described({**files, CARD: json.dumps(card).encode()}))


@attack("a first stage that the card does not name", "names another first stage")
def _(files: Files) -> bytes:
    stage = {f"first_stage/{name}": files[name] for name in (CARD, WEIGHTS)}
    members = as_members(described({**files, **stage}))
    members[-1].method = STORED
    return build(members)


@attack("a cleaning that is none", "postprocessing.json is not valid")
def _(files: Files) -> bytes:
    return packed(described({**files, "fold_0/postprocessing.json": b'{"smallest": -1}'}))


@attack("scores that are none", "metrics.json is not valid")
def _(files: Files) -> bytes:
    return packed(described({**files, "fold_0/validation/metrics.json": b'{"schema_version": 2}'}))


@attack("a header of 2^60 bytes", "shorter than its header")
def _(files: Files) -> bytes:
    return packed(described({**files, WEIGHTS: (2**60).to_bytes(8, "little") + files[WEIGHTS][8:]}))


@attack("tensors that overlap", "weights_final.safetensors is damaged")
def _(files: Files) -> bytes:
    return _with_header(files, lambda header: _tensor(header).update(data_offsets=[0, 4]))


@attack("a tensor of 2^62 numbers", "weights_final.safetensors is damaged")
def _(files: Files) -> bytes:
    return _with_header(files, lambda header: _tensor(header).update(shape=[2**62]))


@attack("a pickle in the place of weights", "weights_final.safetensors is damaged")
def _(files: Files) -> bytes:
    return packed(described({**files, WEIGHTS: b"\x80\x04cos\nsystem\n(S'touch outside'\ntR."}))


@attack("weights of another shape", "do not belong to this network")
def _(files: Files) -> bytes:
    return _with_tensors(files, lambda tensors: tensors.update({min(tensors): torch.zeros(7, 7)}))


@attack("weights of another name", "do not belong to this network")
def _(files: Files) -> bytes:
    return _with_tensors(files, lambda tensors: tensors.update(evil=torch.zeros(1)))


@attack("weights that are no numbers", "cannot be used")
def _(files: Files) -> bytes:
    return _with_tensors(files, lambda tensors: tensors[min(tensors)].fill_(math.nan))


def _with_header(files: Files, change: Callable[[dict[str, Any]], object]) -> bytes:
    weights = files[WEIGHTS]
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return packed(described({**files, WEIGHTS: len(text).to_bytes(8, "little") + text + weights[8 + length :]}))


def _tensor(header: dict[str, Any]) -> dict[str, Any]:
    tensor: dict[str, Any] = header[max(name for name in header if name != "__metadata__")]
    return tensor


def _with_tensors(files: Files, change: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    """Weights that are changed and saved again, so that their own checksum is right."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(files[WEIGHTS])
        tensors, _ = load_tensors(path, "")
        change(tensors)
        save_tensors(path, tensors)
        return packed(described({**files, WEIGHTS: path.read_bytes()}))
