from __future__ import annotations

from umseg.common.text import by, few


def test_few_names_are_all_shown() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few(str(n) for n in range(5)) == "0, 1, 2, 3, 4"
    assert few([]) == ""


def test_of_many_names_the_rest_is_counted() -> None:
    assert few(map(str, range(8))) == "0, 1, 2, 3, 4 and 3 more"
    assert few("abc", most=2) == "a, b and 1 more"


def test_sizes() -> None:
    assert by((512, 512, 80)) == "512 x 512 x 80"
    assert by([1.5]) == "1.5"
