from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.planning.test_planner import describe, fingerprint_of
from umseg.common.errors import UserError
from umseg.planning.foreign import read_foreign_plan
from umseg.planning.plan import Configuration
from umseg.planning.planner import make_plan


def as_foreign(configuration: Configuration, first_form: bool) -> dict[str, Any]:
    """A configuration as nnU-Net would write it."""
    mine = configuration.model_dump(mode="json", exclude_none=True)
    network = ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_conv_per_stage_decoder")
    entry = {name: value for name, value in mine.items() if name not in network and name != "num_pool_per_axis"}
    if not first_form:
        kwargs = {name: mine[name] for name in network}
        return {**entry, "architecture": {"network_class_name": "...PlainConvUNet", "arch_kwargs": kwargs}}
    return {
        **entry,
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 32,
        "unet_max_num_features": 320,
        "pool_op_kernel_sizes": mine["strides"],
        "conv_kernel_sizes": mine["kernel_sizes"],
        "n_conv_per_stage_encoder": mine["n_conv_per_stage"],
        "n_conv_per_stage_decoder": mine["n_conv_per_stage_decoder"],
    }


@pytest.mark.parametrize("first_form", [False, True])
def test_both_forms_give_the_plan_back(tmp_path: Path, first_form: bool) -> None:
    plan = make_plan(fingerprint_of([(2.5, 0.8, 0.8)], [(100, 512, 512)]), describe(14, 50))
    content = plan.model_dump(mode="json")
    entries = {
        name: as_foreign(configuration, first_form)
        for name, configuration in plan.configurations.items()
        if name.startswith("3d")
    }
    entries["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    path = tmp_path / "plans.json"
    path.write_text(json.dumps({**content, "plans_name": "nnUNetPlans", "configurations": entries}))
    mine = read_foreign_plan(path)
    assert mine.preset == "nnUNetPlans"
    assert mine.configurations == {name: plan.configurations[name] for name in entries}


@pytest.mark.parametrize("name", ["D1_ct_aniso", "D2_mr_iso_crop", "D3_ct_lowres"])
def test_recorded_plans_are_read(shared: Path, name: str) -> None:
    plan = read_foreign_plan(shared / "reference" / "preprocess" / name / "nnUNetPlans.json")
    assert {"2d", "3d_fullres"} <= set(plan.configurations)
    assert plan.configuration("3d_fullres").num_stages == len(plan.configuration("3d_fullres").strides)


@pytest.mark.parametrize(
    "content",
    [{}, {"configurations": {"2d": {}}}, {"configurations": {"a": {"inherits_from": "a"}}}, [], {"configurations": 3}],
)
def test_what_is_no_such_plan_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="not a plan of nnU-Net v2"):
        read_foreign_plan(path)
