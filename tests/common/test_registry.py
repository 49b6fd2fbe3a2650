from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from umseg.common import registry as module
from umseg.common.errors import UserError
from umseg.common.registry import Registry, nearest


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The entry points that installed packages declare; tests add to it."""
    declared: list[EntryPoint] = []
    monkeypatch.setattr(module, "entry_points", lambda group: [e for e in declared if e.group == group])
    return declared


def table(**options: Any) -> Registry[Any]:
    return Registry("number", "umseg.numbers", {"one": 1, "two": 2}, **options)


def test_own_entries_come_first_and_in_their_order(packages: list[EntryPoint]) -> None:
    packages.append(EntryPoint("e", "math:e", "umseg.numbers"))
    numbers = table()
    assert list(numbers) == ["one", "two", "e"]
    assert len(numbers) == 3
    assert numbers["two"] == 2


def test_an_entry_point_is_imported_when_it_is_looked_up(packages: list[EntryPoint]) -> None:
    packages.append(EntryPoint("gone", "umseg_no_such_module:x", "umseg.numbers"))
    packages.append(EntryPoint("pi", "math:pi", "umseg.numbers"))
    numbers = table()
    assert "gone" in numbers
    assert numbers.look_up("pi") == pytest.approx(3.14159, abs=1e-5)
    assert list(numbers) == ["one", "two", "pi", "gone"]
    with pytest.raises(UserError, match="number 'gone' cannot be imported") as error:
        numbers["gone"]
    assert "umseg_no_such_module" in str(error.value)


def test_other_groups_are_left_alone(packages: list[EntryPoint]) -> None:
    packages.append(EntryPoint("pi", "math:pi", "umseg.letters"))
    assert "pi" not in table()


@pytest.mark.parametrize("names", [("one",), ("pi", "pi")])
def test_a_name_belongs_to_one_package(packages: list[EntryPoint], names: tuple[str, ...]) -> None:
    packages.extend(EntryPoint(name, "math:pi", "umseg.numbers") for name in names)
    with pytest.raises(UserError, match=f"Two packages define the number '{names[0]}'"):
        list(table())


def test_an_entry_of_the_wrong_type_is_refused(packages: list[EntryPoint]) -> None:
    packages.append(EntryPoint("sin", "math:sin", "umseg.numbers"))
    with pytest.raises(UserError, match="wrong type"):
        table(accepts=float)["sin"]


def test_an_entry_carries_the_name_of_its_entry_point(packages: list[EntryPoint]) -> None:
    packages.append(EntryPoint("sin", "math:sin", "umseg.numbers"))
    packages.append(EntryPoint("sine", "math:sin", "umseg.numbers"))
    numbers = table(named_by="__name__")
    assert numbers["sin"](0) == 0
    with pytest.raises(UserError, match="number 'sine' calls itself 'sin'") as error:
        numbers["sine"]
    assert "umseg.numbers" in str(error.value.expected)


def test_an_unknown_name_suggests_the_nearest(packages: list[EntryPoint]) -> None:
    with pytest.raises(UserError, match="Did you mean 'two'"):
        table().look_up("Twoo", "--number")
    with pytest.raises(UserError, match=r"known names with --number") as error:
        table().look_up("zzz", "--number")
    assert error.value.expected == "one, two"
    with pytest.raises(KeyError):
        table()["zzz"]


def test_nearest_ignores_letter_case() -> None:
    assert nearest("UMAMBA_ENK", ["umamba_bot", "umamba_enc"]) == "umamba_enc"
    assert nearest("x", ["umamba_bot"]) is None
