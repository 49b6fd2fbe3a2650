"""Stored cases are read back unchanged, and damage is reported."""

from __future__ import annotations

import errno
import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.preprocess.cases import make_case
from umseg.common.errors import UserError
from umseg.preprocess import CaseStore, Origin, PreprocessedCase
from umseg.preprocess.store.case_store import as_store_dtype

FRESH = Origin(source="files", recipe="plan")
FILES = ["one.json", "one.data.b2nd", "one.label.b2nd", "one.locations.safetensors"]


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    store = CaseStore(tmp_path / "3d_fullres")
    store.write("one", make_case(), FRESH, patch_size=(16, 16, 16))
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
    channels = (slice(None), *region)
    np.testing.assert_array_equal(stored.data[channels], case.data[channels])
    np.testing.assert_array_equal(stored.label[region], case.label[region])


def test_a_case_without_label(store: CaseStore) -> None:
    labelled = make_case()
    store.write("one", PreprocessedCase(labelled.data, None, {}, labelled.properties), FRESH)
    stored = store.open("one")
    assert stored.label is None
    assert stored.class_locations == {}


def test_int16_labels_and_single_slices(tmp_path: Path) -> None:
    case = make_case((1, 40, 30), channels=3)
    case = PreprocessedCase(case.data, np.full((1, 40, 30), 300, np.int16), case.class_locations, case.properties)
    store = CaseStore(tmp_path)
    store.write("a.b", case, FRESH, patch_size=(32, 32))
    assert store.case_ids() == ("a.b",)
    assert_same(store, "a.b", case)


def test_writing_again_replaces(store: CaseStore) -> None:
    newer = make_case((5, 6, 7), seed=1)
    store.write("one", newer, FRESH)
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
    assert caught.value.found


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
        with pytest.raises(UserError, match="disk is full") as caught:
            store.write(case_id, make_case(seed=3), FRESH)
        assert caught.value.file == str(store.folder / f"{case_id}.{ending}")
        assert str(caught.value.found).endswith("MiB free")
        assert str(caught.value.expected).endswith("MiB for this file")
    assert list(store.folder.iterdir()) == [], "neither the new case nor the half replaced one keeps the disk full"
    monkeypatch.undo()
    store.write("two", make_case(seed=3), FRESH)
    assert_same(store, "two", make_case(seed=3))


def damage(path: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_case_gives_the_same_bytes(store: CaseStore, tmp_path: Path) -> None:
    again = CaseStore(tmp_path / "again", threads=4)
    again.write("one", make_case(), FRESH, patch_size=(16, 16, 16))
    assert contents(again.folder) == contents(store.folder)


def test_verified_cases_are_as_they_were_written(store: CaseStore) -> None:
    store.write("two", make_case(seed=2), FRESH, dtype="float16")
    store.verify(["one", "two"], quiet=True)
    assert store.damage(store.case_ids(), quiet=True) == {}


@pytest.mark.parametrize("name", FILES[1:])
def test_a_single_wrong_bit_is_found(store: CaseStore, name: str) -> None:
    store.write("two", make_case(seed=2), FRESH)
    path = store.folder / name
    expected = store.record("one").checksums[name.removeprefix("one")]
    damage(path)
    with pytest.raises(UserError, match="damaged") as caught:
        store.verify(["one", "two"], quiet=True)
    assert caught.value.file == str(path)
    assert caught.value.expected == f"CRC-32 {expected}"
    assert str(caught.value.found).startswith("CRC-32 ")
    assert "umseg plan" in str(caught.value.remedy)
    assert list(store.damage(["one", "two"], quiet=True)) == ["one"]
    store.verify(["two"], quiet=True)


def test_verifying_names_missing_cases(store: CaseStore) -> None:
    with pytest.raises(UserError, match="not preprocessed") as caught:
        store.verify(["three", "one", "two"], quiet=True)
    assert caught.value.found == "2 of 3 missing: three, two"
    assert "umseg plan" in str(caught.value.remedy)
    with pytest.raises(UserError, match="umseg plan"):
        CaseStore(store.folder / "nowhere").verify(["one"], quiet=True)


@pytest.mark.parametrize("name", FILES[1:])
def test_verifying_names_a_missing_file(store: CaseStore, name: str) -> None:
    (store.folder / name).unlink()
    with pytest.raises(UserError, match="umseg plan") as caught:
        store.verify(["one"], quiet=True)
    assert caught.value.file == str(store.folder / name)


def test_half_precision_is_read_as_single(store: CaseStore) -> None:
    case = make_case((9, 10, 11), seed=4)
    store.write("half", case, FRESH, dtype="float16")
    data = store.open("half").data
    assert data.dtype == np.float32
    assert data.shape == case.data.shape
    region = (slice(0, 2), slice(2, 7), slice(1, 4), slice(3, 11))
    assert data[region].dtype == np.float32
    np.testing.assert_array_equal(data[region], case.data[region].astype(np.float16))
    np.testing.assert_allclose(data[:], case.data, rtol=2**-11, atol=2**-25)
    assert store.record("half").dtype == "float16"


def test_half_precision_takes_half_the_space(store: CaseStore) -> None:
    case = make_case((30, 30, 30))
    for dtype in ("float32", "float16"):
        store.write(dtype, case, FRESH, dtype=as_store_dtype(dtype))
    single, half = ((store.folder / f"{dtype}.data.b2nd").stat().st_size for dtype in ("float32", "float16"))
    assert half < 0.6 * single


@pytest.mark.parametrize("value", [65505.0, -65600.0, np.inf])
def test_what_half_precision_cannot_hold_is_refused(store: CaseStore, value: float) -> None:
    case = make_case()
    case.data[1, 3, 4, 5] = value
    case.data[0, 0, 0, 0] = np.nan
    before = contents(store.folder)
    with pytest.raises(UserError, match="case one do not fit half precision") as caught:
        store.write("one", case, FRESH, dtype="float16")
    assert "--store-dtype float32" in str(caught.value.remedy)
    assert contents(store.folder) == before
    case.data[1, 3, 4, 5] = np.sign(value) * 65504
    store.write("one", case, FRESH, dtype="float16")
    assert store.open("one").data[1:2, 3:4, 4:5, 5:6].item() == np.sign(value) * 65504


def test_unknown_store_dtype() -> None:
    with pytest.raises(UserError, match="stored") as caught:
        as_store_dtype("bfloat16")
    assert caught.value.expected == "float32 or float16"


@pytest.fixture
def made(tmp_path: Path) -> CaseStore:
    store = CaseStore(tmp_path / "made")
    for case_id, origin in {
        "good": FRESH,
        "other files": Origin(source="x", recipe="plan"),
        "other plan": Origin(source="files", recipe="x"),
        "gone": FRESH,
    }.items():
        store.write(case_id, make_case((5, 6, 7)), origin)
    store.write("half", make_case((5, 6, 7)), FRESH, dtype="float16")
    return store


REQUIRED = dict.fromkeys(("good", "other files", "other plan", "half", "not there"), FRESH)


def test_only_required_cases_of_the_right_origin_stay(made: CaseStore) -> None:
    assert made.prune(REQUIRED) == ["gone", "other files", "other plan"]
    assert made.case_ids() == ("good", "half")
    assert made.prune(REQUIRED, "float16") == ["good"]
    assert sorted(contents(made.folder)) == sorted(name.replace("one", "half") for name in FILES)


def test_the_remains_of_a_killed_run_are_removed(made: CaseStore) -> None:
    before = contents(made.folder)
    (made.folder / ".tmp-12345678-new.data.b2nd").write_bytes(b"half")
    (made.folder / "new.data.b2nd").write_bytes(b"whole")
    (made.folder / "new.label.b2nd").write_bytes(b"whole")
    (made.folder / "other files.json").unlink()
    assert made.keep(REQUIRED, "float32", quiet=True) == ("good",)
    assert contents(made.folder) == {name: content for name, content in before.items() if name.startswith("good.")}


def test_a_damaged_case_is_not_kept(made: CaseStore, caplog: pytest.LogCaptureFixture) -> None:
    made.write("not there", make_case((5, 6, 7)), FRESH)
    damage(made.folder / "good.data.b2nd")
    assert made.keep(REQUIRED, "float32", quiet=True) == ("not there",)
    assert "good.data.b2nd" in caplog.text
    assert {name.split(".")[0] for name in contents(made.folder)} == {"not there"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1}'])
def test_a_record_that_cannot_be_read_is_not_kept(made: CaseStore, content: str) -> None:
    (made.folder / "good.json").write_text(content)
    assert made.keep(REQUIRED, "float32", quiet=True) == ()


def test_a_store_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    store = CaseStore(tmp_path / "none")
    assert store.keep(REQUIRED, "float32", quiet=True) == ()
    assert not store.folder.exists()


def test_the_record_is_plain_json(store: CaseStore) -> None:
    store.write("two", make_case(), FRESH)
    record = json.loads((store.folder / "two.json").read_text())
    assert record["origin"] == {"source": "files", "recipe": "plan"}
    assert record["dtype"] == "float32"
    assert sorted(record["checksums"]) == [".data.b2nd", ".label.b2nd", ".locations.safetensors"]
    assert record["properties"]["spacing"] == [1.5, 1, 1]
