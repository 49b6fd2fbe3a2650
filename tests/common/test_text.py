from __future__ import annotations

import pytest

from umseg.common.text import by, few, table


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(0, 2, ""), (1, 2, "n0"), (2, 2, "n0, n1"), (3, 2, "n0, n1 and 1 more"), (7, 5, "n0, n1, n2, n3, n4 and 2 more")],
)
def test_few(count: int, most: int, expected: str) -> None:
    assert few([f"n{i}" for i in range(count)], most) == expected
    assert few((f"n{i}" for i in range(count)), most=most) == expected


def test_by() -> None:
    assert by((40, 56, 40)) == "40 x 56 x 40"
    assert by([2.5, 0.78125]) == "2.5 x 0.78125"


def test_table_aligns_columns() -> None:
    rows = [("name", "n", "note"), ("a", "10", ""), ("longer", "5", "seen")]
    assert table(rows, right=[1], underlined=[0]) == [
        "name     n  note",
        "-" * 16,
        "a       10",
        "longer   5  seen",
    ]
    assert table(rows[:1], gap=1) == ["name n note"]


def test_rows_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table([("a", "b"), ("c",)])
