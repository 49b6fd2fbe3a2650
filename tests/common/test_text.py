from __future__ import annotations

import pytest

from umseg.common.text import LINE, by, counted, duration, few, listed, table, with_commas, wrapped


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


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (1234567, "1,234,567 cases")]
)
def test_counted(number: int, expected: str) -> None:
    assert counted(number, "case") == expected
    assert counted(2, "axis", "axes") == "2 axes"


def test_listed() -> None:
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (36000, "10 h"), (6e5, "7 days")],
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_names_with_commas_are_put_together_again() -> None:
    known = ("a", "b, c", "d,e,f")
    assert with_commas(["b", "c", "a", "d", "e", "f"], known) == ["b, c", "a", "d,e,f"]
    assert with_commas(["c", "b"], known) == ["c", "b"]


def test_wrapped() -> None:
    text = "word " * 40
    lines = wrapped(text.strip(), indent="    ", first="  a: ")
    assert lines[0].startswith("  a: word")
    assert lines[1].startswith("    word")
    assert max(map(len, lines)) <= LINE
    assert " ".join(line.strip() for line in lines) == f"a: {text.strip()}"
    assert wrapped("") == [""]
