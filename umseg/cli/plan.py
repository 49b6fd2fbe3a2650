"""``umseg plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umseg.architectures.registry import NETWORKS
from umseg.cli.support.console import say
from umseg.cli.support.next_step import next_step, of_workspace
from umseg.cli.support.options import WORKSPACE_ROOT, Debug, Quiet, Workers, Workspace, worker_count
from umseg.planning.rules.presets import PRESETS


def plan(
    dataset: Annotated[Path, typer.Argument(help="Data set folder with dataset.json, imagesTr/ and labelsTr/.")],
    workspace: Workspace = WORKSPACE_ROOT,
    preset: Annotated[
        str,
        typer.Option(help="Planning rules: " + "; ".join(f"{n} ({p.description})" for n, p in PRESETS.items()) + "."),
    ] = "default",
    memory_gb: Annotated[
        float | None,
        typer.Option("--memory-gb", help="GPU memory to plan for, in GB. [default: the preset's, 8 for default]"),
    ] = None,
    for_model: Annotated[
        str | None,
        typer.Option(
            help="Plan so that this model's expected memory fits, instead of the published estimate: "
            + ", ".join(NETWORKS)
            + "."
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Model folder whose plan is reused, so that its weights fit `umseg train --init-from`."),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(help="Target spacing z,y,x in mm, e.g. 2.5,0.8,0.8. [default: chosen from the data]"),
    ] = None,
    patch_size: Annotated[
        str | None,
        typer.Option(help="Patch z,y,x of the 3-D configurations, or y,x of 2d, in voxels. [default: what fits]"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=2**17, help="Patches per training iteration. [default: what fits]"),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", help="Configuration to preprocess; repeat for several. [default: all]"),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of the folds, umseg's or nnU-Net's splits_final.json. [default: the folds of an earlier "
            "plan, which new cases enter, or five random folds]"
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV table of cases that belong together (of one patient, for example), which no fold separates: "
            "columns case and group, or id_a and id_b. [default: groups.csv beside dataset.json, if it exists]"
        ),
    ] = None,
    fix_geometry: Annotated[
        bool, typer.Option("--fix-geometry", help="Use copies of the label maps with the header of their image.")
    ] = False,
    reorient: Annotated[
        str | None,
        typer.Option(
            help="Turn every image to these axes when it is read, e.g. RAS: right, anterior, superior. "
            "[default: as stored]"
        ),
    ] = None,
    store_dtype: Annotated[
        str, typer.Option(help="Number format of preprocessed images: float32, or float16 for half the disk space.")
    ] = "float32",
    workers: Workers = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check and measure a data set, decide how to train on it, and preprocess it."""
    PRESETS.look_up(preset, "--preset")
    if for_model is not None:
        NETWORKS.look_up(for_model, "--for-model")
    from umseg.dataset.dataset import Dataset, require_folder

    # torch is imported after this.
    require_folder(dataset)
    from umseg.models.measured_memory import MemoryMeter
    from umseg.planning import Overrides
    from umseg.preprocess.store.case_store import as_store_dtype
    from umseg.reports.summary import plan_summary
    from umseg.workflows.plan import plan_dataset

    planned, fingerprint, decided = plan_dataset(
        dataset,
        workspace,
        preset=preset,
        memory_gb=memory_gb,
        for_model=for_model,
        like=like,
        overrides=Overrides.parse(spacing, patch_size, batch_size),
        configurations=config,
        splits=splits,
        groups=groups,
        fix_geometry=fix_geometry,
        reorient=reorient,
        store_dtype=as_store_dtype(store_dtype),
        workers=worker_count(workers),
        quiet=quiet,
    )
    measure = MemoryMeter(planned.memory_file)
    say(plan_summary(fingerprint, decided, planned.load(Dataset).description, measure))
    say(f"Workspace: {planned.folder}")
    if planned.data_page.exists():
        say(f"The data set in pictures, odd cases first: {planned.data_page}")
    chosen = [] if not config or decided.default_configuration in config else ["--config", config[0]]
    say(next_step("train", of_workspace(planned.folder), chosen))
