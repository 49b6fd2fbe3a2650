"""What a case needs is said before it is computed, and is what it takes."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.dataset.builder import write_image
from tests.inference.models import make_image, make_plan, write_model, write_weights
from tests.training.factories import make_configuration
from umseg.common import memory as common_memory
from umseg.dataset.io.images import read_label
from umseg.inference import Predictor
from umseg.inference import model as inference_model
from umseg.inference.needs import LATER
from umseg.inference.pipeline import memory as pipeline_memory
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.inference.windows import strips
from umseg.models.card import load_card
from umseg.preprocess import foresight

RUN = """
import json, sys
import psutil
from umseg.cli import main
sys.argv = ["umseg", "predict", *sys.argv[1:]]
try:
    main()
finally:
    if sys.platform == "linux":  # where resource counts what the parent process had
        lines = open("/proc/self/status").read().splitlines()
        peak = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    elif sys.platform == "darwin":
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    else:
        peak = psutil.Process().memory_info().peak_wset
    print(json.dumps(peak))
"""
SAID = re.compile(r"needs about ([\d.]+) GB of ([\d.]+) GB")


def write_large_model(folder: Path, classes: int, **configuration: Any) -> Path:
    """A model whose windows have 74,000 voxels and whose sums take most of the memory."""
    labels = {"background": 0, **{f"class {number}": number for number in range(1, classes)}}
    write_model(folder, folds=(), labels=labels)
    plan = make_plan(3, (0, 1, 2))
    large = make_configuration((32, 48, 48), **configuration)
    card = load_card(folder).model_copy(update={"plan": plan.model_copy(update={"configurations": {"small": large}})})
    card.save(folder / "model.json")
    write_weights(folder, "0", card.build_network())
    return folder


@pytest.mark.parametrize(
    ("classes", "options", "fields"),
    [
        (60, [], {}),
        (60, ["--memory", "0.15", "--precision", "fp32"], {}),
        # All voxels of a channel are looked at before the first is changed, and twice as many come out.
        (2, [], {"normalization_schemes": ("ZScoreNormalization",), "spacing": (0.8, 0.8, 0.8)}),
    ],
    ids=["sums", "strips", "preprocessing"],
)
def test_what_is_said_is_true_within_a_tenth(
    tmp_path: Path, classes: int, options: list[str], fields: dict[str, Any]
) -> None:
    write_large_model(tmp_path / "model", classes, **fields)
    write_image(tmp_path / "in" / "ct_0000.nii.gz", make_image((100, 200, 200)))
    command = ["--model", tmp_path / "model", "--input", tmp_path / "in", "--output", tmp_path / "out", "--step", "1"]
    run = [sys.executable, "-c", RUN, *map(str, command), *options]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    peak = json.loads(done.stdout.splitlines()[-1])
    (said,) = SAID.findall(done.stderr)
    assert 1e9 * float(said[0]) == pytest.approx(peak, rel=0.1)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for case, side in (("a", 9), ("b", 9), ("c", 40)):
        write_image(tmp_path / "in" / f"{case}_0000.nii.gz", make_image((side, side, side)))
    return tmp_path / "in"


def limit(patch: pytest.MonkeyPatch, available: int) -> None:
    for module in (common_memory, inference_model, pipeline_memory, strips):
        patch.setattr(module, "available_memory", lambda: available)


def test_only_cases_that_need_more_than_those_before_are_spoken_of(
    predictor: Predictor,
    inputs: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Beside the program and the slabs of preprocessing, such small images do not count.
    monkeypatch.setattr(pipeline_memory, "LATER", -psutil.Process().memory_info().rss)
    monkeypatch.setattr(foresight, "_SLABS", 0)
    with caplog.at_level(logging.INFO):
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    said = [record.getMessage() for record in caplog.records if " needs about " in record.getMessage()]
    assert [line.split()[1] for line in said] == ["a", "c"]
    assert all("while another one is read and a third one written" in line for line in said)


def test_a_case_that_does_not_fit_is_refused_and_the_others_are_segmented(
    predictor: Predictor, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(inputs / "d_0000.nii.gz", make_image((200, 300, 300)))
    limit(monkeypatch, LATER + 60_000_000)
    with pytest.raises(FailedCasesError) as caught:
        predictor.predict_files(inputs, tmp_path / "out", quiet=True)
    (problem,) = caught.value.problems
    assert problem.case == "d"
    assert problem.problem == "Prediction needs more memory than there is."
    assert re.search(r"case d in the thinnest strips: needs [\d.]+ .B; this machine has [\d.]+ .B", str(problem.found))
    assert len(caught.value.written) == 3


def test_where_there_is_less_memory_strips_are_thinner_and_labels_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_large_model(tmp_path / "model", 60)
    image = make_image((32, 120, 120))
    write_image(tmp_path / "in" / "a_0000.nii.gz", image)
    plenty = Predictor(folder, "cpu", precision="fp32", step=1.0)
    needed = plenty.model.needs(image[None], (1, 1, 1)).at_once(image.nbytes)
    limit(monkeypatch, LATER + needed - 30_000_000)
    little = Predictor(folder, "cpu", precision="fp32", step=1.0)
    (path,) = little.predict_files(tmp_path / "in", tmp_path / "out", quiet=True)
    model: Any = little.model
    assert len(model.strips(model.prepare(image[None], (1, 1, 1)))) > 1
    assert needed - 100_000_000 < model.needs(image[None], (1, 1, 1)).at_once(image.nbytes) < needed - 30_000_000
    assert np.array_equal(read_label(path).array, plenty.predict(image[None], (1, 1, 1)))
