"""What is written is read back; what is damaged is reported."""

from __future__ import annotations

import errno
import math
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.preprocess.cases import make_case
from umseg.common.errors import UserError
from umseg.preprocess import CaseStore, PreprocessedCase
from umseg.preprocess.store import layout

FILES = ["one.json", "one.data.b2nd", "one.label.b2nd", "one.locations.safetensors"]


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    store = CaseStore(tmp_path / "3d_fullres")
    store.write("one", make_case(), patch_size=(16, 16, 16))
    return store


def assert_same(store: CaseStore, case_id: str, case: PreprocessedCase) -> None:
    stored = store.open(case_id)
    np.testing.assert_array_equal(stored.data[:], case.data)
    assert stored.label is not None
    np.testing.assert_array_equal(stored.label[:], case.label)
    assert stored.label.dtype == case.label.dtype  # type: ignore[union-attr]
    assert stored.properties == case.properties
    assert list(stored.class_locations) == list(case.class_locations)
    for value, found in case.class_locations.items():
        assert stored.class_locations[value].dtype == np.int32
        np.testing.assert_array_equal(stored.class_locations[value], found)


def test_round_trip(store: CaseStore) -> None:
    assert store.case_ids() == ("one",)
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(FILES)
    assert_same(store, "one", make_case())


def test_slices_are_read_alone(store: CaseStore) -> None:
    stored, case = store.open("one"), make_case()
    assert not isinstance(stored.data, np.ndarray)
    assert stored.label is not None
    assert case.label is not None
    region = (slice(3, 11), slice(0, 24), slice(27, 28))
    np.testing.assert_array_equal(stored.data[(slice(None), *region)], case.data[(slice(None), *region)])
    np.testing.assert_array_equal(stored.label[region], case.label[region])


def test_a_case_without_label(store: CaseStore) -> None:
    labelled = make_case()
    store.write("one", PreprocessedCase(labelled.data, None, {}, labelled.properties))
    stored = store.open("one")
    assert stored.label is None
    assert stored.class_locations == {}


def test_int16_labels_and_single_slices(tmp_path: Path) -> None:
    case = make_case((1, 40, 30), channels=3)
    case = PreprocessedCase(case.data, np.full((1, 40, 30), 300, np.int16), case.class_locations, case.properties)
    store = CaseStore(tmp_path)
    store.write("a.b", case, patch_size=(32, 32))
    assert store.case_ids() == ("a.b",)
    assert_same(store, "a.b", case)


def test_writing_again_replaces(store: CaseStore) -> None:
    newer = make_case((5, 6, 7), seed=1)
    store.write("one", newer)
    assert_same(store, "one", newer)


def read_in_worker(store: CaseStore) -> float:
    return float(store.open("one").data[:, 2:5].sum())


def test_a_store_can_be_sent_to_a_spawned_process(store: CaseStore) -> None:
    assert pickle.loads(pickle.dumps(store)) == store  # noqa: S301 (made on the same line)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(read_in_worker, store).result() == read_in_worker(store)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(store: CaseStore, name: str, share: float) -> None:
    path = store.folder / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="umseg plan") as caught:
        store.open("one")
    assert caught.value.file == str(path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(store: CaseStore, name: str) -> None:
    (store.folder / name).unlink()
    with pytest.raises(UserError, match="umseg plan") as caught:
        store.open("one")
    assert caught.value.file == str(store.folder / name)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="umseg plan"):
        CaseStore(tmp_path / "nowhere").case_ids()


@pytest.mark.parametrize("ending", ["data.b2nd", "label.b2nd", "locations.safetensors"])
def test_a_full_disk_leaves_no_half_case(store: CaseStore, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.endswith(ending):
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    for case_id in ("one", "two"):
        with pytest.raises(UserError, match="disk is full"):
            store.write(case_id, make_case(seed=3))
    assert store.case_ids() == (), "neither the new case nor the half replaced one counts as complete"
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".")], "no temporary file stays"
    monkeypatch.undo()
    store.write("two", make_case(seed=3))
    assert_same(store, "two", make_case(seed=3))


sizes = st.integers(1, 400)


@settings(max_examples=100, deadline=None)
@given(st.tuples(st.integers(1, 8), sizes, sizes, sizes), st.lists(sizes, min_size=2, max_size=3))
def test_layout(shape: tuple[int, ...], patch: list[int]) -> None:
    chunks, blocks = layout(shape, patch, 4)
    full_patch = [1] * (3 - len(patch)) + patch
    assert all(block <= chunk <= size for block, chunk, size in zip(blocks, chunks, shape, strict=True))
    assert all(chunk <= size for chunk, size in zip(chunks[1:], full_patch, strict=True)), "at most a patch"
    assert chunks[0] == shape[0]
    assert math.prod(chunks) * 4 <= 2**22
    assert math.prod(blocks) * 4 <= 2**16


def test_a_patch_reads_little() -> None:
    shape, patch = (1, 300, 400, 400), (128, 128, 128)
    _, blocks = layout(shape, patch, 4)
    touched = math.prod(side + 2 * block for side, block in zip(patch, blocks[1:], strict=True))
    assert touched < 4 * math.prod(patch)
