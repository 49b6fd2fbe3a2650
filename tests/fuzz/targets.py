"""What is fuzzed: for every kind of file, valid samples, how they are changed, and how umseg reads and uses them."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fuzz import samples
from tests.fuzz.mutations import mutate_bytes, mutate_json
from tests.inference.bundle import zips
from umseg.common.errors import UserError
from umseg.inference.bundle.manifest import MANIFEST

Mutation = Callable[[bytes, random.Random], bytes]
Use = Callable[[Path, Path], None]
"""Reads a changed file (first path) that lies in the folder of the samples (second path)."""


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        write: Writes valid samples into a folder.
        files: Glob pattern of the files that are changed.
        mutate: Changes the bytes of a file.
        use: Reads the file as a verb would; a ``UserError`` is a good outcome.
        share: How many of 1,000 mutations are for this target.
    """

    write: Callable[[Path], None]
    files: str
    mutate: Mutation
    use: Use
    share: int = 30


def mutate_packed(content: bytes, rng: random.Random) -> bytes:
    """Change a gzip stream, or what is inside."""
    if content[:2] != b"\x1f\x8b" or rng.random() < 0.3:
        return mutate_bytes(content, rng)
    return samples.pack(content, lambda inside: mutate_bytes(inside, rng))


def mutate_tensors(content: bytes, rng: random.Random) -> bytes:
    """Change a safetensors file: its header as JSON, or any of its bytes."""
    if rng.random() < 0.5:
        return mutate_bytes(content, rng)
    return samples.change_header(content, lambda header: mutate_json(header, rng))


def mutate_checkpoint(content: bytes, rng: random.Random) -> bytes:
    """Change a torch checkpoint: its pickle, or any of its bytes."""
    if rng.random() < 0.5:
        return mutate_bytes(content, rng)
    return samples.change_zip(content, lambda inside: mutate_bytes(inside, rng), "data.pkl")


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """Change a JSON document, or one line of a file that has a document in each line."""
    lines = content.splitlines(keepends=True)
    if len(lines) < 2 or not all(line.startswith(b"{") for line in lines):
        return mutate_json(content, rng)
    number = rng.randrange(len(lines))
    lines[number] = mutate_json(lines[number], rng).replace(b"\n", b" ") + b"\n"
    return b"".join(lines)


def mutate_bundle(content: bytes, rng: random.Random) -> bytes:
    """Change any bytes of a bundle, or a file in it; then the checksums are mostly made to fit."""
    if rng.random() < 0.4:
        return mutate_bytes(content, rng)
    files = zips.read(content)
    name = rng.choice(list(files))
    mutate = mutate_json if name.endswith(".json") else mutate_tensors
    changed = {**files, name: mutate(files[name], rng)}
    fits = name != MANIFEST and rng.random() < 0.8
    return zips.packed(zips.described(changed) if fits else changed)


def read_picture(path: Path, folder: Path) -> None:
    """Look at a file's header alone, and read it as an image and as a label map.

    Raises:
        UserError: It can be read in none of these ways.
    """
    from umseg.dataset.io.images import count_components, read_geometry, read_image, read_label

    errors = []
    ways: tuple[Callable[[Path], object], ...] = (
        count_components,
        read_geometry,
        lambda file: read_image([file], 1),
        read_label,
    )
    for read in ways:
        try:
            read(path)
        except UserError as error:
            errors.append(error)
    if len(errors) == len(ways):
        raise errors[0]


def read_beside(path: Path, folder: Path) -> None:
    """Read the header of an image whose voxels lie in another file, whichever of the two was changed."""
    headers = {".nhdr", ".mhd"}
    read_picture(path if path.suffix not in (".raw", ".zraw", ".gz") else _header_of(path, headers), folder)


def read_series(path: Path, folder: Path) -> None:
    """Read a DICOM series."""
    read_picture(folder / "series", folder)


def predict(path: Path, folder: Path) -> None:
    """Load a model folder and segment a small image."""
    from umseg.inference import Predictor

    image = np.random.default_rng(0).normal(size=(1, 6, 10, 9)).astype(np.float32)
    Predictor(folder / "model", "cpu", precision="fp32").predict(image, (2.0, 1.0, 1.0))


def resume(path: Path, folder: Path) -> None:
    """Continue a training from its checkpoint, by one iteration."""
    from umseg.training.config.training_config import TrainingConfig
    from umseg.training.loop.run import train
    from umseg.workspace import ModelFolder

    workspace = folder / "workspace"
    fold = ModelFolder(workspace / "models" / "nnunet__3d_fullres").fold(0)
    config = TrainingConfig.load(fold.config_file, "").model_copy(update={"epochs": 3})
    copy = folder.with_name("resumed")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(workspace, copy)
    train(copy, config, device="cpu", quiet=True, max_seconds=0)


def read_workspace(path: Path, folder: Path) -> None:
    """Read every record of a workspace and plan again from its fingerprint."""
    from umseg.dataset.dataset import Dataset
    from umseg.planning import Fingerprint, Plan, make_plan
    from umseg.reports.status import find_runs, format_runs
    from umseg.reports.summary import plan_summary
    from umseg.training.data.splits import Splits, fold_cases
    from umseg.workspace import Workspace

    workspace = Workspace(folder / "workspace")
    dataset = workspace.load(Dataset)
    plan = workspace.load(Plan)
    fingerprint = workspace.load(Fingerprint)
    fold_cases(workspace.load(Splits), 0, [case.id for case in dataset.cases], workspace.file(Splits))
    make_plan(fingerprint, dataset.description)
    plan_summary(fingerprint, plan, dataset.description)
    format_runs(find_runs(workspace))


def read_store(path: Path, folder: Path) -> None:
    """Open every preprocessed case, read it and verify it."""
    from umseg.preprocess import CaseStore

    store = CaseStore(folder / "workspace" / "preprocessed" / "3d_fullres")
    for case_id in store.case_ids():
        if path.name.startswith(f"{case_id}."):
            with contextlib.suppress(UserError):
                case = store.open(case_id)
                np.asarray(case.data[:]).sum()
                if case.label is not None:
                    np.asarray(case.label[:]).max()
            store.verify([case_id], quiet=True)


def read_scores(path: Path, folder: Path) -> None:
    """Read scores."""
    from umseg.evaluation import load_metrics

    load_metrics(path)


def plan_dataset(path: Path, folder: Path) -> None:
    """Plan a data set; its description, its folds or its groups were changed."""
    from umseg.workflows.plan import plan_dataset as plan

    made = folder.with_name("planned")
    shutil.rmtree(made, ignore_errors=True)
    splits = path if path.name == "splits.json" else None
    plan(folder / "data", made, preset="cpu", splits=splits, quiet=True)


def convert(path: Path, folder: Path) -> None:
    """Convert a task of the Decathlon."""
    from umseg.dataset.convert.msd import convert_msd

    made = folder.with_name("converted")
    shutil.rmtree(made, ignore_errors=True)
    convert_msd(folder / "Task99_Small", made, quiet=True)


def read_manifest(path: Path, folder: Path) -> None:
    """Read a table of cases."""
    from umseg.dataset.convert.manifest import USUAL_COLUMNS
    from umseg.dataset.convert.manifest import read_manifest as read

    read(path, USUAL_COLUMNS)


def read_options(path: Path, folder: Path) -> None:
    """Read options of a training and make its configuration."""
    from umseg.cli.support.options_file import read_options as read
    from umseg.training.config.training_config import TrainingConfig

    TrainingConfig.from_options(dict(read(path)))


def import_model(path: Path, folder: Path) -> None:
    """Import a model of nnU-Net."""
    from umseg.workflows.import_model import import_nnunet

    made = folder.with_name("imported")
    shutil.rmtree(made, ignore_errors=True)
    import_nnunet(folder, made)


def import_bundle(path: Path, folder: Path) -> None:
    """Import a bundle."""
    from umseg.workflows.bundle.imported import import_bundle as unpack

    made = folder.with_name("imported")
    shutil.rmtree(made, ignore_errors=True)
    unpack(path, made)


def _header_of(path: Path, endings: set[str]) -> Path:
    return next(other for other in sorted(path.parent.iterdir()) if other.suffix in endings)


TARGETS: dict[str, Target] = {
    "nifti": Target(samples.write_nifti, "*.nii*", mutate_packed, read_picture, 110),
    "nrrd": Target(samples.write_nrrd, "*", mutate_bytes, read_beside, 110),
    "metaimage": Target(samples.write_metaimage, "*", mutate_bytes, read_beside, 110),
    "tiff": Target(samples.write_tiff, "*.tif", mutate_bytes, read_picture, 130),
    "pictures": Target(samples.write_pictures, "*.*", mutate_bytes, read_picture, 110),
    "dicom": Target(samples.write_dicom, "series/*", mutate_bytes, read_series, 60),
    "dataset": Target(samples.write_dataset, "data/dataset.json", mutate_json, plan_dataset, 20),
    "folds": Target(samples.write_dataset, "splits.json", mutate_json, plan_dataset, 10),
    "groups": Target(samples.write_dataset, "data/groups.csv", mutate_bytes, plan_dataset, 10),
    "decathlon": Target(samples.write_decathlon, "*/dataset.json", mutate_json, convert, 20),
    "manifest": Target(samples.write_manifest, "manifest.csv", mutate_bytes, read_manifest),
    "workspace": Target(samples.write_workspace, "workspace/*.json", mutate_json, read_workspace, 80),
    "runs": Target(samples.write_workspace, "workspace/models/*/*/*.json*", mutate_lines, read_workspace, 40),
    "cases": Target(samples.write_workspace, "workspace/preprocessed/*/*.json", mutate_json, read_store, 20),
    "arrays": Target(samples.write_workspace, "workspace/preprocessed/*/*.b2nd", mutate_bytes, read_store, 40),
    "locations": Target(samples.write_workspace, "workspace/preprocessed/*/*.safetensors", mutate_tensors, read_store),
    "scores": Target(samples.write_workspace, "**/metrics.json", mutate_json, read_scores),
    "options": Target(samples.write_options, "*.yaml", mutate_bytes, read_options, 20),
    "card": Target(samples.write_model, "model/model.json", mutate_json, predict, 40),
    "weights": Target(samples.write_model, "model/fold_0/weights_final.safetensors", mutate_tensors, predict, 20),
    "bundle": Target(samples.write_bundle, "small.umseg", mutate_bundle, import_bundle, 40),
    "checkpoint": Target(
        samples.write_workspace, "workspace/models/*/*/checkpoint_latest.safetensors", mutate_tensors, resume, 10
    ),
    "foreign_plan": Target(samples.write_foreign, "*.json", mutate_json, import_model, 15),
    "foreign_weights": Target(samples.write_foreign, "fold_*/*.pth", mutate_checkpoint, import_model, 15),
}
"""Every kind of file."""


def mutation(target: str, number: int, content: Callable[[Path], bytes], files: list[Path]) -> tuple[Path, bytes]:
    """One changed file: always the same for a target and a number."""
    rng = random.Random(f"{target} {number}")
    path = rng.choice(files)
    return path, TARGETS[target].mutate(content(path), rng)
