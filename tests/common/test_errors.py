from __future__ import annotations

import pickle
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from umseg.common.errors import UserError


def test_shows_everything_the_user_needs() -> None:
    error = UserError(
        "The image is flat.", file=Path("a") / "b.nii", found=(1, 2), expected="3 axes", remedy="Stack the slices."
    )
    assert str(error).splitlines() == [
        "The image is flat.",
        f"  file:     {Path('a') / 'b.nii'}",
        "  found:    (1, 2)",
        "  expected: 3 axes",
        "  remedy:   Stack the slices.",
    ]


def test_leaves_out_what_is_not_known() -> None:
    assert str(UserError("Nothing more to say.")) == "Nothing more to say."


def test_shows_what_counts_as_false() -> None:
    assert "found:    0" in str(UserError("Too few cases.", found=0))


texts = st.none() | st.text(min_size=1)


@given(problem=st.text(), file=texts, found=texts, expected=texts, remedy=texts)
def test_survives_pickling(
    problem: str, file: str | None, found: str | None, expected: str | None, remedy: str | None
) -> None:
    error = UserError(problem, file=file, found=found, expected=expected, remedy=remedy)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is UserError
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert copy.args == error.args


def test_file_is_added_where_none_is_named() -> None:
    error = UserError("Wrong.", found=1, expected=2, remedy="Mend it.")
    assert str(error.at("a.nii.gz")) == str(
        UserError("Wrong.", file="a.nii.gz", found=1, expected=2, remedy="Mend it.")
    )
    assert UserError("Wrong.", file="b").at("a").file == "b"


def test_texts_from_elsewhere_send_no_commands_to_the_terminal() -> None:
    error = UserError("Class \x1b[31mred.", file="a\nremedy: \x9b2J.nii", found="\u202egnp\udc80", remedy="x" * 10_000)
    lines = str(error).splitlines()
    assert lines[:3] == [
        "Class \\x1b[31mred.",
        "  file:     a\\nremedy: \\x9b2J.nii",
        "  found:    \\u202egnp\\udc80",
    ]
    assert lines[3].endswith("x ... (10012 letters)")
    assert (error.file, error.remedy) == ("a\nremedy: \x9b2J.nii", "x" * 10_000)
