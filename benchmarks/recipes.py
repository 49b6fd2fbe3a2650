"""The score of ``--recipe quick`` in a tenth of the iterations of ``--recipe paper``, on one data set.

    umseg plan DATASET --preset cpu --config 3d_fullres --patch-size 32,40,32 --batch-size 2
    python -m benchmarks.recipes umseg-workspace/DATASET [--config 3d_fullres] [--model nnunet] [--iterations 1000]
                                 [--seeds 0 1 2] [--set NAME=VALUE ...] [--picture FILE]

The benchmark trains on fold 0, segments the held-out cases and scores them by the mean DSC of the classes or the F1 of
objects. The scores and the Dice of the validation patches during training are written to ``recipes.jsonl`` in the
workspace, one line per run. Runs in that file are not repeated. ``--set`` changes options of quick, to try other
values. At the end the mean and standard deviation over the seeds are printed; ``--picture`` draws the curves.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import yaml

from umseg.common.record import Record
from umseg.evaluation import InstanceMetrics
from umseg.planning.plan import Plan
from umseg.training import TrainingConfig, train
from umseg.training.watch.log import EpochLog
from umseg.workflows.validate import validate_fold
from umseg.workspace import Workspace

EPOCHS = 20
SHARE = {"paper": 1, "quick": 10}
"""Number by which the iterations of each recipe are divided."""


class Run(Record):
    """One training.

    Attributes:
        recipe: Name of the recipe, ``paper`` or ``quick``, with the options that were changed in it.
        iterations: Number of iterations in total.
        seed: Seed of the training.
        score: DSC, or F1 of objects, of the held-out cases.
        curve: Pairs of the iterations so far and the Dice of the validation patches.
        seconds: Duration of all epochs in seconds.
    """

    recipe: str
    iterations: int
    seed: int
    score: float
    curve: tuple[tuple[int, float], ...]
    seconds: float


def run(workspace: Workspace, name: str, iterations: int, options: dict[str, Any]) -> Run:
    """Train and validate one run."""
    per_epoch = iterations // EPOCHS
    config = TrainingConfig.from_options(
        {**options, "epochs": EPOCHS, "iterations": per_epoch, "validation_iterations": max(5, per_epoch // 5)}
    )
    tag = "".join(c if c.isalnum() else "-" for c in f"{name}-{iterations}-{config.seed}")
    folder = train(workspace.folder, config, tag=tag, workers=1, discard=[config.fold], quiet=True)
    metrics = validate_fold(workspace, folder, quiet=True)
    assert metrics is not None
    score = metrics.F1.mean if isinstance(metrics, InstanceMetrics) else metrics.foreground_mean.scores["dsc"].mean
    rows = [EpochLog.model_validate_json(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return Run(
        recipe=name,
        iterations=iterations,
        seed=config.seed,
        score=score or 0.0,
        curve=tuple((row.epoch * per_epoch, row.mean_dice) for row in rows),
        seconds=sum(row.seconds for row in rows),
    )


def read_runs(path: Path) -> list[Run]:
    """The runs that are complete."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Run.model_validate_json(line) for line in lines]


def table(runs: list[Run]) -> str:
    """A table with one row per recipe and number of iterations."""
    lines = ["| recipe | iterations | score, mean ± std | per seed | seconds |", "|---|---|---|---|---|"]
    for key in dict.fromkeys((r.recipe, r.iterations) for r in runs):
        mine = sorted((r for r in runs if (r.recipe, r.iterations) == key), key=lambda r: r.seed)
        scores = [r.score for r in mine]
        spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
        each = " ".join(f"{score:.3f}" for score in scores)
        seconds = statistics.median(r.seconds for r in mine)
        lines.append(f"| {key[0]} | {key[1]} | {statistics.mean(scores):.3f}{spread} | {each} | {seconds:.0f} |")
    return "\n".join(lines)


def draw(path: Path, runs: list[Run], title: str) -> None:
    """Draw the Dice of the validation patches over the iterations, with one curve per seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for colour, name in zip(("tab:blue", "tab:orange"), SHARE, strict=True):
        for number, shown in enumerate(r for r in runs if r.recipe == name):
            axis.plot(*zip(*shown.curve, strict=True), color=colour, label=name if number == 0 else None)
    axis.set(xscale="log", xlabel="iterations", ylabel="Dice of validation patches", ylim=(0, 1), title=title)
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="workspace of the planned data set")
    parser.add_argument("--config")
    parser.add_argument("--model", default="nnunet")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=list(SHARE))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    workspace = Workspace(given.workspace.absolute())
    path = workspace.folder / "recipes.jsonl"
    changes = {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in given.set)}
    for seed in given.seeds:
        for recipe in [given.only] if given.only else SHARE:
            changed = changes if recipe == "quick" else {}
            name = " ".join([recipe, *(f"{key}={value}" for key, value in changed.items())])
            iterations = given.iterations // SHARE[recipe]
            if any((r.recipe, r.iterations, r.seed) == (name, iterations, seed) for r in read_runs(path)):
                continue
            configuration = given.config or workspace.load(Plan).default_configuration
            options = {"recipe": recipe, "configuration": configuration, "model": given.model, "seed": seed, **changed}
            done = run(workspace, name, iterations, options)
            with path.open("a") as file:
                file.write(json.dumps(done.model_dump(mode="json")) + "\n")
            print(name, iterations, seed, f"{done.score:.3f}", f"{done.seconds:.0f} s", flush=True)
    print(table(read_runs(path)))
    if given.picture:
        shown = [r for r in read_runs(path) if r.iterations == given.iterations // SHARE.get(r.recipe, 1)]
        draw(given.picture, shown, f"{workspace.folder.name}, {given.model}")


if __name__ == "__main__":
    main()
