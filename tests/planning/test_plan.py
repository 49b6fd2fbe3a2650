from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.planning.test_planner import describe, fingerprint_of
from umseg.common.errors import UserError
from umseg.planning.plan import Plan
from umseg.planning.planner import make_plan


@pytest.fixture
def plan() -> Plan:
    return make_plan(fingerprint_of([(1, 1, 1)], [(36, 50, 35)]), describe(3, 208))


def test_shape_of_a_configuration(plan: Plan) -> None:
    assert (plan.configuration("2d").dimensions, plan.configuration("3d_fullres").dimensions) == (2, 3)
    assert plan.configuration("3d_fullres").num_stages == 4


def test_unknown_configuration_lists_the_known(plan: Plan) -> None:
    with pytest.raises(UserError, match="Unknown configuration '3d'") as raised:
        plan.configuration("3d")
    assert raised.value.expected == "2d or 3d_fullres"


@pytest.mark.parametrize(("change", "named"), [({"schema_version": 2}, "schema_version"), ({"extra": 1}, "extra")])
def test_other_versions_and_unknown_fields_are_refused(
    plan: Plan, tmp_path: Path, change: dict[str, int], named: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**plan.model_dump(mode="json"), **change}))
    with pytest.raises(UserError, match=named):
        Plan.load(path, "plan again")
