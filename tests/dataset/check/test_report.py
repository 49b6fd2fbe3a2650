from __future__ import annotations

import csv
import dataclasses
import pickle
from pathlib import Path

import pytest

from umseg.common.errors import UserError
from umseg.dataset.check.problems import DatasetError, Problem
from umseg.dataset.check.report import report_problems, write_problems


def problem(number: int, kind: str = "Wrong.", severity: str = "error") -> Problem:
    return Problem(kind, f"case_{number}", Path(f"c{number}.mha"), "this", "that", "Mend it.", severity)  # type: ignore[arg-type]


def test_no_problem_no_error() -> None:
    report_problems([])


def test_one_problem_is_told_with_all_fields() -> None:
    with pytest.raises(UserError, match="Case case_1: Wrong") as raised:
        report_problems([problem(1)])
    error = raised.value
    assert (error.file, error.found, error.expected, error.remedy) == ("c1.mha", "this", "that", "Mend it.")


def test_many_problems_fit_one_screen_and_show_every_kind(tmp_path: Path) -> None:
    problems = [problem(n, "Frequent." + "x" * 10) for n in range(500)] + [problem(7, "Rare.")]
    with pytest.raises(UserError) as raised:
        report_problems(problems, tmp_path)
    text = str(raised.value)
    assert len(text.splitlines()) <= 24
    assert all(len(line) <= 200 for line in text.splitlines())
    assert "501 errors in 500 cases" in text
    assert "500 x Frequent" in text
    assert "1 x Rare." in text
    assert "case_7: c7.mha" in text
    assert "493 more than shown" in text
    assert text.count("Mend it.") == 2


def test_twelve_kinds_of_problems_fit_one_screen() -> None:
    problems = [problem(n, f"Kind {n % 12}.") for n in range(100)]
    with pytest.raises(DatasetError) as raised:
        report_problems(problems, Path("folder"), None)
    text = str(raised.value)
    assert len(text.splitlines()) <= 24
    assert all(f"Kind {n}." in text for n in range(12))


def test_warnings_stand_below_the_errors() -> None:
    problems = [problem(n, "Shifted.", "warning") for n in range(9)] + [problem(3, "Wrong."), problem(4, "Wrong.")]
    with pytest.raises(DatasetError, match="2 errors and 9 warnings in 9 cases") as raised:
        report_problems(problems)
    text = str(raised.value)
    assert text.index("2 x Wrong.") < text.index("9 x Shifted.")
    assert "    warning  case_0: c0.mha  this  expected that" in text
    assert len(raised.value.problems) == 11


def test_problem_of_no_case() -> None:
    with pytest.raises(UserError, match=r"^Wrong\.") as raised:
        report_problems([dataclasses.replace(problem(1), case="")])
    assert raised.value.file == "c1.mha"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_table_has_every_problem_errors_first(tmp_path: Path) -> None:
    awkward = dataclasses.replace(problem(5), found='a, "quoted"\nvalue')
    write_problems(tmp_path / "new" / "p.csv", [problem(1, "Shifted.", "warning"), awkward])
    first, second = rows_of(tmp_path / "new" / "p.csv")
    assert list(first) == ["severity", "case", "problem", "file", "found", "expected", "remedy"]
    assert list(first.values()) == ["error", "case_5", "Wrong.", "c5.mha", awkward.found, "that", "Mend it."]
    assert (second["severity"], second["problem"]) == ("warning", "Shifted.")


@pytest.mark.parametrize("number", [1, 300])
def test_error_names_the_table_and_its_remedy(tmp_path: Path, number: int) -> None:
    table = tmp_path / "problems.csv"
    with pytest.raises(DatasetError) as raised:
        report_problems([problem(n) for n in range(number)], tmp_path, table)
    assert len(rows_of(table)) == number
    assert str(table) in str(raised.value)
    assert "Mend it." in str(raised.value)


def test_warnings_alone_are_written_and_a_clean_data_set_clears_the_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "problems.csv"
    report_problems([problem(1, "Shifted.", "warning")], tmp_path, table)
    assert len(rows_of(table)) == 1
    assert str(table) in caplog.text
    report_problems([], tmp_path, table)
    assert not table.exists()


def test_error_arrives_whole_from_another_process() -> None:
    with pytest.raises(DatasetError) as raised:
        report_problems([problem(1), problem(2)], Path("folder"))
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert (str(copy), copy.problems) == (str(raised.value), raised.value.problems)


def test_long_texts_are_cut() -> None:
    problems = [dataclasses.replace(problem(n), found="x" * 1000) for n in range(2)]
    with pytest.raises(UserError) as raised:
        report_problems(problems)
    assert max(map(len, str(raised.value).splitlines())) < 200


def test_warnings_are_logged_once_per_kind_and_do_not_stop(caplog: pytest.LogCaptureFixture) -> None:
    report_problems([problem(n, "Shifted.", "warning") for n in range(30)])
    (record,) = caplog.records
    assert "Shifted. 30 cases" in record.getMessage()
    assert "case_0" in record.getMessage()


@pytest.mark.parametrize(
    ("files", "cases", "beginning"),
    [
        (["Thumbs.db"], [""], "Skipped. 1 file: Thumbs.db; expected"),
        (["b.ini", "c.ini"], ["", ""], "Skipped. 2 files, first: b.ini; expected"),
        (["a_0000.nii", "a.nii"], ["a", "a"], "Skipped. 2 files of 1 case, first: a_0000.nii; expected"),
        (["a.nii", "b.nii"], ["a", "b"], "Skipped. 2 cases, first: a.nii; expected"),
    ],
)
def test_a_warning_says_how_many_files_it_is_about(
    files: list[str], cases: list[str], beginning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warning = problem(1, "Skipped.", "warning")
    found = [
        dataclasses.replace(warning, case=case, file=Path(file), found=file)
        for file, case in zip(files, cases, strict=True)
    ]
    report_problems(found, tmp_path, tmp_path / "problems.csv")
    assert beginning in caplog.text
    assert ("The warning: " if len(files) == 1 else f"All {len(files)} warnings: ") in caplog.text
