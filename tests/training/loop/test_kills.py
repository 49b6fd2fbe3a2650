"""A run that is killed again and again, and one whose disk is full: nothing is lost, nothing is half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blobs import write_blobs
from umseg.common.errors import UserError
from umseg.training import TrainingConfig, train
from umseg.training.saved.checkpoint import load_tensors
from umseg.workflows.plan import plan_dataset
from umseg.workspace import BEST, FINAL, LATEST

CONFIG = TrainingConfig(model="nnunet", epochs=8, iterations=3, validation_iterations=1, ema=0.9, optimizer="adamw")
KILLS = 20

# A fork of a process that has imported everything starts at once, so that the moments fall into the training.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from tests.training.loop.test_kills import CONFIG, KILLS, check
from umseg.training import train

workspace = Path(sys.argv[1])
draw = random.Random(0)
fold = workspace / "models" / "nnunet-killed__3d_fullres" / "fold_0"
for kill in range(KILLS):
    child = os.fork()
    if child == 0:
        train(workspace, CONFIG, device="cpu", tag="killed", quiet=True)
        os._exit(0)
    time.sleep(draw.uniform(0.1, float(sys.argv[2])))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    check(fold)
train(workspace, CONFIG, device="cpu", tag="killed", quiet=True)
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kills")
    folder = write_blobs(root / "Dataset906_Kills", num_cases=5)
    planned, _, _ = plan_dataset(folder, root / "w", configurations=["3d_fullres"], quiet=True)
    return planned.folder


def check(fold: Path) -> None:
    """Whatever the moment, every file that is there is whole."""
    for name in (LATEST, BEST, FINAL):
        if (fold / name).exists():
            load_tensors(fold / name, "")
    if (fold / "log.csv").exists():
        assert (fold / "log.csv").read_text().endswith("\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_and_continued_the_weights_are_those_of_an_undisturbed_run(workspace: Path) -> None:
    start = time.monotonic()
    undisturbed = train(workspace, CONFIG, device="cpu", tag="undisturbed", quiet=True)
    # Some of the moments lie before the first checkpoint, and in most runs some epochs pass.
    longest = 0.5 * (time.monotonic() - start)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLER, str(workspace), str(longest)], env=environment, check=True)
    killed = workspace / "models" / "nnunet-killed__3d_fullres" / "fold_0"
    assert (killed / FINAL).read_bytes() == (undisturbed / FINAL).read_bytes()
    assert not list(killed.glob(".tmp-*")), "leftovers of killed runs are removed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small disk takes root")
    yield folder
    # Lazily: tensors may still be mapped from its files.
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("left", [10_000, 3_000_000])
def test_on_a_full_disk_the_last_checkpoint_stays(workspace: Path, small_disk: Path, tmp_path: Path, left: int) -> None:
    planned = shutil.copytree(workspace, tmp_path / workspace.name, ignore=shutil.ignore_patterns("models"))
    (planned / "models").symlink_to(small_disk)
    short = CONFIG.model_copy(update={"epochs": 1})
    fold = train(planned, short, device="cpu", quiet=True)
    before = (fold / LATEST).read_bytes()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - left))
    with pytest.raises(UserError, match="disk is full") as caught:
        train(planned, short.model_copy(update={"epochs": 2}), device="cpu", quiet=True)
    assert str(fold) in str(caught.value.file)
    assert (fold / LATEST).read_bytes() == before
    check(fold)
    filler.unlink()
    train(planned, short.model_copy(update={"epochs": 2}), device="cpu", quiet=True)
    assert len(load_tensors(fold / LATEST, "")[1]["log"]) == 2
