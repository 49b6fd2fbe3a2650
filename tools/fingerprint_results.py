"""Print hashes of what umseg computes, so that two commits can be compared line by line.

A change that only moves or renames code must not change any result. Run this before and after it, and compare::

    python tools/fingerprint_results.py > before.txt
    git switch BRANCH
    python tools/fingerprint_results.py > after.txt
    diff before.txt after.txt

``--code FOLDER`` measures the package of another checkout with this very script, e.g. of a commit without it.

Only the command line and the names that the packages export are used, so that the script outlives such a change. Each
line is a hash (or, for losses and scores, the number itself) and the name of the result; lines of a section are sorted:

* ``plans``: the plan of every recorded fingerprint (tests/golden/plans.json) by the rules of every preset.
* ``preprocess``: plans, folds and preprocessed cases of real images (twenty of hippocampus MRI, twenty of nuclei).
* ``weights``: every model after a few seeded iterations on a CPU, and a few options of training.
* ``predict``: label maps of some of these models.
* ``metrics``: scores of these label maps, and of reference label maps that were moved by one voxel.

The same commit prints the same lines again on the same machine. Another processor or another version of torch may
change the last bits of weights, and with them all that follows from weights. A result that cannot be computed is
``failed``; the reason is on standard error, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from safetensors import deserialize

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("plans", "preprocess", "weights", "predict", "metrics")
PRESETS = ("default", "nnunet", "resenc-m", "resenc-l", "resenc-xl", "cpu")
NUM_CASES = 20
NUM_PREDICTED = 3

Results = dict[str, str]
"""Name of a result to its hash or number."""


@dataclass(frozen=True)
class Planned:
    """A workspace: the data set that is planned, and how."""

    dataset: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """A run of ``umseg train`` in one of the workspaces."""

    workspace: str
    options: tuple[str, ...]


WORKSPACES = {
    "hippocampus": Planned(
        "Dataset004_Hippocampus", ("--preset", "cpu", "--patch-size", "24,32,24", "--batch-size", "2")
    ),
    # Other voxels than the images have: everything is resampled.
    "hippocampus-resampled": Planned(
        "Dataset004_Hippocampus", ("--spacing", "2.5,0.8,1.2", "--config", "3d_fullres", "--store-dtype", "float16")
    ),
    "nuclei": Planned("Dataset703_Nuclei", ("--preset", "cpu", "--patch-size", "64,64", "--batch-size", "2")),
}

MODELS: dict[str, tuple[str, ...]] = {
    "umamba_enc": (),
    "umamba_bot": (),
    "umamba_enc_released": (),
    "umamba_bot_released": (),
    "nnunet": (),
    "nnunet_resenc": (),
    "segresnet": (),
    "unetr": (),
    # The smallest patch that it takes in 3-D, 32 x 32 x 64.
    "swin_unetr": ("--patch-size", "16,16,36", "--batch-size", "1"),
}
"""Every model, and the options that keep its training short."""

PREDICTED = ("nnunet-quick", "umamba_bot-quick", "nuclei-nnunet-quick")
"""Runs whose networks segment images: those that learn enough in a few iterations to find something."""


def trainings() -> dict[str, Training]:
    """Every run by its name."""
    runs = {
        f"{model}-{precision}": Training(
            "hippocampus", ("--model", model, "--precision", precision, "--augmentation", "none", *options)
        )
        for model, options in MODELS.items()
        for precision in ("fp32", "bf16")
    }
    nnunet, bottleneck = ("--model", "nnunet"), ("--model", "umamba_bot")
    plain = ("--augmentation", "none")
    quick = ("--recipe", "quick", "--warmup", "2", "--iterations", "20")
    others = {
        "nnunet-augmented": nnunet,
        "nnunet-linear-transforms": (*nnunet, "--transforms", "nnunet"),
        "nnunet-focal": (*nnunet, *plain, "--loss", "dice_focal"),
        "nnunet-topk": (*nnunet, *plain, "--loss", "dice_topk"),
        "nnunet-frugal": (*nnunet, *plain, "--accumulate", "2", "--checkpoint-activations"),
        "nnunet-2d": (*nnunet, *plain, "--config", "2d"),
        "nnunet-quick": (*nnunet, *quick),
        "umamba_bot-augmented": bottleneck,
        "umamba_bot-quick": (*bottleneck, *quick),
        "umamba_bot-residual": (
            *("--model", "umamba_bot", *plain, "--ssm-residual", "--optimizer", "adamw", "--schedule", "cosine"),
            *("--warmup", "3", "--ema", "0.9", "--no-deep-supervision"),
        ),
    }
    runs |= {name: Training("hippocampus", ("--precision", "fp32", *options)) for name, options in others.items()}
    nuclei = {"nuclei-nnunet": (*nnunet, *plain), "nuclei-nnunet-quick": (*nnunet, *quick)}
    runs |= {name: Training("nuclei", ("--precision", "fp32", *options)) for name, options in nuclei.items()}
    return runs


class Bench:
    """Data sets, workspaces and runs in one folder; each is made once, when it is first asked for.

    Attributes:
        work: The folder.
        shared: Where the real images are.
        code: The folder that holds the package ``umseg`` to be measured.
        jobs: Commands that run side by side.
    """

    def __init__(self, work: Path, shared: Path, code: Path, jobs: int) -> None:
        self.work, self.shared, self.code, self.jobs = work, shared, code, jobs
        self._planned: dict[str, Path] = {}
        self._trained: dict[str, Path] = {}

    def umseg(self, *arguments: object) -> None:
        """Run a command with one thread, so that results do not depend on the number of cores."""
        command = [sys.executable, "-m", "umseg", *map(str, arguments), "--quiet"]
        path = os.pathsep.join(filter(None, (str(self.code), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"umseg {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")

    def dataset(self, name: str) -> Path:
        """A data set of a few of the real images."""
        folder = self.work / name
        if not folder.exists():
            (self._write_nuclei if "Nuclei" in name else self._write_hippocampus)(folder)
        return folder

    def workspace(self, name: str) -> Path:
        """What ``umseg plan`` made."""
        if name not in self._planned:
            planned = WORKSPACES[name]
            root = self.work / "workspaces" / name
            self.umseg("plan", self.dataset(planned.dataset), "--workspace", root, "--workers", 0, *planned.options)
            self._planned[name] = root / planned.dataset
        return self._planned[name]

    def fold(self, name: str) -> Path:
        """The folder of a trained fold."""
        if name not in self._trained:
            training = trainings()[name]
            workspace, tag = self.workspace(training.workspace), f"run-{name}"
            self.umseg(
                *("train", workspace.name, "--workspace", workspace.parent, "--tag", tag, "--epochs", 1),
                *("--iterations", 6, "--seed", 0, "--device", "cpu", "--no-validate", "--workers", 0),
                *training.options,
            )
            (self._trained[name],) = (workspace / "models").glob(f"*-{tag}__*/fold_0")
        return self._trained[name]

    def predictions(self, name: str) -> Path:
        """Label maps of a run's network, of the first images of its data set."""
        output = self.work / "predictions" / name
        if not output.exists():
            model, training = self.fold(name).parent, trainings()[name]
            dataset = self.dataset(WORKSPACES[training.workspace].dataset)
            chosen = self.work / "inputs" / name
            chosen.mkdir(parents=True)
            for image in sorted((dataset / "imagesTr").glob("*_0000.*"))[:NUM_PREDICTED]:
                shutil.copy(image, chosen)
            self.umseg(
                *("predict", "--model", model, "--input", chosen, "--output", output),
                *("--device", "cpu", "--precision", "fp32"),
            )
        return output

    def scores(self, name: str, predictions: Path, reference: Path) -> Any:
        """The content of the ``metrics.json`` of a folder of label maps."""
        output = self.work / "scores" / name
        cases = ",".join(sorted(path.name.split(".")[0] for path in label_maps(predictions)))
        self.umseg(
            *("evaluate", "--predictions", predictions, "--reference", reference, "--cases", cases),
            *("--output", output, "--workers", 0),
        )
        return json.loads((output / "metrics.json").read_text())

    def _write_hippocampus(self, folder: Path) -> None:
        source = self.shared / "data" / "Dataset004_Hippocampus"
        for name in ("imagesTr", "labelsTr"):
            (folder / name).mkdir(parents=True)
            for path in sorted((source / name).glob("*.nii.gz"))[:NUM_CASES]:
                shutil.copy(path, folder / name)
        description = json.loads((source / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": NUM_CASES}))

    def _write_nuclei(self, folder: Path) -> None:
        source, subset = self.shared / "data" / "Dataset703_DSB2018", self.work / "nuclei"
        with (source / "manifest.csv").open(newline="") as handle:
            rows = [row for row in csv.DictReader(handle) if row["split"] == "train"][:NUM_CASES]
        for name, ending in (("images", ".png"), ("instances", ".tif")):
            (subset / name).mkdir(parents=True)
            for row in rows:
                shutil.copy(source / name / (row["id"] + ending), subset / name)
        with (subset / "manifest.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        self.umseg("convert", "instances", subset, folder, "--object-name", "nucleus", "--workers", 0)


def plan_results() -> Results:
    """Every recorded fingerprint by the rules of every preset."""
    entries = json.loads((ROOT / "tests" / "golden" / "plans.json").read_text())
    results: Results = {}
    for entry in entries:
        for preset in PRESETS:
            name = f"plans/{entry['name']}/{preset}"
            results |= guarded(name, partial(plan_result, name, entry["fingerprint"], preset))
    return results


def plan_result(name: str, recorded: Mapping[str, Any], preset: str) -> Results:
    """One plan. Intensities were not recorded; they decide nothing."""
    from umseg.dataset import DatasetDescription
    from umseg.planning import Fingerprint, IntensityStatistics, make_plan

    channels = recorded["channel_names"]
    labels = {"background": 0, **{f"label_{value}": value for value in range(1, recorded["n_labels"])}}
    statistics = IntensityStatistics(
        mean=1.0, median=2.0, std=3.0, min=4.0, max=5.0, percentile_00_5=6.0, percentile_99_5=7.0
    )
    fingerprint = Fingerprint(
        dataset_name="Dataset001_Toy",
        spacings=tuple(map(tuple, recorded["spacings"])),
        shapes_after_crop=tuple(map(tuple, recorded["shapes"])),
        foreground_intensity_properties_per_channel={str(index): statistics for index in range(len(channels))},
        median_relative_size_after_cropping=recorded.get("median_relative_size_after_cropping", 1.0),
        case_ids=tuple(f"case_{number}" for number in range(len(recorded["shapes"]))),
    )
    description = DatasetDescription(
        channel_names={str(index): channel for index, channel in enumerate(channels)},
        labels=labels,
        numTraining=recorded["num_training"],
        file_ending=".nii.gz",
    )
    plan = make_plan(fingerprint, description, preset)
    return {name: hash_document(plan.model_dump(mode="json"))}


def preprocess_results(bench: Bench) -> Results:
    """Plans, folds and stored cases of all workspaces."""
    results: Results = {}
    for name in WORKSPACES:
        results |= guarded(f"preprocess/{name}", partial(stored_results, bench, name))
    return results


def stored_results(bench: Bench, name: str) -> Results:
    """The plan, the folds and every preprocessed case of a workspace."""
    from umseg.preprocess import CaseStore

    workspace = bench.workspace(name)
    results = {
        f"preprocess/{name}/{document}": hash_document(json.loads((workspace / f"{document}.json").read_text()))
        for document in ("plan", "splits")
    }
    for folder in sorted((workspace / "preprocessed").iterdir()):
        store = CaseStore(folder)
        for case_id in store.case_ids():
            case = store.open(case_id)
            arrays = {"data": case.data[:], **{f"class {key}": found for key, found in case.class_locations.items()}}
            if case.label is not None:
                arrays["label"] = case.label[:]
            results[f"preprocess/{name}/{folder.name}/{case_id}"] = hash_arrays(arrays)
    return results


def weight_results(bench: Bench) -> Results:
    """The weights and losses of every run."""
    runs = trainings()
    # Before the runs, which all need them.
    for name in {training.workspace for training in runs.values()}:
        bench.workspace(name)

    def train(name: str) -> Results:
        return guarded(f"weights/{name}", partial(trained_results, bench, name))

    with ThreadPoolExecutor(bench.jobs) as pool:
        return join(pool.map(train, runs))


def trained_results(bench: Bench, name: str) -> Results:
    """The final weights of a run, and what its last epoch scored."""
    fold = bench.fold(name)
    epoch = json.loads((fold / "log.jsonl").read_text().splitlines()[-1])
    numbers = {f"weights/{name}/{key}": repr(epoch[key]) for key in ("train_loss", "validation_loss", "mean_dice")}
    return {f"weights/{name}": hash_weights(fold / "weights_final.safetensors"), **numbers}


def predict_results(bench: Bench) -> Results:
    """The label maps of the networks that predict, and the number of voxels that are not background."""
    return join(guarded(f"predict/{name}", partial(predicted_results, bench, name)) for name in PREDICTED)


def predicted_results(bench: Bench, name: str) -> Results:
    """The label maps of one network."""
    results: Results = {}
    for path in label_maps(bench.predictions(name)):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        results[f"predict/{name}/{path.name}"] = hash_arrays({"label": array})
        results[f"predict/{name}/{path.name}/foreground"] = str(np.count_nonzero(array))
    return results


def metric_results(bench: Bench) -> Results:
    """Scores of the predictions and of moved references: hashes of the documents, and all numbers in them."""
    results: Results = {}
    for name in PREDICTED:
        dataset = WORKSPACES[trainings()[name].workspace].dataset
        find = partial(bench.predictions, name)
        results |= guarded(f"metrics/{name}", partial(scored_results, bench, name, dataset, find))
    for dataset in sorted({planned.dataset for planned in WORKSPACES.values()}):
        name = f"moved-{dataset}"
        find = partial(move_references, bench, dataset)
        results |= guarded(f"metrics/{name}", partial(scored_results, bench, name, dataset, find))
    return results


def scored_results(bench: Bench, name: str, dataset: str, find_predictions: Callable[[], Path]) -> Results:
    """The scores of one folder of label maps."""
    document = bench.scores(name, find_predictions(), bench.dataset(dataset) / "labelsTr")
    numbers = {f"metrics/{name}/{key}": repr(value) for key, value in walk_numbers(document)}
    return {f"metrics/{name}": hash_document(document), **numbers}


def move_references(bench: Bench, dataset: str) -> Path:
    """A folder of reference label maps that were moved by one voxel along every axis."""
    folder = bench.work / "moved" / dataset
    folder.mkdir(parents=True)
    for path in label_maps(bench.dataset(dataset) / "labelsTr")[:NUM_PREDICTED]:
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image)
        moved = sitk.GetImageFromArray(np.roll(array, 1, axis=tuple(range(array.ndim))))
        moved.CopyInformation(image)
        sitk.WriteImage(moved, str(folder / path.name))
    return folder


def label_maps(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith((".nii.gz", ".png", ".tif")))


def walk_numbers(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Every number of a JSON document with the names that lead to it; an entry of a list goes by its case's name."""
    if isinstance(document, bool) or path[-1:] == ("schema_version",):
        return
    if isinstance(document, (int, float)):
        yield "/".join(path), document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from walk_numbers(value, (*path, str(key)))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            name = value.get("case", index) if isinstance(value, dict) else index
            yield from walk_numbers(value, (*path, str(name)))


def hash_document(document: Any) -> str:
    """Of a JSON document, whatever the order of its names; versions, and names without a value, are left out."""
    return short_hash(json.dumps(_canonical(document), sort_keys=True).encode())


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if item is not None and not str(key).endswith("version")}
        return {key: _canonical(item) for key, item in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of named arrays: names, types, shapes and bytes."""
    parts: list[bytes] = []
    for name, array in sorted(arrays.items()):
        parts += [f"{name} {array.dtype.str} {array.shape}".encode(), np.ascontiguousarray(array).tobytes()]
    return short_hash(*parts)


def hash_weights(path: Path) -> str:
    """Of the tensors of a safetensors file, in the order of their names; its metadata are left out."""
    parts: list[bytes] = []
    for name, tensor in sorted(deserialize(path.read_bytes())):  # type: ignore[no-untyped-call]
        parts += [f"{name} {tensor['dtype']} {list(tensor['shape'])}".encode(), bytes(tensor["data"])]
    return short_hash(*parts)


def short_hash(*parts: bytes) -> str:
    """The first 16 digits of the SHA-256 of some bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def guarded(name: str, compute: Callable[[], Results]) -> Results:
    """What a function computes; if it fails, a line that says so, so that all other results can still be compared."""
    try:
        return compute()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return {name: "failed"}


def join(parts: Iterable[Results]) -> Results:
    """All results together."""
    return {name: text for part in parts for name, text in part.items()}


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Print hashes of what umseg computes, to compare two commits.")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, e.g. plans,metrics [default: all]")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with the real images")
    parser.add_argument("--code", type=Path, default=ROOT, help="folder that holds the package to be measured")
    parser.add_argument("--work", type=Path, help="new folder in which to keep all workspaces [default: a temporary]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings side by side [default: cores]")
    arguments = parser.parse_args(argv)
    arguments.only = arguments.only.split(",")
    unknown = sorted(set(arguments.only) - set(SECTIONS))
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if arguments.work is not None and arguments.work.exists() and any(arguments.work.iterdir()):
        parser.error(f"{arguments.work} is not empty: its results may be another commit's")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Print all sections that were asked for; 1 if something failed."""
    arguments = arguments_of(argv)
    code = arguments.code.resolve()
    sys.path.insert(0, str(code))
    import umseg

    print(f"results of {Path(umseg.__file__).parent}", file=sys.stderr)
    failed = False
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umseg-results-")))
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(work.resolve(), arguments.shared.resolve(), code, arguments.jobs)
        sections: dict[str, Callable[[], Results]] = {
            "plans": plan_results,
            "preprocess": partial(preprocess_results, bench),
            "weights": partial(weight_results, bench),
            "predict": partial(predict_results, bench),
            "metrics": partial(metric_results, bench),
        }
        for section in (name for name in SECTIONS if name in arguments.only):
            results = sections[section]()
            failed = failed or "failed" in results.values()
            for name, text in sorted(results.items()):
                print(f"{text}  {name}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
