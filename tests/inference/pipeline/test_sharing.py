"""Several runs write into one folder; what a killed one left is made by the next."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.claimants import member_elsewhere
from tests.dataset.builder import names_in, write_image
from tests.inference.models import COLOUR_FILES, make_image
from umseg.common.errors import UserError
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.inference.pipeline import folder as folder_run
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.inference.pipeline.record import RECORD, PredictionRecord
from umseg.inference.segmenter import Segmentation

CASES = tuple("abcdef")
KEPT = sorted([*(f"{case}.nii.gz" for case in CASES), "dataset.json", *COLOUR_FILES, RECORD])

# Runs a prediction, and dies by SIGKILL when the network has seen so many cases.
DYING = """
import os, signal, sys
from pathlib import Path
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
real, left = LoadedModel.segment, int(sys.argv[4])

def label_map(self, *arguments):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return real(self, *arguments)

LoadedModel.segment = label_map
Predictor(Path(sys.argv[1]), "cpu", precision="fp32").predict_files(sys.argv[2], sys.argv[3], quiet=True)
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for seed, case in enumerate(CASES):
        write_image(tmp_path / "in" / f"{case}_0000.nii.gz", make_image(seed=seed))
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_run, "_SECONDS_BETWEEN_LOOKS", 0.02)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def test_two_runs_share_the_cases(
    model: Path, predictor: Predictor, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor.predict_files(inputs, tmp_path / "expected", quiet=True)
    begun, both = Counter[int](), threading.Barrier(2)
    real = LoadedModel.segment

    def label_map(self: LoadedModel, *arguments: Any) -> Segmentation:
        begun[id(self)] += 1
        if begun[id(self)] == 1:
            both.wait(30)
        return real(self, *arguments)

    monkeypatch.setattr(LoadedModel, "segment", label_map)
    results: list[list[Path]] = []

    def run() -> None:
        other = Predictor(model, "cpu", precision="fp32")
        results.append(other.predict_files(inputs, tmp_path / "out", quiet=True))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
    assert names_in(tmp_path / "out") == KEPT
    assert results[0] == results[1] == sorted(results[0])
    assert len(begun) == 2
    assert sum(begun.values()) == len(CASES)


def test_a_run_waits_for_cases_that_are_at_work_elsewhere(
    predictor: Predictor, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    (tmp_path / "out" / "b.nii.gz").unlink()
    terms = predictor.products().terms(predictor.model.settings)
    with member_elsewhere(tmp_path / "out", terms, "b.nii.gz") as other, caplog.at_level(logging.INFO):

        def let_go() -> None:
            end = time.monotonic() + 60
            while "Waiting for 1 case" not in caplog.text and time.monotonic() < end:
                time.sleep(0.01)
            other.kill()
            other.wait()

        thread = threading.Thread(target=let_go)
        thread.start()
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
        thread.join()
    assert f"at work elsewhere: process {other.pid} on" in caplog.text
    assert (tmp_path / "out" / "b.nii.gz").exists()


def test_other_settings_are_refused_while_a_run_is_at_work(predictor: Predictor, inputs: Path, tmp_path: Path) -> None:
    with member_elsewhere(tmp_path / "out", "others"), pytest.raises(UserError, match="with other settings"):
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_no_resume_keeps_what_a_run_at_work_has_written(
    predictor: Predictor, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    terms = predictor.products().terms(predictor.model.settings)
    with member_elsewhere(tmp_path / "out", terms):
        predictor.predict_files(inputs, tmp_path / "out", quiet=True, resume=False)
    assert "what it has written is kept" in caplog.text
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    predictor.predict_files(inputs, tmp_path / "out", quiet=True, resume=False)
    made = {path.name for path in (tmp_path / "out").glob("*.nii.gz") if path.stat().st_mtime_ns > stamps[path.name]}
    assert len(made) == len(CASES)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed otherwise here")
def test_a_killed_run_is_continued_and_its_case_comes_last(
    model: Path, predictor: Predictor, inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.predict_files(inputs, tmp_path / "expected", quiet=True)
    command = [sys.executable, "-c", DYING, str(model), str(inputs), str(tmp_path / "out"), "2"]
    done = subprocess.run(command, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    there = contents(tmp_path / "out")
    assert there.items() <= contents(tmp_path / "expected").items()
    order: list[str] = []
    record = PredictionRecord.begin

    def begin(self: PredictionRecord, paths: Any) -> None:
        named = list(paths)
        order.extend(path.name[0] for path in named if path.suffix == ".gz")
        record(self, named)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(PredictionRecord, "begin", begin)
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
    assert names_in(tmp_path / "out") == KEPT
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    (line,) = (record.getMessage() for record in caplog.records if "was killed while" in record.getMessage())
    suspects = re.findall(r"\b[a-f]\b", line.split("worked on")[1])
    assert "c" in suspects
    # Of the suspects, the one in the network was begun before the one that was read ahead.
    assert order == [*sorted(set(order) - set(suspects)), *sorted(suspects, reverse=True)]


def test_two_writers_do_not_lose_lines_of_the_record(tmp_path: Path) -> None:
    first, second = PredictionRecord(tmp_path), PredictionRecord(tmp_path)

    def add(record: PredictionRecord, name: str) -> None:
        for number in range(50):
            record.begin([tmp_path / f"{name}{number}"])

    threads = [threading.Thread(target=add, args=pair) for pair in ((first, "a"), (second, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / RECORD).read_text().splitlines()
    assert sorted(json.loads(line)["file"] for line in lines) == sorted(f"{n}{i}" for n in "ab" for i in range(50))
    first.refresh()
    assert first.entry(tmp_path / "b49") == second.entry(tmp_path / "b49") is not None


def test_a_line_is_not_added_to_one_that_was_cut(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text('{"file": "a"}\n{"file": "b')
    record = PredictionRecord(tmp_path)
    record.begin([tmp_path / "c"])
    again = PredictionRecord(tmp_path)
    assert [again.entry(tmp_path / name) is None for name in "abc"] == [False, True, False]


class TestParts:
    def test_parts_are_disjoint_and_together_everything(
        self, predictor: Predictor, inputs: Path, tmp_path: Path
    ) -> None:
        parts = [
            [path.name[0] for path in predictor.predict_files(inputs, tmp_path / "out", quiet=True, part=(number, 4))]
            for number in range(4)
        ]
        assert parts == [["a", "e"], ["b", "f"], ["c"], ["d"]]
        assert names_in(tmp_path / "out") == KEPT
        assert predictor.predict_files(inputs, tmp_path / "out", quiet=True, part=(6, 7)) == []

    def test_a_case_that_cannot_be_read_belongs_to_one_part(
        self, predictor: Predictor, inputs: Path, tmp_path: Path
    ) -> None:
        write_image(inputs / "c_0001.nii.gz", make_image())
        predictor.predict_files(inputs, tmp_path / "out", quiet=True, part=(0, 3))
        with pytest.raises(FailedCasesError, match="Case c was not segmented"):
            predictor.predict_files(inputs, tmp_path / "out", quiet=True, part=(2, 3))
        assert (tmp_path / "out" / "failures.json").exists()
        predictor.predict_files(inputs, tmp_path / "out", quiet=True, part=(1, 3))
        assert (tmp_path / "out" / "failures.json").exists()

    @pytest.mark.parametrize("part", [(4, 4), (-1, 2), (0, 0)])
    def test_there_is_no_such_part(
        self, predictor: Predictor, inputs: Path, tmp_path: Path, part: tuple[int, int]
    ) -> None:
        with pytest.raises(UserError, match="no such part"):
            predictor.predict_files(inputs, tmp_path / "out", quiet=True, part=part)
        assert not (tmp_path / "out").exists()
