from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.test_memory import topology_of
from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.planning.fingerprint import Fingerprint, IntensityStatistics
from umseg.planning.memory import plain_unet_estimate
from umseg.planning.plan import Configuration, Plan
from umseg.planning.planner import PRESETS, make_plan, normalization_schemes

STATISTICS = IntensityStatistics(
    mean=1.0, median=2.0, std=3.0, min=4.0, max=5.0, percentile_00_5=6.0, percentile_99_5=7.0
)


def describe(num_labels: int, num_training: int, channels: tuple[str, ...] = ("CT",)) -> DatasetDescription:
    labels = {"background": 0, **{f"label_{value}": value for value in range(1, num_labels)}}
    names = {str(index): name for index, name in enumerate(channels)}
    return DatasetDescription(channel_names=names, labels=labels, numTraining=num_training, file_ending=".nii.gz")


def fingerprint_of(
    spacings: list[Any], shapes: list[Any], relative_size: float = 1.0, channels: int = 1
) -> Fingerprint:
    return Fingerprint(
        dataset_name="Dataset001_Toy",
        spacings=tuple(map(tuple, spacings)),
        shapes_after_crop=tuple(map(tuple, shapes)),
        foreground_intensity_properties_per_channel={str(channel): STATISTICS for channel in range(channels)},
        median_relative_size_after_cropping=relative_size,
        case_ids=tuple(f"case_{number}" for number in range(len(shapes))),
    )


def plan_recorded(recorded: dict[str, Any], preset: str) -> dict[str, Any]:
    channels = tuple(recorded["channel_names"])
    fingerprint = fingerprint_of(
        recorded["spacings"],
        recorded["shapes"],
        recorded.get("median_relative_size_after_cropping", 1.0),
        len(channels),
    )
    description = describe(recorded["n_labels"], recorded["num_training"], channels)
    return make_plan(fingerprint, description, preset).model_dump(mode="json")


def assert_agree(mine: Any, recorded: Any, where: str) -> None:
    if isinstance(recorded, list):
        assert len(mine) == len(recorded), where
        for index, (left, right) in enumerate(zip(mine, recorded, strict=True)):
            assert_agree(left, right, f"{where}[{index}]")
    elif isinstance(recorded, float):
        assert mine == pytest.approx(recorded, rel=1e-9), where
    else:
        assert mine == recorded, where


@pytest.mark.parametrize("preset", ["default", "nnunet"])
def test_plans_equal_every_recorded_one(golden: Path, preset: str) -> None:
    entries = json.loads((golden / "plans.json").read_text())
    assert len(entries) == 30
    compared = set(Configuration.model_fields) | {"n_stages"}
    for entry in entries:
        recorded = entry["plans"][preset]
        plan = plan_recorded(entry["fingerprint"], preset)
        assert set(plan["configurations"]) == set(recorded["configurations"]), entry["name"]
        for name, configuration in recorded.pop("configurations").items():
            assert set(configuration) == compared
            assert configuration.pop("n_stages") == len(configuration["features_per_stage"])
            for field, value in configuration.items():
                assert_agree(plan["configurations"][name][field], value, f"{entry['name']} {name} {field}")
        for field, value in recorded.items():
            assert_agree(plan[field], value, f"{entry['name']} {field}")


@pytest.mark.parametrize("preset", ["default", "nnunet"])
def test_paper_table_2(golden: Path, preset: str) -> None:
    table = json.loads((golden / "table2.json").read_text())
    for entry in table["fingerprints"]:
        plan = plan_recorded(entry["fingerprint"], preset)
        for target, recorded in entry["plans"][preset]["configurations"].items():
            paper = table["targets"][target]
            configuration = plan["configurations"][paper["configuration"]]
            fields = ("patch_size", "batch_size", "num_pool_per_axis")
            for field in fields:
                assert_agree(configuration[field], recorded[field], f"{entry['name']} {target} {field}")
            assert len(configuration["features_per_stage"]) == recorded["n_stages"]
            matches = all(configuration[field] == paper[field] for field in fields)
            assert matches == entry["plans"][preset]["matches_paper"][target], entry["name"]


@pytest.mark.parametrize(
    ("spacing", "shape", "labels", "cases", "preset", "name", "patch", "batch"),
    [
        ((2.5, 0.8, 0.8), (100, 512, 512), 14, 50, "default", "3d_fullres", (40, 224, 192), 2),
        ((2.5, 0.8, 0.8), (100, 512, 512), 14, 50, "nnunet", "3d_lowres", (64, 192, 192), 2),
        ((1, 1, 1), (138, 169, 138), 4, 484, "default", "3d_fullres", (128, 128, 128), 2),
        ((1, 1, 1), (36, 50, 35), 3, 260, "default", "3d_fullres", (40, 56, 40), 9),
        ((5, 1.5625, 1.5625), (18, 237, 208), 4, 200, "default", "3d_fullres", (20, 256, 224), 4),
        ((1, 0.77, 0.77), (482, 512, 512), 3, 131, "default", "3d_fullres", (128, 128, 128), 2),
        ((1, 0.77, 0.77), (482, 512, 512), 3, 131, "default", "3d_lowres", (128, 128, 128), 2),
        ((5, 1.5625, 1.5625), (18, 237, 208), 4, 200, "default", "2d", (256, 224), 56),
        ((999, 1, 1), (1, 1080, 1920), 8, 1800, "nnunet", "2d", (896, 1536), 2),
        ((999, 1, 1), (1, 1080, 1920), 8, 1800, "default", "2d", (384, 640), 13),
        ((999, 1, 1), (1, 520, 704), 3, 1000, "nnunet", "2d", (640, 768), 7),
        ((999, 1, 1), (1, 520, 704), 3, 1000, "default", "2d", (448, 576), 13),
        ((999, 0.8, 0.8), (1, 512, 512), 14, 1000, "nnunet", "2d", (512, 512), 12),
    ],
)
def test_golden_plans(
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    labels: int,
    cases: int,
    preset: str,
    name: str,
    patch: tuple[int, ...],
    batch: int,
) -> None:
    plan = make_plan(fingerprint_of([spacing], [shape]), describe(labels, cases), preset)
    configuration = plan.configuration(name)
    assert (configuration.patch_size, configuration.batch_size) == (patch, batch)


def test_golden_low_resolution() -> None:
    plan = make_plan(fingerprint_of([(2.5, 0.8, 0.8)], [(100, 512, 512)]), describe(14, 50))
    lowres = plan.configuration("3d_lowres")
    assert lowres.spacing == pytest.approx((2.575, 1.3223, 1.3223), abs=1e-4)
    assert list(lowres.median_image_size_in_voxels) == [97, 310, 310]
    assert (lowres.batch_dice, plan.configuration("3d_fullres").batch_dice) == (False, True)


def test_image_covered_by_its_patch_needs_no_low_resolution() -> None:
    plan = make_plan(fingerprint_of([(1, 1, 1)], [(138, 169, 138)]), describe(4, 484))
    assert list(plan.configurations) == ["2d", "3d_fullres"]
    assert not plan.configuration("3d_fullres").batch_dice


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 1, 1), (1, 1, 3)])
@pytest.mark.parametrize("preset", ["default", "nnunet"])
def test_one_voxel_on_any_axis_is_planned_as_2d(axis: int, spacing: tuple[float, ...], preset: str) -> None:
    shape = [1550, 2021]
    shape.insert(axis, 1)
    plan = make_plan(fingerprint_of([spacing], [shape]), describe(2, 10), preset)
    assert list(plan.configurations) == ["2d"]
    assert plan.transpose_forward[0] == axis
    assert min(plan.configuration("2d").patch_size) > 100


def test_thin_but_huge_volume_is_planned() -> None:
    plan = make_plan(fingerprint_of([(1, 1, 1)], [(2, 4000, 4000)]), describe(2, 10))
    assert all(size >= 1 for size in plan.configuration("3d_lowres").median_image_size_in_voxels)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("CT", "CTNormalization"),
        ("ct", "CTNormalization"),
        ("noNorm", "NoNormalization"),
        ("zscore", "ZScoreNormalization"),
        ("rescale_to_0_1", "RescaleTo01Normalization"),
        ("rgb_to_0_1", "RGBTo01Normalization"),
        ("T1", "ZScoreNormalization"),
    ],
)
def test_channel_name_chooses_the_normalisation(name: str, scheme: str) -> None:
    assert normalization_schemes(describe(2, 1, (name,))) == (scheme,)


@pytest.mark.parametrize(("relative_size", "masked"), [(0.75, False), (0.749, True)])
def test_mask_is_used_where_cropping_removes_a_quarter(relative_size: float, masked: bool) -> None:
    fingerprint = fingerprint_of([(1, 1, 1)], [(40, 40, 40)], relative_size, channels=2)
    plan = make_plan(fingerprint, describe(2, 20, ("CT", "T1")))
    assert plan.configuration("2d").use_mask_for_norm == (False, masked)


def test_plan_survives_json(tmp_path: Path) -> None:
    plan = make_plan(fingerprint_of([(2.5, 0.8, 0.8)], [(100, 512, 512)]), describe(14, 50))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json", "plan again") == plan


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UserError, match="Unknown preset 'best'") as raised:
        make_plan(fingerprint_of([(1, 1, 1)], [(40, 40, 40)]), describe(2, 20), "best")
    assert raised.value.expected == " or ".join(PRESETS)


@pytest.mark.parametrize("memory", [0.0, -1.0, float("nan")])
def test_memory_must_be_positive(memory: float) -> None:
    with pytest.raises(UserError, match="not positive"):
        make_plan(fingerprint_of([(1, 1, 1)], [(40, 40, 40)]), describe(2, 20), memory_gb=memory)


def test_more_memory_gives_larger_patches_and_no_memory_the_smallest(caplog: pytest.LogCaptureFixture) -> None:
    fingerprint, description = fingerprint_of([(1, 1, 1)], [(300, 300, 300)]), describe(2, 200)
    volumes = []
    for memory in (1e-9, 2.0, 8.0, 24.0):
        patch = make_plan(fingerprint, description, memory_gb=memory).configuration("3d_fullres").patch_size
        volumes.append(patch[0] * patch[1] * patch[2])
    assert volumes == sorted(set(volumes))
    assert "Even the smallest patch" in caplog.text


spacing_axis = st.floats(0.2, 8).map(lambda value: round(value, 3))
shape_axis = st.integers(1, 700)


@settings(max_examples=150, deadline=None)
@given(
    cases=st.lists(st.tuples(st.tuples(*[spacing_axis] * 3), st.tuples(*[shape_axis] * 3)), min_size=1, max_size=5),
    labels=st.integers(2, 30),
    num_training=st.integers(1, 500),
    preset=st.sampled_from(sorted(PRESETS)),
    memory=st.sampled_from([None, 1.0, 24.0]),
)
def test_every_plan_is_sound(
    cases: list[tuple[tuple[float, ...], tuple[int, ...]]],
    labels: int,
    num_training: int,
    preset: str,
    memory: float | None,
) -> None:
    spacings, shapes = [list(column) for column in zip(*cases, strict=True)]
    plan = make_plan(fingerprint_of(spacings, shapes), describe(labels, num_training), preset, memory)
    flat = min(plan.configurations["3d_fullres"].median_image_size_in_voxels) if len(plan.configurations) > 1 else 1
    assert (flat == 1) == (list(plan.configurations) == ["2d"])
    for configuration in plan.configurations.values():
        dimensions = configuration.dimensions
        budget = PRESETS[preset].reference_values[dimensions] * (memory or 8.0) / 8.0
        if PRESETS[preset].patch_at_batch_two and dimensions == 2:
            budget *= 6
        topology = topology_of(configuration.strides, configuration.patch_size)
        for size, pools in zip(configuration.patch_size, configuration.num_pool_per_axis, strict=True):
            assert size % 2**pools == 0
        assert plain_unet_estimate(topology, labels) <= budget
        assert configuration.batch_size >= 2
        assert configuration.num_stages == len(configuration.strides) == len(configuration.kernel_sizes)
