from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.factories import make_case, make_configuration, write_store
from umseg.common.errors import UserError
from umseg.planning.plan import Configuration
from umseg.training.batches import Batch, BatchFactory, deep_supervision_targets, load_batches

CASES = ("case_0", "case_1", "case_2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_store(tmp_path, [make_case(seed=seed) for seed in range(3)])
    return tmp_path


def make_factory(
    folder: Path, configuration: Configuration | None = None, validation: Sequence[str] = CASES, seed: int = 3
) -> BatchFactory:
    phases: Any = {"train": CASES, "validation": tuple(validation)}
    return BatchFactory(folder, configuration or make_configuration(), phases, seed)


def load(factory: BatchFactory, workers: int = 0, first_epoch: int = 0, epochs: int = 2) -> Any:
    return load_batches(
        factory,
        first_epoch=first_epoch,
        epochs=epochs,
        train=3,
        validation=1,
        workers=workers,
        pin_memory=False,
    )


def assert_equal(batches: Sequence[Batch], expected: Sequence[Batch]) -> None:
    for batch, other in zip(batches, expected, strict=True):
        assert batch.cases == other.cases
        torch.testing.assert_close(batch.data, other.data, rtol=0, atol=0)
        for target, reference in zip(batch.targets, other.targets, strict=True):
            assert torch.equal(target, reference)


def damage(path: Path) -> None:
    """Overwrite the compressed data, but not the header, so that the file still opens."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("patch", "channels"), [((8, 8, 8), 1), ((8, 8, 8), 2), ((8, 8), 2), ((4, 16, 16), 1), ((16, 16, 16), 1)]
)
def test_shapes_also_of_images_smaller_than_the_patch(tmp_path: Path, patch: tuple[int, ...], channels: int) -> None:
    write_store(tmp_path, [make_case(channels=channels, seed=seed) for seed in range(3)])
    factory = make_factory(tmp_path, make_configuration(patch, batch_size=3, channels=channels, use_mask=True))
    for phase in ("train", "validation"):
        batch = factory.make(0, phase, 0)
        assert batch.data.shape == (3, channels, *patch)
        assert batch.data.dtype == torch.float32
        assert [tuple(target.shape) for target in batch.targets] == [(3, *patch)]
        assert batch.targets[0].min() >= 0
        assert batch.targets[0].max() <= 2
        assert set(batch.cases) <= set(CASES)


def test_equal_whatever_happened_before(folder: Path) -> None:
    factory = make_factory(folder)
    everything = list(load(factory))
    assert len(everything) == 8
    np.random.seed(99)
    torch.manual_seed(99)
    assert_equal(list(load(factory)), everything)
    assert_equal(list(load(factory, first_epoch=1)), everything[4:])


def test_seed_epoch_phase_and_index_all_matter(folder: Path) -> None:
    first = make_factory(folder).make(0, "validation", 0)
    others = [
        make_factory(folder, seed=4).make(0, "validation", 0),
        make_factory(folder).make(1, "validation", 0),
        make_factory(folder).make(0, "train", 0),
        make_factory(folder).make(0, "validation", 1),
    ]
    assert not any(torch.equal(first.data, other.data) for other in others)


def test_forced_samples_hold_foreground(tmp_path: Path) -> None:
    """In an image this large a random patch misses the foreground almost surely."""
    write_store(tmp_path, [make_case((40, 40, 40), seed=seed) for seed in range(3)])
    factory = make_factory(tmp_path, make_configuration(batch_size=3))
    targets = torch.cat([factory.make(0, "validation", index).targets[0] for index in range(12)])
    present = (targets > 0).flatten(1).any(1).reshape(12, 3)
    assert present[:, 2].all()
    assert present[:, :2].sum() < 6


def test_cases_without_foreground_can_be_drawn(tmp_path: Path) -> None:
    write_store(tmp_path, [make_case(seed=seed, foreground=False) for seed in range(3)])
    for phase in ("train", "validation"):
        assert not make_factory(tmp_path).make(0, phase, 0).targets[0].any()


def test_a_validation_patch_is_a_piece_of_the_image(folder: Path) -> None:
    batch = make_factory(folder).make(0, "validation", 0)
    for name, patch, target in zip(batch.cases, batch.data[:, 0].numpy(), batch.targets[0].numpy(), strict=True):
        case = make_case(seed=int(name[-1]))
        assert case.label is not None
        padded = np.pad(case.data[0], 8)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8, 8))
        [corner] = np.argwhere((windows == patch).all((3, 4, 5)))
        place = tuple(slice(c, c + 8) for c in corner)
        np.testing.assert_array_equal(target, np.pad(np.maximum(case.label, 0), 8)[place])


def test_workers_change_nothing_and_leave_no_process(folder: Path) -> None:
    factory = make_factory(folder)
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    batches = load(factory, workers=2)
    assert_equal(list(islice(batches, 5)), list(islice(load(factory), 5)))
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()
    assert handler is None or signal.getsignal(signal.SIGCHLD) == handler


def test_a_user_error_of_a_worker_arrives_as_it_is(folder: Path) -> None:
    factory = make_factory(folder, validation=("case_7",))
    batches = load(factory, workers=1)
    assert_equal(list(islice(batches, 3)), list(islice(load(factory), 3)))
    with pytest.raises(UserError) as caught:
        next(batches)
    assert str(caught.value.file).endswith("case_7.json")
    assert "umseg plan" in str(caught.value.remedy)
    assert not multiprocessing.active_children()


def test_any_other_exception_of_a_worker_brings_its_traceback(folder: Path) -> None:
    batches = load(make_factory(folder, validation=()), workers=1)
    assert len(list(islice(batches, 3))) == 3
    with pytest.raises(ValueError, match=r"(?s)worker process 0.*batches\.py.*in make"):
        next(batches)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_worker_is_explained_at_the_next_batches(folder: Path) -> None:
    """Not before: whatever the main process does when the worker dies must not be interrupted."""
    batches = load(make_factory(folder), workers=1, epochs=50)
    next(batches)
    [worker] = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    for _ in range(20):
        time.sleep(0.01)
    with pytest.raises(UserError, match="was killed") as caught:
        list(batches)
    assert "--workers" in str(caught.value.remedy)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("ending", [".data.b2nd", ".label.b2nd"])
def test_a_damaged_case_is_named(tmp_path: Path, ending: str) -> None:
    case = make_case((32, 32, 32))
    assert case.label is not None
    # Values that compress, but not to nothing: the damage then hits the codec's instructions.
    case.label[:] = np.random.default_rng(0).integers(0, 3, size=case.label.shape)
    case.data[:] = case.label
    write_store(tmp_path, [case, case, case])
    damage(tmp_path / f"case_1{ending}")
    factory = make_factory(tmp_path, make_configuration((32, 32, 32), batch_size=4))
    with pytest.raises(UserError, match="case_1") as caught:
        list(load(factory))
    assert caught.value.file == str(tmp_path)
    assert "umseg plan" in str(caught.value.remedy)


def test_cases_preprocessed_anew_are_read_anew(folder: Path) -> None:
    """Two trainings in one process, as in a notebook: the second must not read with the first one's file handles."""
    list(load(make_factory(folder), epochs=1))
    write_store(folder, [make_case((9, 20, 10), seed=10 + seed) for seed in range(3)])
    again = list(load(make_factory(folder), epochs=1))
    fresh = folder / "fresh"
    write_store(fresh, [make_case((9, 20, 10), seed=10 + seed) for seed in range(3)])
    assert_equal(again, list(load(make_factory(fresh), epochs=1)))


def test_targets_have_the_shapes_of_the_heads() -> None:
    label = np.zeros((2, 8, 16, 16), dtype=np.int16)
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    shapes = [target.shape for target in deep_supervision_targets(label, strides)]
    assert shapes == [(2, 8, 16, 16), (2, 8, 8, 8), (2, 4, 4, 4)]


def test_targets_of_a_network_without_pooling() -> None:
    label = np.arange(4, dtype=np.int16).reshape(1, 2, 2)
    [target] = deep_supervision_targets(label, ((1, 1),))
    np.testing.assert_array_equal(target, label)


def test_targets_are_the_nearest_voxels() -> None:
    """As torch's "nearest-exact", which looks at the centre of the block and takes the upper of two."""
    label = np.random.default_rng(0).integers(0, 5, size=(2, 8, 12, 16)).astype(np.int16)
    strides = ((1, 1, 1), (1, 3, 2), (2, 1, 2), (2, 2, 2))
    for target in deep_supervision_targets(label, strides):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(label)[:, None].float(), size=target.shape[1:], mode="nearest-exact"
        )
        np.testing.assert_array_equal(target, expected[:, 0].numpy())
        assert target.dtype == np.int16
        assert target.flags.c_contiguous
