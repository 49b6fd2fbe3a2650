"""``umseg export MODEL hf://organisation/name``: a bundle and its model card as a repository of the hub."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umseg.common.errors import UserError
from umseg.inference.bundle.hub import BUNDLE_FILE, HubModel, explained, progress_bars, require_hub
from umseg.workflows.bundle.export import Exported, Terms, export_bundle
from umseg.workflows.bundle.model_card import model_card
from umseg.workflows.bundle.scores import pooled
from umseg.workspace import WeightsName

CARD_FILE = "README.md"


def push(
    model: str | Path,
    target: HubModel,
    *,
    folds: Sequence[str] | None = None,
    weights: WeightsName = "final",
    terms: Terms | None = None,
    hide_cases: bool = False,
    overwrite: bool = False,
    public: bool = False,
    quiet: bool = False,
) -> Exported:
    """Write a bundle and a model card, and put both into a repository of the hub in one commit.

    Args:
        model: A model folder, a bundle, or another model on the hub.
        target: The repository, which is made if it does not exist.
        folds: As in ``export_bundle``, like the next four.
        weights: Which weights of each fold.
        terms: What is to be said about the model.
        hide_cases: Whether validation cases are numbered rather than named in the scores.
        overwrite: Whether a model that the repository holds may be replaced, with its model card.
        public: Whether a new repository can be seen by everybody.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: The model is incomplete, huggingface_hub is missing, the user is not logged in or may not write, the
            repository holds a model already, or the hub cannot be reached.
    """
    if target.revision is not None:
        raise UserError(
            "A model is published as the newest revision of its repository.",
            found=str(target),
            expected=str(HubModel(target.repository)),
            remedy="Leave out what follows the @.",
        )
    hub = require_hub()
    problem = f"{target} cannot be written."
    with explained(target, problem):
        api = hub.HfApi()
        # The first question needs the user's name, so that nothing is written for somebody who is not logged in.
        api.whoami()
        if not overwrite and api.file_exists(target.repository, BUNDLE_FILE):
            raise UserError(f"{target} holds a model already.", remedy="--overwrite replaces it and its model card.")
    name = target.repository.partition("/")[2]
    with tempfile.TemporaryDirectory(prefix="umseg-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / BUNDLE_FILE
        exported = export_bundle(
            model, file, name=name, folds=folds, weights=weights, terms=terms, hide_cases=hide_cases, quiet=quiet
        )
        contents = exported.contents
        text = model_card(exported.manifest, contents.card, pooled(contents.metrics), target.repository)
        with explained(target, problem), progress_bars(quiet):
            api.create_repo(target.repository, private=not public, exist_ok=True)
            _commit(hub, api, target, file, text)
    return exported


def _commit(hub: Any, api: Any, target: HubModel, file: Path, text: str) -> None:
    api.create_commit(
        target.repository,
        operations=[
            hub.CommitOperationAdd(CARD_FILE, text.encode("utf-8")),
            hub.CommitOperationAdd(BUNDLE_FILE, str(file)),
        ],
        commit_message="Publish the model",
    )
