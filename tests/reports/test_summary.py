from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tests.planning.test_planner import fingerprint_of
from umseg.architectures.memory.layers import Training, TrainingMemory
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.common.text import LINE
from umseg.dataset.description import DatasetDescription
from umseg.planning import Overrides, make_plan
from umseg.planning.classes import ClassStatistics
from umseg.reports.summary import plan_summary


def summarise(spacings: list[Any], shapes: list[Any], description: DatasetDescription, **choices: Any) -> str:
    fingerprint = fingerprint_of(spacings, shapes)
    classes = {
        "liver": ClassStatistics(cases=2, median_size=1_500_000, min_size=1_234_567, max_size=1_800_000),
        "tumour": ClassStatistics(cases=0, median_size=0, min_size=0, max_size=0),
    }
    fingerprint = fingerprint.model_copy(update={"classes": classes})
    plan = make_plan(fingerprint, description, **choices)
    text = plan_summary(fingerprint, plan, description, choices.get("measure"))
    assert max(map(len, text.splitlines())) <= LINE
    return text


def flat(text: str) -> str:
    """The text with one space between words."""
    return " ".join(text.split())


def describe(ending: str = ".nii.gz") -> DatasetDescription:
    return DatasetDescription(
        channel_names={"0": "CT", "1": "PET"},
        labels={"background": 0, "liver": 1, "tumour": 2},
        numTraining=50,
        file_ending=ending,
    )


def test_volumes() -> None:
    lines = summarise([(2.5, 0.8, 0.8), (5.0, 0.8, 0.8)], [(100, 512, 512), (50, 512, 512)], describe())
    start = lines.index("median 3.75") - lines.index("  spacing")
    assert f"\n{'':{start}}" in lines, "a value goes on below its beginning"
    text = flat(lines)
    assert "2 cases, 3-D" in text
    assert "CT (CT), PET (ZScore)" in text
    assert "median 3.75 x 0.8 x 0.8, from 2.5 x 0.8 x 0.8 to 5 x 0.8 x 0.8 mm" in text
    assert "liver in 2 of 2 cases, median 1,500 ml (from 1,235 to 1,800)" in text
    assert "Warning: these classes occur in no case and cannot be learned: tumour 2d:" in text
    assert "100 x 512 x 512 voxels, after cropping empty borders" in text
    assert "3d_lowres: spacing" in text
    assert "3d_cascade_fullres: 3d_fullres with the result of 3d_lowres as input" in text
    assert text.count("expected GPU memory in training, GB: umamba_enc") == 3
    assert "swin_unetr" not in text


def test_pictures_have_no_physical_size() -> None:
    text = summarise([(999, 1, 1)], [(1, 512, 640)], describe(".png"))
    assert "1 case, 2-D" in text
    assert "spacing (" not in text
    assert "size (y, x):        512 x 640 pixels, after cropping empty borders" in text
    assert "1,500,000 px" in text
    assert " mm" not in text


def test_slices_have_areas() -> None:
    assert "1,500,000 mm²" in summarise([(8.0, 1.2, 1.2)], [(1, 320, 320)], describe())


def test_reasons_name_what_was_planned_for() -> None:
    text = flat(summarise([(1, 1, 1)], [(300, 300, 300)], describe(), memory_gb=24.0, for_model="umamba_enc"))
    assert "Preset default, memory target 24 GB for umamba_enc. A patch covers 100% of the median image." in text
    small = summarise([(1, 1, 1)], [(100, 100, 100)], describe(), overrides=Overrides(patch_size=(48, 48, 48)))
    assert "A patch covers 11% of the median image." in small


def test_the_model_that_was_planned_for_is_listed_though_it_was_measured() -> None:
    def measure(spec: ModelSpec, stages: Sequence[Stage], training: Training) -> TrainingMemory:
        return TrainingMemory(0, 5 * math.prod(stages[0].size) * training.batch_size, 0, 2 * 10**9)

    text = flat(
        summarise([(1, 1, 1)], [(64, 64, 64)], describe(), memory_gb=8.0, for_model="swin_unetr", measure=measure)
    )
    assert text.count(", swin_unetr 2.0") == 2
    assert "unetr 2.0" not in text.replace("swin_unetr", "")


def test_control_characters_of_names_do_not_reach_the_terminal() -> None:
    fingerprint = fingerprint_of([(1, 1, 1)], [(40, 40, 40)])
    size = ClassStatistics(cases=1, median_size=1, min_size=1, max_size=1)
    fingerprint = fingerprint.model_copy(update={"classes": {"liver\x1b[2J": size}})
    assert "\x1b" not in plan_summary(fingerprint, make_plan(fingerprint, describe()), describe())
