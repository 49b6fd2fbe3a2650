"""What fails is said at once, listed in a file, and leaves the other cases alone, at whichever stage it is."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builder import names_in, write_image
from tests.inference.models import COLOUR_FILES, make_image
from umseg.common.errors import UserError
from umseg.dataset.check.problems import Problem
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.inference.pipeline import cases
from umseg.inference.pipeline.failure_list import FAILURES, FailureList, Failures
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.inference.pipeline.record import RECORD, PredictionRecord

IMAGES = ("a", "b", "c", "d")
STAGES = ["reading", "network", "post-processing", "writing"]
Raiser = Callable[[], BaseException]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for seed, case in enumerate(IMAGES):
        write_image(tmp_path / "in" / f"{case}_0000.nii.gz", make_image(seed=seed))
    return tmp_path / "in"


def break_stage(patch: pytest.MonkeyPatch, stage: str, error: Raiser, call: int = 2) -> None:
    """Let the n-th call at a stage raise an error."""
    owner, name = {
        "reading": (LoadedModel, "prepare"),
        "network": (LoadedModel, "segment"),
        "post-processing": (LoadedModel, "finish"),
        "writing": (cases, "write_label"),
    }[stage]
    real, calls = getattr(owner, name), iter(range(1, 99))

    def broken(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise error()
        return real(*arguments, **options)

    patch.setattr(owner, name, broken)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", [RuntimeError("broken"), MemoryError("no 5 GB"), UserError("not this one")])
def test_an_error_at_any_stage_costs_one_case(
    predictor: Predictor,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stage: str,
    error: Exception,
) -> None:
    output = tmp_path / "out"
    if stage == "reading" and isinstance(error, MemoryError):
        # It would be read again once the network is idle, so that the first case has to fail.
        call, failing = 1, "a"
    else:
        call, failing = 2, "b"
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        break_stage(patch, stage, lambda: error, call)
        with pytest.raises(FailedCasesError) as caught:
            predictor.predict_files(inputs, output, quiet=True)
    others = [f"{case}.nii.gz" for case in IMAGES if case != failing]
    assert [path.name for path in caught.value.written] == others
    assert names_in(output) == [*others, "dataset.json", FAILURES, *COLOUR_FILES, RECORD]
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"Case {failing} was not segmented: ")
    (listed,) = json.loads((output / FAILURES).read_text())["failures"]
    assert listed["case"] == failing
    assert set(listed) == {"case", "problem", "file", "found", "expected", "remedy"}
    assert listed["problem"] in line
    assert len(predictor.predict_files(inputs, output, quiet=True)) == len(IMAGES)
    assert not (output / FAILURES).exists()


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_is_heard_at_every_stage(
    predictor: Predictor, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Python raises it in the main thread; raised in another one it must not be lost either."""
    with monkeypatch.context() as patch:
        break_stage(patch, stage, KeyboardInterrupt, 3)
        with pytest.raises(KeyboardInterrupt):
            predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert "d.nii.gz" not in names_in(tmp_path / "out")
    assert len(predictor.predict_files(inputs, tmp_path / "out", quiet=True)) == len(IMAGES)


def test_a_full_disk_ends_the_run_and_names_the_file(
    predictor: Predictor, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> UserError:
        error = UserError("The disk is full: the file was not written.", file=tmp_path / "out" / "b.nii.gz")
        error.__cause__ = OSError(28, "No space left on device")
        return error

    with monkeypatch.context() as patch:
        break_stage(patch, "writing", full)
        with pytest.raises(UserError, match="disk is full") as caught:
            predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    assert not isinstance(caught.value, FailedCasesError)
    assert caught.value.file == str(tmp_path / "out" / "b.nii.gz")
    assert [name for name in names_in(tmp_path / "out") if name.endswith(".gz")] == ["a.nii.gz"]
    stamp = (tmp_path / "out" / "a.nii.gz").stat().st_mtime_ns
    predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    assert (tmp_path / "out" / "a.nii.gz").stat().st_mtime_ns == stamp
    assert [name for name in names_in(tmp_path / "out") if name.endswith(".gz")] == [f"{c}.nii.gz" for c in IMAGES]


def test_a_record_that_can_no_longer_be_written_ends_the_run(
    predictor: Predictor, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = PredictionRecord.begin, iter(range(9))

    def begin(self: PredictionRecord, paths: Any) -> None:
        if next(calls) == 2:
            raise UserError("The file cannot be written.", file=self.folder / RECORD)
        real(self, paths)

    monkeypatch.setattr(PredictionRecord, "begin", begin)
    with pytest.raises(UserError, match="cannot be written") as caught:
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    assert caught.value.file == str(tmp_path / "out" / RECORD)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)


class TestFile:
    @pytest.fixture
    def record(self, tmp_path: Path) -> PredictionRecord:
        return PredictionRecord(tmp_path)

    def problem(self, case: str, problem: str = "damaged") -> Problem:
        return Problem(problem, case, Path("x.nii.gz"), found="", expected="", remedy="")

    def listed(self, folder: Path) -> list[str]:
        return [failure.case for failure in Failures.load(folder / FAILURES, "").failures]

    def test_cases_are_added_and_dropped(self, record: PredictionRecord, tmp_path: Path) -> None:
        first, second = FailureList(record), FailureList(PredictionRecord(tmp_path))
        first.update([self.problem("b")], ())
        second.update([self.problem("a"), self.problem("c")], ())
        assert self.listed(tmp_path) == ["a", "b", "c"]
        first.update([], ["c", "x"])
        assert self.listed(tmp_path) == ["a", "b"]
        second.begin({"b", "z"})
        assert self.listed(tmp_path) == ["b"]
        second.update([], ["b"])
        assert not (tmp_path / FAILURES).exists()

    def test_problems_of_no_case_are_told_apart_by_their_files(self, record: PredictionRecord, tmp_path: Path) -> None:
        other = Problem("a copy", "", Path("y.nii.gz"), found="", expected="", remedy="")
        FailureList(record).update([self.problem(""), other], ())
        assert self.listed(tmp_path) == ["", ""]

    def test_a_file_of_that_name_that_is_something_else_is_not_replaced(
        self, predictor: Predictor, inputs: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / FAILURES).write_text("[]")
        with pytest.raises(UserError, match=r"failures\.json") as caught:
            predictor.predict_files(inputs, tmp_path / "out", quiet=True)
        assert "--overwrite" in str(caught.value.remedy)
        predictor.predict_files(inputs, tmp_path / "out", quiet=True, overwrite=True)
        assert not (tmp_path / "out" / FAILURES).exists()

    def test_a_list_that_cannot_be_written_is_told_of(
        self, record: PredictionRecord, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / FAILURES).mkdir()
        FailureList(record).update([self.problem("a")], ())
        assert "cannot be written" in caplog.text
