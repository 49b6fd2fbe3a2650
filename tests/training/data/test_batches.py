from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.factories import make_case, make_configuration, write_store
from umseg.common.errors import UserError
from umseg.planning.plan import Configuration
from umseg.preprocess import CaseStore, Origin, PreprocessedCase
from umseg.training.augmentation import PIPELINES, Context, patch_geometry
from umseg.training.augmentation.transforms.noise import Noise
from umseg.training.data.batches import AugmentationPlace, Batch, BatchFactory, Phase, deep_supervision_targets

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


def make(factory: BatchFactory, epoch: int, phase: Phase, index: int) -> Batch:
    return factory.finish(factory.prepare(epoch, phase, index))


def assert_equal(batch: Batch, other: Batch) -> None:
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
        batch = make(factory, 0, phase, 0)
        assert batch.data.shape == (3, channels, *patch)
        assert batch.data.dtype == torch.float32
        assert [tuple(target.shape) for target in batch.targets] == [(3, *patch)]
        assert batch.targets[0].min() >= 0
        assert batch.targets[0].max() <= 2
        assert set(batch.cases) <= set(CASES)


def test_equal_whatever_happened_before(folder: Path) -> None:
    first = make(make_factory(folder), 1, "train", 2)
    np.random.seed(99)
    torch.manual_seed(99)
    factory = make_factory(folder)
    make(factory, 0, "train", 0)
    assert_equal(make(factory, 1, "train", 2), first)


def test_what_is_not_augmented_yet_becomes_the_same_later(folder: Path) -> None:
    factory = make_factory(folder)
    later = dataclasses.replace(factory, augmentation="gpu")
    raw = later.prepare(0, "train", 0)
    assert raw.seeds is not None
    assert raw.data.shape == (2, 1, *patch_geometry((8, 8, 8)).initial_patch)
    assert raw.label.min() == -1
    assert_equal(later.finish(raw), make(factory, 0, "train", 0))
    assert later.prepare(0, "validation", 0).seeds is None


def test_processes_that_share_a_batch_make_its_parts(folder: Path) -> None:
    whole = make_factory(folder, make_configuration(batch_size=3))
    for augmentation in ("cpu", "gpu", "none"):
        factory = dataclasses.replace(whole, augmentation=augmentation)
        parts = [make(dataclasses.replace(factory, samples=part), 1, "train", 4) for part in (range(2), range(2, 3))]
        together = make(factory, 1, "train", 4)
        assert together.cases == parts[0].cases + parts[1].cases
        assert torch.equal(together.data, torch.cat([part.data for part in parts]))
        for target, *others in zip(together.targets, *(part.targets for part in parts), strict=True):
            assert torch.equal(target, torch.cat(others))


def test_a_transform_for_cpus_is_refused_on_a_gpu(folder: Path) -> None:
    with pytest.raises(UserError, match="'batchgenerators_spatial' cannot be applied on a GPU") as caught:
        dataclasses.replace(make_factory(folder), augmentation="gpu", transforms=PIPELINES["batchgenerators"])
    assert "--augmentation cpu" in str(caught.value.remedy)


def test_a_transform_may_refuse_a_run_but_not_one_without_augmentation(folder: Path) -> None:
    class Picky(Noise):
        def check(self, context: Context) -> None:
            raise UserError(f"no {len(context.geometry.patch)}-D patches with {context.channels} channel")

    for phase in ("cpu", "gpu"):
        with pytest.raises(UserError, match="no 3-D patches with 1 channel"):
            dataclasses.replace(make_factory(folder), augmentation=phase, transforms=(Picky(),))
    dataclasses.replace(make_factory(folder), augmentation="none", transforms=(Picky(),))


@pytest.mark.parametrize("augmentation", ["cpu", "gpu"])
def test_the_first_stages_segmentation_is_disturbed_by_seed(folder: Path, augmentation: AugmentationPlace) -> None:
    """The reference itself is the first stage's segmentation, so any difference comes from the cascade's transforms."""
    stage = folder / "stage"
    for number, name in enumerate(CASES):
        case = make_case(seed=number)
        assert case.label is not None
        CaseStore(stage).write(name, stage_case(case), Origin(source="files", recipe="plan"), (8, 8, 8))
    factory = dataclasses.replace(
        make_factory(folder, make_configuration(batch_size=4)),
        first_stage=stage,
        first_stage_values=(1, 2),
        transforms=(),
        augmentation=augmentation,
    )
    plain, disturbed = [], []
    for index in range(8):
        batch = make(factory, 0, "train", index)
        assert_equal(make(factory, 0, "train", index), batch)
        reference = torch.stack([batch.targets[0] == value for value in (1, 2)], dim=1)
        differs = (batch.data[:, 1:].bool() != reference).flatten(1).any(1).tolist()
        disturbed += differs
        batch = make(factory, 0, "validation", index)
        reference = torch.stack([batch.targets[0] == value for value in (1, 2)], dim=1)
        plain += (batch.data[:, 1:].bool() != reference).flatten(1).any(1).tolist()
    assert not any(plain)
    assert 4 <= sum(disturbed) <= 24


def stage_case(case: PreprocessedCase) -> PreprocessedCase:
    """The label map of a case in the form in which the first stage's segmentation is stored."""
    assert case.label is not None
    return dataclasses.replace(case, data=case.label[None].clip(0).astype(np.float32), label=None, class_locations={})


def test_only_the_given_axes_are_mirrored(folder: Path) -> None:
    axes: tuple[tuple[int, ...], ...] = ((), (1,))
    for chosen in axes:
        factory = dataclasses.replace(make_factory(folder), mirror_axes=chosen)
        assert factory._context.geometry.mirror_axes == chosen
        *_, mirrored = factory._augmentation.draw(range(100))
        assert {axis + 3 for axes in mirrored for axis in axes or ()} == set(chosen)


def test_oversampling_is_the_share_of_forced_samples(tmp_path: Path) -> None:
    write_store(tmp_path, [make_case((40, 40, 40), seed=seed) for seed in range(3)])
    factory = make_factory(tmp_path, make_configuration(batch_size=4))
    for share, expected in ((0.0, 0), (1.0, 12)):
        batches = [make(dataclasses.replace(factory, oversampling=share), 0, "validation", index) for index in range(3)]
        present = torch.cat([batch.targets[0] for batch in batches]).flatten(1).gt(0).any(1)
        assert abs(int(present.sum()) - expected) < 3


def test_what_was_unforeseen_names_the_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umseg.training.data.batches.cut", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match=r"case case_\d: ZeroDivisionError"):
        make(make_factory(folder), 0, "train", 0)


def test_seed_epoch_phase_and_index_all_matter(folder: Path) -> None:
    first = make(make_factory(folder), 0, "validation", 0)
    others = [
        make(make_factory(folder, seed=4), 0, "validation", 0),
        make(make_factory(folder), 1, "validation", 0),
        make(make_factory(folder), 0, "train", 0),
        make(make_factory(folder), 0, "validation", 1),
    ]
    assert not any(torch.equal(first.data, other.data) for other in others)


def test_forced_samples_hold_foreground(tmp_path: Path) -> None:
    """A random patch of an image as large as this one almost certainly misses the foreground."""
    write_store(tmp_path, [make_case((40, 40, 40), seed=seed) for seed in range(3)])
    factory = make_factory(tmp_path, make_configuration(batch_size=3))
    targets = torch.cat([make(factory, 0, "validation", index).targets[0] for index in range(12)])
    present = (targets > 0).flatten(1).any(1).reshape(12, 3)
    assert present[:, 2].all()
    assert present[:, :2].sum() < 6


def test_cases_without_foreground_can_be_drawn(tmp_path: Path) -> None:
    write_store(tmp_path, [make_case(seed=seed, foreground=False) for seed in range(3)])
    for phase in ("train", "validation"):
        assert not make(make_factory(tmp_path), 0, phase, 0).targets[0].any()


@pytest.mark.parametrize("phase", ["train", "validation"])
def test_without_augmentation_a_patch_is_a_piece_of_the_image(folder: Path, phase: Phase) -> None:
    batch = make(dataclasses.replace(make_factory(folder), augmentation="none"), 0, phase, 0)
    for name, patch, target in zip(batch.cases, batch.data[:, 0].numpy(), batch.targets[0].numpy(), strict=True):
        case = make_case(seed=int(name[-1]))
        assert case.label is not None
        padded = np.pad(case.data[0], 8)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8, 8))
        [corner] = np.argwhere((windows == patch).all((3, 4, 5)))
        place = tuple(slice(c, c + 8) for c in corner)
        np.testing.assert_array_equal(target, np.pad(np.maximum(case.label, 0), 8)[place])


@pytest.mark.parametrize("channels", [1, 2])
def test_a_case_that_does_not_fit_the_plan_is_named(tmp_path: Path, channels: int) -> None:
    case = make_case(channels=channels)
    write_store(tmp_path, [dataclasses.replace(case, label=None) if channels == 1 else case] * 3)
    with pytest.raises(UserError, match=r"case_\d does not fit the plan") as caught:
        make(make_factory(tmp_path), 0, "train", 0)
    assert caught.value.expected == "1 channel and a label map"


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
    with pytest.raises(UserError, match="is damaged") as caught:
        [factory.prepare(0, "validation", index) for index in range(8)]
    assert caught.value.file == str(tmp_path / f"case_1{ending}")
    assert "umseg plan" in str(caught.value.remedy)


def test_targets_have_the_shapes_of_the_heads() -> None:
    label = torch.zeros(2, 8, 16, 16, dtype=torch.int16)
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    shapes = [target.shape for target in deep_supervision_targets(label, strides)]
    assert shapes == [(2, 8, 16, 16), (2, 8, 8, 8), (2, 4, 4, 4)]


def test_targets_of_a_network_without_pooling() -> None:
    label = torch.arange(4, dtype=torch.int16).view(1, 2, 2)
    [target] = deep_supervision_targets(label, ((1, 1),))
    assert torch.equal(target, label)


def test_targets_are_the_nearest_voxels() -> None:
    """They equal torch's "nearest-exact", which takes the centre of each block, or the upper of two voxels."""
    label = torch.from_numpy(np.random.default_rng(0).integers(0, 5, size=(2, 8, 12, 16)).astype(np.int16))
    strides = ((1, 1, 1), (1, 3, 2), (2, 1, 2), (2, 2, 2))
    for target in deep_supervision_targets(label, strides):
        size = target.shape[1:]
        expected = torch.nn.functional.interpolate(label[:, None].float(), size=size, mode="nearest-exact")
        assert torch.equal(target, expected[:, 0].short())
        assert target.is_contiguous()
