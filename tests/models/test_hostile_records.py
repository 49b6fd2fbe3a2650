"""Any JSON value in place of any part of a record: a valid record or a clear error, never anything else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.plans import SMALL
from tests.planning.test_planner import describe, fingerprint_of
from umseg.architectures.options import ModelOptions
from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription, load_description
from umseg.models.card import ModelCard
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.foreign import read_foreign_plan
from umseg.planning.plan import Plan
from umseg.planning.planner import make_plan
from umseg.planning.stages import configuration_stages
from umseg.training.config.training_config import TrainingConfig

TRIES = 250
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 10**9, 10**400, -(10**30), 0.5, -0.0, 1e-300, 1e300, "", "a", "1", "..", "a/b",
    "/etc", "\0", "\x1b[2J", "x" * 10_000, [], [0], [[]], [1, 2, 3], [1] * 5000, ["a"], [None], {}, {"0": 0}, {"a": {}},
    {"background": 0}, {"..": 1}, [1e300] * 3, [0.0] * 3, [-1, -1, -1], [[1, 1, 1]] * 40, "all", "nan", "Infinity",
)  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of a JSON document."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[path[0]] = changed(content[path[0]], path[1:], value)
    return copy


def build_stages(plan: Plan) -> None:
    for configuration in plan.configurations.values():
        configuration_stages(configuration)


def read(kind: str, path: Path) -> None:
    """Load a record as umseg does, and use what needs consistent fields."""
    if kind == "plan":
        build_stages(Plan.load(path, ""))
    elif kind == "card":
        card = ModelCard.load(path, "")
        build_stages(card.plan)
        card.configuration.input_channels(card.dataset)
    elif kind == "fingerprint":
        make_plan(Fingerprint.load(path, ""), describe(3, 20))
    elif kind == "description":
        description = load_description(path)
        assert description.num_classes >= 1
        assert description.label_values
    elif kind == "config":
        TrainingConfig.load(path, "")
    else:
        build_stages(read_foreign_plan(path))


def refusal(kind: str, path: Path) -> str | None:
    """The message by which a record is refused; None if it can be used."""
    try:
        read(kind, path)
    except UserError as error:
        return str(error)
    return None


PLAN = make_plan(fingerprint_of([(2.5, 0.8, 0.8)], [(100, 512, 512)]), describe(3, 50))
CARD = ModelCard(
    umseg_version="0.1.0",
    model="umamba_bot",
    options=ModelOptions(),
    configuration_name="3d_fullres",
    dataset=DatasetDescription(
        channel_names={"0": "CT"}, labels={"background": 0, "a": 1}, numTraining=3, file_ending=".nii.gz"
    ),
    plan=PLAN.model_copy(update={"configurations": {"2d": SMALL["2d"], "3d_fullres": SMALL["3d"]}}),
    mirror_axes=(0, 1),
)


def foreign() -> dict[str, Any]:
    content = PLAN.model_dump(mode="json")
    entry = {**content["configurations"]["3d_fullres"], "UNet_class_name": "PlainConvUNet"}
    entry |= {"UNet_base_num_features": 32, "unet_max_num_features": 320, "pool_op_kernel_sizes": entry["strides"]}
    entry |= {"conv_kernel_sizes": entry["kernel_sizes"], "n_conv_per_stage_encoder": entry["n_conv_per_stage"]}
    second = {"inherits_from": "3d_fullres", "batch_size": 4}
    return {**content, "plans_name": "nnUNetPlans", "configurations": {"3d_fullres": entry, "more": second}}


RECORDS: dict[str, Callable[[], Any]] = {
    "plan": lambda: PLAN.model_dump(mode="json"),
    "card": lambda: CARD.model_dump(mode="json"),
    "fingerprint": lambda: fingerprint_of([(1, 1, 1)] * 3, [(36, 50, 35)] * 3).model_dump(mode="json"),
    "description": lambda: {
        **CARD.dataset.model_dump(mode="json", exclude_none=True),
        "labels": {"background": 0, "a": [1, 2], "b": 2},
        "regions_class_order": [1, 2],
    },
    "config": lambda: TrainingConfig().model_dump(mode="json"),
    "foreign": foreign,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_any_value_ends_as_a_record_or_a_clear_error(kind: str, tmp_path: Path) -> None:
    content, path, refused = RECORDS[kind](), tmp_path / "record.json", 0
    path.write_text(json.dumps(content))
    read(kind, path)
    everywhere, drawn = list(places(content)), random.Random(7)
    for _ in range(TRIES):
        path.write_text(json.dumps(changed(content, drawn.choice(everywhere), drawn.choice(VALUES))))
        message = refusal(kind, path)
        refused += message is not None
        assert message is None or len(message) < 3000
    assert refused > TRIES / 4


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (("configurations", "2d", "patch_size"), [20, 20], "patch_size"),
        (("configurations", "2d", "patch_size"), [0, 32], "patch_size.0"),
        (("configurations", "2d", "patch_size"), [2**20, 2**20], "patch_size"),
        (("configurations", "2d", "batch_size"), -1, "batch_size"),
        (("configurations", "2d", "batch_size"), 10**6, "batch_size"),
        (("configurations", "2d", "spacing"), [-1, 1], "spacing.0"),
        (("configurations", "2d", "spacing"), [1, 1, 1], "spacing"),
        (("configurations", "2d", "strides"), [], "strides"),
        (("configurations", "2d", "strides", 0), [2, 2], "strides"),
        (("configurations", "2d", "kernel_sizes", 0), [2, 2], "kernel_sizes"),
        (("configurations", "2d", "features_per_stage", 0), 10**9, "features_per_stage.0"),
        (("configurations", "2d", "features_per_stage"), [32] * 10**5, "features_per_stage"),
        (("configurations", "2d", "n_conv_per_stage", 0), 10**8, "n_conv_per_stage.0"),
        (("configurations", "2d", "use_mask_for_norm"), [False, True], "use_mask_for_norm"),
        (("configurations", "3d_cascade_fullres", "inherits_from"), "3d_lowres", "inherits_from"),
        (("configurations", "3d_cascade_fullres", "inherits_from"), "../../x", "inherits_from"),
        (("configurations", "3d_lowres", "previous_stage"), "3d_cascade_fullres", "previous_stage"),
        (("configurations", "2d", "previous_stage"), "2d", "previous_stage"),
        (("transpose_forward",), [0, 0, 1], "transpose_forward"),
        (("transpose_backward",), [2, 0, 1], "transpose_backward"),
        (("memory_gb",), -1, "memory_gb"),
        (("dataset_name",), "../x", "dataset_name"),
    ],
)
def test_the_field_of_a_plan_that_is_wrong_is_named(
    place: tuple[Any, ...], value: object, field: str, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(changed(PLAN.model_dump(mode="json"), place, value)))
    with pytest.raises(UserError, match=rf"field '[^']*{field}'") as caught:
        Plan.load(path, "")
    assert caught.value.expected


@pytest.mark.parametrize("name", ["../../x", "a/b", "/tmp/x", "..", "con", "a\\b"])
def test_a_configuration_cannot_name_a_place_outside_of_the_workspace(name: str, tmp_path: Path) -> None:
    content = PLAN.model_dump(mode="json")
    content["configurations"][name] = content["configurations"]["2d"]
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="configurations"):
        Plan.load(tmp_path / "plan.json", "")


@pytest.mark.parametrize("stage", [".", "..", "../..", "/tmp", "a/../..", "C:/x", "a\0b", ""])
def test_a_first_stage_is_another_folder(stage: str, tmp_path: Path) -> None:
    content = CARD.model_dump(mode="json")
    configurations = PLAN.model_dump(mode="json")["configurations"]
    content |= {"configuration_name": "3d_cascade_fullres", "first_stage": stage}
    content["plan"]["configurations"] = configurations
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="field 'first_stage'"):
        ModelCard.load(tmp_path / "model.json", "")
    content["first_stage"] = "../../elsewhere/nnunet__3d_lowres"
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert ModelCard.load(tmp_path / "model.json", "").first_stage == content["first_stage"]
