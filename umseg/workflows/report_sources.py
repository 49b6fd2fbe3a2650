"""What a page of ``umseg report`` is made from: trained folds, scores, and folders of label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import read_text
from umseg.common.json_file import MOST_BYTES, parse_json
from umseg.common.text import by, counted, few
from umseg.dataset.dataset import Case, Dataset, find_cases
from umseg.dataset.description import DatasetDescription, load_description
from umseg.dataset.io.registry import label_endings
from umseg.dataset.listing import list_folder
from umseg.evaluation.records import InstanceMetrics, Metrics, load_metrics
from umseg.inference.outputs.statistics_records import CaseStatistics, Statistics
from umseg.inference.outputs.statistics_tables import JSON_TABLE
from umseg.models.card import ModelCard
from umseg.planning import Fingerprint, Plan
from umseg.reports.page.report import Source
from umseg.reports.page.sources.runs import Run, Training
from umseg.reports.page.sources.scores import Predicted, pooled_scores
from umseg.reports.status import training_command
from umseg.reports.summary import plan_summary
from umseg.training.config.training_config import TrainingConfig
from umseg.training.data.splits import Split
from umseg.training.watch.log import EpochLog
from umseg.workspace import METRICS, MODEL_REMEDY, FoldFolder, ModelFolder, Workspace

_EXPECTED = (
    "a trained fold or model folder (models/<model>__<configuration>[/fold_<k>]), a metrics.json of `umseg evaluate` "
    "or its folder, or a folder of label maps"
)
_TRAIN = "Train this fold from the beginning with --restart."
_STATISTICS = "Remove the file, and run `umseg predict --statistics` again."
_LONGEST_LINE = 400


@dataclass(frozen=True)
class Found:
    """A set of predictions, and where the files of its cases lie.

    Attributes:
        source: What the page says of it.
        predictions: Case to its predicted label map.
        references: Case to its reference.
        images: Case to the files of its image.
        description: Names of channels and classes; None where they are not known.
        threshold: Smallest IoU of two objects that match.
        plan: The data set and the plan in words; empty where they are not known.
    """

    source: Source
    predictions: Mapping[str, Path]
    references: Mapping[str, Path]
    images: Mapping[str, tuple[Path, ...]]
    description: DatasetDescription | None
    threshold: float = 0.5
    plan: str = ""


@dataclass(frozen=True)
class Beside:
    """Folders that the user named besides the predictions.

    Attributes:
        reference: Folder of reference label maps.
        images: Folder of the images.
        predictions: Folder of the label maps, where they do not lie beside their scores.
        model: Folder of the model that made the label maps, or of one of its folds.
    """

    reference: Path | None = None
    images: Path | None = None
    predictions: Path | None = None
    model: Path | None = None


def find_sources(inputs: Sequence[Path], beside: Beside) -> list[Found]:
    """Look up every input; names that occur twice are told apart by their folders.

    Raises:
        UserError: An input is nothing that a page is made from, or a file of it is damaged.
    """
    found = [_find(Path(path), beside) for path in inputs]
    names = [entry.source.name for entry in found]
    for number, name in enumerate(names):
        if names.count(name) > 1:
            unique = f"{name} ({Path(inputs[number]).absolute().parent.name}, {number + 1})"
            found[number] = replace(found[number], source=replace(found[number].source, name=unique))
    return found


def _find(path: Path, beside: Beside) -> Found:
    path = path.absolute()
    folder = path.parent if path.name == METRICS else path
    fold = FoldFolder(folder.parent if folder.name == "validation" else folder)
    if fold.config_file.is_file():
        return _of_folds(fold.models, [fold], beside)
    models = ModelFolder(folder)
    if models.card_file.is_file():
        return _of_folds(models, [entry for entry in models.folds() if entry.config_file.is_file()], beside)
    if path.is_file() and path.name != METRICS:
        # Scores under another name.
        return _of_folder(path.parent, path, beside)
    if not folder.is_dir():
        raise UserError("There is no such file or folder.", file=path, expected=_EXPECTED)
    scores = folder / METRICS
    return _of_folder(folder, scores if scores.is_file() else None, beside)


def _of_folds(models: ModelFolder, folds: Sequence[FoldFolder], beside: Beside) -> Found:
    """The validation of one fold, or of all folds of a model together."""
    card = ModelCard.load(models.card_file, "Train the model again.")
    validated = [fold for fold in folds if fold.metrics_file.is_file()]
    if not validated:
        raise UserError(
            "Nothing is validated yet, so that there is nothing to report.",
            file=folds[0].path if len(folds) == 1 else models.path,
            expected=f"validation/{METRICS} in the folder of a fold",
            remedy="Wait until `umseg train` has validated a fold, or give a folder of predictions.",
        )
    workspace = Workspace(models.path.absolute().parents[1])
    dataset = workspace.load(Dataset) if workspace.file(Dataset).is_file() else None
    metrics = [load_metrics(fold.metrics_file, "Remove it; `umseg train` scores the fold again.") for fold in validated]
    scores = pooled_scores(metrics)
    if scores is None:
        raise UserError(
            "The folds were scored for different classes or metrics, or for the same cases.",
            file=models.path,
            found=few(str(fold.metrics_file) for fold in validated),
            remedy="Report one fold at a time.",
        )
    label_maps: dict[str, Path] = {}
    predicted: dict[str, Predicted] = {}
    for fold in validated:
        label_maps |= _label_maps(fold.validation)
        predicted |= _stated(fold.validation)
    training = _training(card, validated, dataset)
    name = models.path.name if len(validated) > 1 else f"{models.path.name}, fold {validated[0].name}"
    source = Source(
        name=name,
        scores=scores,
        predicted=predicted,
        training=training,
        facts=(*_model_facts(training), *_metric_facts(metrics)),
        cases=tuple(case.case for case in scores.cases),
    )
    cases = {case.id: case for case in (dataset.cases if dataset is not None else ())}
    return Found(
        source,
        label_maps,
        _references(cases, beside),
        _images(cases, card.dataset, beside),
        dataset.description if dataset is not None else card.dataset,
        _threshold(metrics),
        _plan(workspace),
    )


def _of_folder(folder: Path, file: Path | None, beside: Beside) -> Found:
    """A folder of label maps, with or without scores."""
    metrics = None if file is None else load_metrics(file)
    name = folder.name
    folder = folder if beside.predictions is None else beside.predictions
    label_maps = _label_maps(folder)
    if metrics is None and not label_maps:
        raise UserError(
            "The folder has neither scores nor label maps.", file=folder, expected=_EXPECTED,
            remedy="Check that this is the right folder.",
        )  # fmt: skip
    scores = None if metrics is None else pooled_scores([metrics])
    predicted = _stated(folder)
    description = _description(folder, beside)
    cases = tuple(case.case for case in scores.cases) if scores is not None else tuple(label_maps)
    training, workspace = (None, None) if beside.model is None else _of_model(beside.model)
    model_facts = [] if training is None else _model_facts(training)
    source = Source(
        name=name,
        scores=scores,
        predicted={case: stated for case, stated in predicted.items() if case in cases},
        training=training,
        facts=(*model_facts, *(() if metrics is None else _metric_facts([metrics]))),
        cases=cases,
    )
    return Found(
        source,
        label_maps,
        _references({}, beside),
        _images({}, description, beside),
        description,
        0.5 if metrics is None else _threshold([metrics]),
        "" if workspace is None else _plan(workspace),
    )


def _of_model(folder: Path) -> tuple[Training, Workspace]:
    """The training of a model folder, or of one of its folds, and its workspace.

    Raises:
        UserError: The folder is neither, or a file of it is damaged.
    """
    fold = FoldFolder(folder)
    models = fold.models if fold.config_file.is_file() else ModelFolder(folder)
    card = ModelCard.load(models.card_file, MODEL_REMEDY)
    folds = [fold] if fold.config_file.is_file() else [f for f in models.folds() if f.config_file.is_file()]
    workspace = Workspace(models.path.absolute().parents[1])
    dataset = workspace.load(Dataset) if workspace.file(Dataset).is_file() else None
    return _training(card, folds, dataset), workspace


def _description(folder: Path, beside: Beside) -> DatasetDescription | None:
    places = [folder, *(place.absolute().parent for place in (beside.reference, beside.images) if place is not None)]
    file = next((place / "dataset.json" for place in places if (place / "dataset.json").is_file()), None)
    return None if file is None else load_description(file)


def _label_maps(folder: Path) -> dict[str, Path]:
    """Case to label map, by the names of the files; of two formats the first counts."""
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(list_folder(folder)[0]):
        endings = [ending for ending in label_endings() if path.name.lower().endswith(ending)]
        if endings and not path.name.startswith("."):
            found.setdefault(path.name[: -len(max(endings, key=len))], path)
    return found


def _references(cases: Mapping[str, Case], beside: Beside) -> dict[str, Path]:
    if beside.reference is not None:
        if not beside.reference.is_dir():
            raise UserError(
                "The folder of references does not exist.", file=beside.reference, remedy="Check --reference."
            )
        return _label_maps(beside.reference)
    return {name: case.label for name, case in cases.items() if case.label is not None and case.label.exists()}


def _images(
    cases: Mapping[str, Case], description: DatasetDescription | None, beside: Beside
) -> dict[str, tuple[Path, ...]]:
    if beside.images is not None:
        channels = 1 if description is None else description.num_channels
        ending = _image_ending(beside.images) if description is None else description.file_ending
        return {case.id: case.images for case in find_cases(beside.images, channels, ending)}
    return {name: case.images for name, case in cases.items() if all(image.exists() for image in case.images)}


def _image_ending(folder: Path) -> str:
    """The ending of most files of a folder, among those that label maps have."""
    names = [path.name.lower() for path in (list_folder(folder)[0] if folder.is_dir() else [folder])]
    endings = [max((e for e in label_endings() if name.endswith(e)), key=len, default="") for name in names]
    known = [ending for ending in endings if ending]
    return max(sorted(set(known)), key=known.count) if known else ".nii.gz"


def _stated(folder: Path) -> dict[str, Predicted]:
    """What ``statistics.json`` of a folder of predictions says of every case."""
    file = folder / JSON_TABLE
    if not file.is_file():
        return {}
    return {entry.case: _of_statistics(entry) for entry in Statistics.load(file, _STATISTICS).cases}


def _of_statistics(entry: CaseStatistics) -> Predicted:
    if entry.objects:
        name = "objects"
        return Predicted(entry.confidence, volumes={name: float(len(entry.objects))})
    volumes = {c.name: c.voxels if c.volume_ml is None else c.volume_ml for c in entry.classes}
    return Predicted(
        confidence=entry.confidence,
        of_class={c.name: c.confidence for c in entry.classes if c.confidence is not None},
        volumes=volumes,
        pieces={c.name: c.components for c in entry.classes},
        cut=tuple(c.name for c in entry.classes if c.touches_border),
    )


def _threshold(metrics: Sequence[Metrics | InstanceMetrics]) -> float:
    return next((entry.threshold for entry in metrics if isinstance(entry, InstanceMetrics)), 0.5)


def _training(card: ModelCard, folds: Sequence[FoldFolder], dataset: Dataset | None) -> Training:
    total = card.dataset.numTraining if dataset is None else len(dataset.cases)
    return Training(card, tuple(_run(fold) for fold in folds), total)


def _run(fold: FoldFolder) -> Run:
    config = TrainingConfig.load(fold.config_file, _TRAIN)
    split = Split.load(fold.split_file, _TRAIN) if fold.split_file.is_file() else None
    return Run(
        fold=fold.name,
        config=config,
        epochs=_epochs(fold.log_records),
        software=_software(fold.log_text),
        training=None if split is None else len(split.train),
        validation=None if split is None else len(split.validation),
        command=training_command(fold, config),
    )


def _epochs(file: Path) -> tuple[EpochLog, ...]:
    if not file.is_file():
        return ()
    try:
        rows = [parse_json(line) for line in read_text(file, MOST_BYTES, remedy=_TRAIN).splitlines()]
    except (OSError, ValueError) as error:
        raise UserError("The log of a run is damaged.", file=file, found=str(error), remedy=_TRAIN) from error
    return tuple(EpochLog.from_json(row, file, _TRAIN) for row in rows)


def _software(file: Path) -> str:
    """The versions that a run states at its start."""
    try:
        with file.open(encoding="utf-8", errors="replace") as handle:
            return handle.readline(_LONGEST_LINE).partition("  ")[2].strip()
    except OSError:
        return ""


def _model_facts(training: Training) -> list[tuple[str, str]]:
    card, configuration = training.card, training.configuration
    seeds = ", ".join(dict.fromkeys(str(run.config.seed) for run in training.runs))
    counts = [
        f"fold {run.fold}: {counted(run.training, 'training case')}, {counted(run.validation or 0, 'validation case')}"
        for run in training.runs
        if run.training is not None
    ]
    return [
        ("network", card.model),
        (
            "configuration",
            f"{card.configuration_name}: patch {by(configuration.patch_size)}, batch {configuration.batch_size}",
        ),
        ("preset", card.plan.preset),
        ("umseg of the training", card.umseg_version),
        ("seed", seeds),
        *([("cases", "\n".join(counts))] if counts else []),
    ]


def _metric_facts(metrics: Sequence[Metrics | InstanceMetrics]) -> list[tuple[str, str]]:
    weights = [entry.weights for entry in metrics if entry.weights]
    return [("digest of the weights", "\n".join(weights))] if weights else []


def _plan(workspace: Workspace) -> str:
    """The summary that ``umseg plan`` printed, and the digest of the data."""
    if not all(workspace.file(record).is_file() for record in (Dataset, Fingerprint, Plan)):
        return ""
    fingerprint = workspace.load(Fingerprint)
    text = plan_summary(fingerprint, workspace.load(Plan), workspace.load(Dataset).description)
    return f"{text}\n  digest of all files: {fingerprint.content_hash}" if fingerprint.content_hash else text
