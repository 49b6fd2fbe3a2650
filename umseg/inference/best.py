"""``best.json``: what ``umseg best`` chose for a data set, which ``umseg predict --model best.json`` follows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from umseg.common.errors import UserError
from umseg.common.names import Component
from umseg.common.record import Record
from umseg.inference.postprocessing.classes import ClassCleaning
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.workspace import BEST_CHOICE, ModelFolder, Workspace

REMEDY = "Make the file again with `umseg best WORKSPACE`."
_Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Fold = Annotated[str, Field(pattern=r"^(all|\d{1,6})$")]


class Member(Record):
    """A model that takes part in the prediction.

    Attributes:
        model: Name of its folder in the folder ``models`` beside ``best.json``.
        folds: Folds whose outputs are averaged.
    """

    model: Component
    folds: tuple[_Fold, ...] = Field(min_length=1, max_length=1000)


class Candidate(Record):
    """A model, or several together, and their score in cross-validation.

    Attributes:
        models: Names of the model folders.
        score: Mean score over the validation cases; None where they could not be compared.
        note: Why they could not be compared, or which folds were left out.
    """

    models: tuple[Component, ...] = Field(min_length=1, max_length=10)
    score: _Score | None
    note: str = Field(default="", max_length=2000)


class Best(Record):
    """The choice, and what it was chosen from.

    Attributes:
        dataset_name: Name of the data set.
        metric: The score: DSC, the mean over classes of their means over cases; or F1, the mean over cases.
        cases: Number of validation cases that every candidate was compared on.
        candidates: All candidates, the best first.
        members: The models to predict with; their probabilities are averaged.
        score: Mean score of the members without post-processing by ``cleaning`` or ``instance_cleaning``.
        score_after: The same with it.
        cleaning: Post-processing of label maps of classes; None if nothing gains.
        instance_cleaning: Post-processing of objects that several models found together. That of a single model lies
            beside the weights of its folds.
    """

    most_bytes: ClassVar[int] = 2**23

    schema_version: Literal[1] = 1
    dataset_name: Component
    metric: Literal["DSC", "F1"]
    cases: Annotated[int, Field(ge=1)]
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    members: tuple[Member, ...] = Field(min_length=1, max_length=10)
    score: _Score
    score_after: _Score
    cleaning: ClassCleaning | None = None
    instance_cleaning: Cleaning | None = None


def load_best(path: Path) -> tuple[Best, list[Path]]:
    """Read a ``best.json``.

    Args:
        path: The file, in the workspace of the data set or in an unpacked bundle.

    Returns:
        Its content, and the model folder of each member.

    Raises:
        UserError: The file is missing or not valid, or a model folder has gone.
    """
    best = Best.load(path, REMEDY)
    workspace = Workspace(path.absolute().parent)
    folders = [workspace.named_model(member.model) for member in best.members]
    missing = next((folder for folder in folders if not folder.card_file.is_file()), None)
    if missing is not None:
        raise UserError(
            f"A model that {BEST_CHOICE} names is not there.",
            file=missing.path,
            expected=f"the models beside {BEST_CHOICE}, in the folder that it was written to",
            remedy="Leave the file in its workspace, or " + REMEDY[0].lower() + REMEDY[1:],
        )
    return best, [ModelFolder(folder.path).path for folder in folders]
