from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from tests.models.outside import HALVING, install
from umseg.architectures.options import ModelOptions
from umseg.architectures.registry import NETWORKS, network_spec, network_specs
from umseg.common.errors import UserError


def test_the_table_knows_the_networks_by_their_names() -> None:
    assert list(NETWORKS) == [
        "umamba_enc",
        "umamba_bot",
        "umamba_enc_released",
        "umamba_bot_released",
        "nnunet",
        "nnunet_resenc",
        "segresnet",
        "unetr",
        "swin_unetr",
    ]
    for name, spec in NETWORKS.items():
        assert spec.name == name
        assert spec.origin
        assert spec.options <= ModelOptions.model_fields.keys()
        assert spec.has_mamba_layers == name.startswith("umamba")


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Unknown model 'unmamba_enc'") as caught:
        network_spec("unmamba_enc")
    assert caught.value.remedy == "Did you mean 'umamba_enc'?"


def test_another_package_adds_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, halving="tests.models.outside:HALVING", gone="umseg_no_such_module:NETWORK")
    assert network_spec("halving") is HALVING
    # A package that cannot be imported does not keep the others from being listed.
    assert [spec.name for spec in network_specs()][-2:] == ["swin_unetr", "halving"]
    with pytest.raises(UserError, match="'gone' cannot be imported"):
        network_spec("gone")


def test_the_entry_point_has_the_networks_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, other="tests.models.outside:HALVING")
    with pytest.raises(UserError, match="'other' calls itself 'halving'") as caught:
        network_spec("other")
    assert "'halving'" in str(caught.value.found)


def test_an_entry_point_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, sine="math:sin")
    with pytest.raises(UserError, match="wrong type"):
        network_spec("sine")


def test_the_table_loads_no_torch() -> None:
    code = "import sys, umseg.architectures.registry; print({'torch', 'monai'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_entry_points_are_found_in_the_documented_group() -> None:
    assert NETWORKS.group == "umseg.networks"
    assert EntryPoint("halving", "tests.models.outside:HALVING", NETWORKS.group).load() is HALVING
