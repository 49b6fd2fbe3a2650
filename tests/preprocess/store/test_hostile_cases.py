"""Cases of a workspace from elsewhere: what their record and coordinates say is checked before it is used."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.preprocess.cases import make_case
from umseg.common.errors import UserError
from umseg.preprocess import CaseStore, Origin
from umseg.preprocess.store.layout import compress

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    store = CaseStore(tmp_path / "3d_fullres")
    store.write("one", make_case(), Origin(source="files", recipe="plan"), patch_size=(16, 16, 16))
    store.open("one")
    return store


def put(*path: Any, value: Any) -> Change:
    def change(record: dict[str, Any]) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    return change


RECORDS: dict[str, Change] = {
    "no checksums": put("checksums", value={}),
    "one checksum": lambda record: record["checksums"].pop(".data.b2nd"),
    "another file": put("checksums", "/../../secret", value="00000000"),
    "no checksum of that form": put("checksums", ".data.b2nd", value="0x00"),
    "checksum that is a list": put("checksums", ".data.b2nd", value=["00000000"]),
    "another type": put("dtype", value="float64"),
    "objects": put("dtype", value="|O8"),
    "float16 for float32": put("dtype", value="float16"),
    "negative spacing": put("properties", "spacing", 0, value=-1.0),
    "spacing 0": put("properties", "spacing", 1, value=0),
    "huge spacing": put("properties", "spacing", 1, value=1e999),
    "another shape": put("properties", "shape_after_resampling", 0, value=3),
    "huge shape": put("properties", "shape_after_resampling", 0, value=2**40),
    "empty shape": put("properties", "shape_after_resampling", 0, value=0),
    "bbox outside": put("properties", "bbox", 0, value=[0, 10_000]),
    "bbox before 0": put("properties", "bbox", 0, value=[-1, 3]),
    "bbox turned round": put("properties", "bbox", 0, value=[3, 1]),
    "another crop": put("properties", "shape_after_cropping", 1, value=1),
    "smaller image": put("properties", "shape_before_cropping", 1, value=1),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_do_not_fit_are_refused(store: CaseStore, name: str) -> None:
    file = store.folder / "one.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    RECORDS[name](record)
    file.write_text(json.dumps(record).replace("Infinity", "1e999"), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        store.open("one")
    assert caught.value.file
    assert caught.value.remedy


ARRAYS: dict[str, tuple[str, NDArray[Any]]] = {
    "float16 image": (".data.b2nd", np.zeros(make_case().data.shape, np.float16)),
    "whole numbers as image": (".data.b2nd", np.zeros(make_case().data.shape, np.int16)),
    "image without channels": (".data.b2nd", make_case().data[0]),
    "smaller image": (".data.b2nd", make_case().data[:, 1:].copy()),
    "fractions as label": (".label.b2nd", make_case().data[0]),
    "label with channels": (".label.b2nd", make_case().data.astype(np.int8)),
    "smaller label": (".label.b2nd", np.zeros((2, 2, 2), np.int8)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit_are_refused(store: CaseStore, name: str) -> None:
    ending, array = ARRAYS[name]
    (store.folder / f"one{ending}").write_bytes(compress(array, (16, 16, 16)))
    with pytest.raises(UserError, match="is damaged") as caught:
        store.open("one")
    assert str(caught.value.file).endswith(ending)
    assert "voxels" in str(caught.value.expected)


@pytest.mark.parametrize("name", ARRAYS)
def test_they_are_found_when_a_store_is_verified_and_made_again(store: CaseStore, name: str) -> None:
    ending, array = ARRAYS[name]
    content = compress(array, (16, 16, 16))
    (store.folder / f"one{ending}").write_bytes(content)
    file = store.folder / "one.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record["checksums"][ending] = f"{zlib.crc32(content):08x}"
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        store.verify(["one"], quiet=True)
    assert store.keep({"one": Origin(source="files", recipe="plan")}, "float32", quiet=True) == ()


LOCATIONS: dict[str, dict[str, NDArray[Any]]] = {
    "fractions": {"1": np.zeros((4, 3), np.float32)},
    "long numbers": {"1": np.zeros((4, 3), np.int64)},
    "two axes": {"1": np.zeros((4, 2), np.int32)},
    "a row": {"1": np.zeros(3, np.int32)},
    "before the image": {"1": np.full((4, 3), -1, np.int32)},
    "beyond the image": {"1": np.full((4, 3), 10_000, np.int32)},
    "class with a name": {"left": np.zeros((4, 3), np.int32)},
    "negative class": {"-1": np.zeros((4, 3), np.int32)},
    "class of many digits": {"9" * 5000: np.zeros((4, 3), np.int32)},
}


@pytest.mark.parametrize("name", LOCATIONS)
def test_coordinates_that_do_not_fit_are_refused(store: CaseStore, name: str) -> None:
    save_file(LOCATIONS[name], store.folder / "one.locations.safetensors")
    with pytest.raises(UserError, match="is damaged") as caught:
        store.open("one")
    assert str(caught.value.file).endswith(".locations.safetensors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("ending", [".data.b2nd", ".label.b2nd", ".locations.safetensors", ".json"])
def test_pipes_are_refused_without_waiting(store: CaseStore, ending: str) -> None:
    file = store.folder / f"one{ending}"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="not a regular file"):
        store.open("one")
    with pytest.raises(UserError, match="not a regular file"):
        store.verify(["one"], quiet=True)


def test_no_location_of_a_class_is_sound(store: CaseStore) -> None:
    save_file({"1": np.zeros((0, 3), np.int32)}, store.folder / "one.locations.safetensors")
    assert store.open("one").class_locations[1].shape == (0, 3)


@pytest.mark.parametrize("ending", [".data.b2nd", ".label.b2nd"])
def test_a_file_that_is_cut_while_it_is_open(store: CaseStore, ending: str) -> None:
    stored = store.open("one")
    array = stored.data if ending == ".data.b2nd" else stored.label
    assert array is not None
    whole = array[...]
    file = store.folder / f"one{ending}"
    file.rename(store.folder / "kept")
    np.testing.assert_array_equal(array[...], whole)
    (store.folder / "kept").rename(file)
    os.truncate(file, 100)
    with pytest.raises(UserError, match="is damaged") as caught:
        array[...]
    assert str(caught.value.found).startswith("100 bytes")


def test_a_block_that_cannot_be_decompressed(store: CaseStore) -> None:
    file = store.folder / "one.label.b2nd"
    whole = file.read_bytes()
    refused = 0
    # Places all over the file: blocks that blosc2 knows to be damaged are refused, others only by their checksum.
    for place in range(200, len(whole) - 40, 23):
        file.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        try:
            label = store.open("one").label
            assert label is not None
            label[...]
        except UserError as error:
            refused += error.expected == "blocks that can be decompressed"
    assert refused
