"""Scores of short trainings with and without Mamba layers, under several optimisers, on one data set.

    umseg plan DATASET --preset cpu --config 3d_fullres --patch-size 32,40,32 --batch-size 2
    python -m benchmarks.ssm_training umseg-workspace/DATASET [--seeds 0 1 2] [--iterations 250] [--only NAME ...]
                                      [--optimizers NAME ...]

The benchmark trains every variant with every seed on fold 0, segments the held-out cases and scores them. DSC and
seconds per iteration are written to ``ssm_training.jsonl`` in the workspace, one line per run. Runs in that file are
not repeated, so that a stopped benchmark continues. At the end, or with ``--table``, the mean and standard deviation
over the seeds are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from umseg.evaluation import Metrics
from umseg.models import ModelOptions
from umseg.training import TrainingConfig, train
from umseg.workflows.validate import validate_fold
from umseg.workspace import Workspace

EPOCHS = 10
_OPTIMIZERS: dict[str, tuple[str, str | None]] = {
    "SGD": ("sgd", None),
    "SGD, AdamW for the SSM layers": ("sgd", "adamw"),
    "AdamW": ("adamw", None),
    "Muon": ("muon", None),
}
_NETWORKS = {
    "no SSM": ("umamba_enc", ModelOptions(ssm=False)),
    "bottleneck": ("umamba_bot", ModelOptions()),
    "bottleneck, residual": ("umamba_bot", ModelOptions(ssm_residual=True)),
    "every stage": ("umamba_enc", ModelOptions()),
    "every stage, residual": ("umamba_enc", ModelOptions(ssm_residual=True)),
}
VARIANTS = {
    (network, optimizer): (*_NETWORKS[network], *_OPTIMIZERS[optimizer])
    for network in _NETWORKS
    for optimizer in _OPTIMIZERS
    if _NETWORKS[network][1].ssm or _OPTIMIZERS[optimizer][1] is None
}


def run(workspace: Workspace, network: str, optimizer: str, seed: int, iterations: int) -> dict[str, Any]:
    """Train and validate one variant with one seed."""
    model, options, main, ssm = VARIANTS[network, optimizer]
    config = TrainingConfig(
        model=model,
        options=options,
        optimizer=main,
        ssm_optimizer=ssm,
        epochs=EPOCHS,
        iterations=iterations // EPOCHS,
        validation_iterations=1,
        seed=seed,
    )
    tag = f"{main}-{ssm}-{seed}"
    folder = train(workspace.folder, config, tag=tag, discard=[config.fold], quiet=True)
    metrics = validate_fold(workspace, folder, quiet=True)
    assert isinstance(metrics, Metrics)
    # The first epoch is left out, because it compiles kernels.
    epochs = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    column = epochs[0].index("seconds_per_iteration")
    return {
        "network": network,
        "optimizer": optimizer,
        "seed": seed,
        "iterations": iterations,
        "dice": metrics.foreground_mean.scores["dsc"].mean,
        "nsd": metrics.foreground_mean.scores["nsd"].mean,
        "seconds_per_iteration": statistics.median(float(row[column]) for row in epochs[2:]),
    }


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The runs that are complete."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(runs: list[dict[str, Any]]) -> str:
    """A table with one row per variant: the DSC over the seeds and of every seed, the mean NSD, and the time."""
    lines = [
        "| SSM | optimiser | DSC, mean ± std | DSC per seed | NSD 1 mm | s per iteration |",
        "|---|---|---|---|---|---|",
    ]
    for network, optimizer in VARIANTS:
        mine = [r for r in runs if (r["network"], r["optimizer"]) == (network, optimizer)]
        if mine:
            dice = [r["dice"] for r in sorted(mine, key=lambda r: int(r["seed"]))]
            spread = f" ± {statistics.stdev(dice):.3f}" if len(dice) > 1 else ""
            seconds = statistics.median(r["seconds_per_iteration"] for r in mine)
            nsd = statistics.mean(r["nsd"] for r in mine)
            each = " ".join(f"{d:.3f}" for d in dice)
            lines.append(
                f"| {network} | {optimizer} | {statistics.mean(dice):.3f}{spread} | {each} | {nsd:.3f} "
                f"| {seconds:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, help="workspace of the planned data set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--only", nargs="+", choices=list(_NETWORKS), default=list(_NETWORKS))
    parser.add_argument("--optimizers", nargs="+", choices=list(_OPTIMIZERS), default=list(_OPTIMIZERS))
    parser.add_argument("--table", action="store_true", help="only print the runs that are complete")
    arguments = parser.parse_args()
    workspace = Workspace(arguments.workspace.absolute())
    path = workspace.folder / "ssm_training.jsonl"
    for seed in [] if arguments.table else arguments.seeds:
        for network, optimizer in VARIANTS:
            key = {"network": network, "optimizer": optimizer, "seed": seed, "iterations": arguments.iterations}
            if network not in arguments.only or optimizer not in arguments.optimizers:
                continue
            if any(key.items() <= done.items() for done in read_runs(path)):
                continue
            result = run(workspace, network, optimizer, seed, arguments.iterations)
            with path.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)
    print(table(read_runs(path)))


if __name__ == "__main__":
    main()
