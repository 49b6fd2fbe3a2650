"""What goes into a bundle of what ``umseg best`` chose: the models, ``best.json``, and the scores of all together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from umseg.evaluation import InstanceMetrics, Metrics
from umseg.inference.best import Best, Member, load_best
from umseg.inference.bundle.manifest import BundledMember, Manifest, member_folder, member_name
from umseg.inference.same_data import require_same_data
from umseg.workflows.best.pairs import joint_hash
from umseg.workflows.bundle.contents import Contents, collect, earlier_manifest, recorded_scores
from umseg.workspace import BEST_CHOICE, METRICS, FoldFolder, ModelFolder, WeightsName, Workspace


def collect_choice(
    file: Path, folds: Sequence[str] | None, which: WeightsName, *, hide_cases: bool = False
) -> Contents:
    """Read all models that a ``best.json`` names, and choose what goes into a bundle.

    Args:
        file: The ``best.json``, in a workspace or in an unpacked bundle.
        folds: The folds of every model; None: those that it names.
        which: The weights.
        hide_cases: Whether validation cases are numbered rather than named in the scores.

    Raises:
        UserError: A file is missing or damaged, weights do not belong to their network, or the models were trained for
            different data.
    """
    best, folders = load_best(file)
    earlier = earlier_manifest(file.parent)
    known = None if earlier is None else earlier.members
    each, members = [], []
    for number, (member, folder) in enumerate(zip(best.members, folders, strict=True)):
        before = None if known is None else known[number]
        records = () if before is None else before.folds
        one = collect(folder, folds or member.folds, which, hide_cases=hide_cases, records=records)
        each.append(one)
        members.append(BundledMember(name=member.model if before is None else before.name, folds=one.training.folds))
    require_same_data([one.card for one in each])
    texts = {BEST_CHOICE: _in_bundle(best, members).to_json()}
    weights: dict[str, Path] = {}
    for number, one in enumerate(each):
        texts |= {member_folder(number) + path: text for path, text in one.texts.items()}
        weights |= {member_folder(number) + path: source for path, source in one.weights.items()}
    metrics = each[0].metrics
    if len(each) > 1:
        scores = _joint_scores(_together(file, folders, earlier), folders, members, which, hide_cases)
        texts |= {f"fold_{name}/validation/{METRICS}": found.to_json() for name, found in scores.items()}
        metrics = tuple(scores.values())
    # The weights of an imported bundle are called final, whatever they are.
    which = which if earlier is None else earlier.weights
    return Contents(each[0].card, texts, weights, metrics, each[0].training, earlier, which, tuple(members))


def _in_bundle(best: Best, members: Sequence[BundledMember]) -> Best:
    """The choice with the folders and the folds of the bundle."""
    renamed = tuple(
        Member(model=member_name(number), folds=tuple(fold.fold for fold in member.folds))
        for number, member in enumerate(members)
    )
    return best.model_copy(update={"members": renamed})


def _together(file: Path, folders: Sequence[Path], earlier: Manifest | None) -> ModelFolder:
    """Where the scores of all models together lie: among the ensembles of a workspace, or beside ``best.json``."""
    if earlier is not None:
        return ModelFolder(file.parent)
    return Workspace(file.absolute().parent).ensemble([ModelFolder(folder) for folder in folders])


def _joint_scores(
    together: ModelFolder,
    folders: Sequence[Path],
    members: Sequence[BundledMember],
    which: WeightsName,
    hide_cases: bool,
) -> dict[str, Metrics | InstanceMetrics]:
    """The scores of the folds that all models have, where they belong to the weights of all."""
    found: dict[str, Metrics | InstanceMetrics] = {}
    for name in (fold.fold for fold in members[0].folds):
        folds = [ModelFolder(folder).fold(name) for folder in folders]
        scores = _of_fold(together.fold(name), folds, which, hide_cases)
        if scores is not None:
            found[name] = scores
    return found


def _of_fold(
    together: FoldFolder, folds: Sequence[FoldFolder], which: WeightsName, hide_cases: bool
) -> Metrics | InstanceMetrics | None:
    files = [fold.weights(which) for fold in folds]
    if not all(file.is_file() for file in files):
        return None
    return recorded_scores(together, "those of the models", lambda: joint_hash(files), which, hide_cases)
