"""``umseg import FILE.umseg``: the model folder of a bundle."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import atomic_folder, plain_path, remove_leftovers
from umseg.common.processes.claims import claim
from umseg.evaluation import load_metrics
from umseg.inference.bundle.archive import REMEDY, inside
from umseg.inference.bundle.hub import fetch, hub_model, is_on_hub
from umseg.inference.bundle.manifest import MANIFEST, Manifest
from umseg.inference.bundle.unpack import Bundle, open_bundle
from umseg.workspace import ModelFolder, choice_file

DEFAULT_ROOT = Path("umseg-models")
"""Folder of imported models."""

_WAIT = 600.0
"""Seconds to wait for another process that imports a model into the same folder."""


@dataclass(frozen=True)
class Imported:
    """A bundle that was imported.

    Attributes:
        folder: Its model folder.
        manifest: What it says of itself.
    """

    folder: Path
    manifest: Manifest


def import_bundle(
    source: str | Path, output: Path | None = None, *, overwrite: bool = False, quiet: bool = False
) -> Imported:
    """Unpack a bundle into a model folder, which appears whole or not at all.

    Args:
        source: The file of a bundle, or ``hf://organisation/name``.
        output: The model folder; None: ``umseg-models`` and the name of the model.
        overwrite: Whether a model may be replaced that was imported earlier.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: The bundle is damaged or missing, the folder is there already, or it cannot be written.
    """
    file = fetch(hub_model(source), quiet=quiet) if is_on_hub(source) else Path(source)
    with open_bundle(file) as bundle:
        target = plain_path(DEFAULT_ROOT / bundle.manifest.name if output is None else output)
        _check_target(target, overwrite)
        with claim(target.parent, "imports a model", wait=_WAIT):
            _check_target(target, overwrite)
            if output is None:
                # What a killed import left; in a folder of the user's choice others may be writing.
                remove_leftovers(target.parent)
            _unpack(bundle, target, overwrite)
        return Imported(target, bundle.manifest)


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a folder that is not empty, unless it is an imported model that may be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    is_model = ModelFolder(target).card_file.is_file() or choice_file(target) is not None
    if not (target / MANIFEST).is_file() or not is_model:
        raise UserError(
            "The output is there already, and it is no imported model.",
            file=target,
            expected="the name of a new folder",
            remedy="Choose another one with --output.",
        )
    if not overwrite:
        raise UserError(
            f"The model {target.name} is there already.",
            file=target,
            remedy="Choose another folder with --output; --overwrite replaces the model.",
        )


def _unpack(bundle: Bundle, target: Path, overwrite: bool) -> None:
    """Write the model folder; what appears in its place meanwhile is not replaced, unless it may be."""
    aside = target.with_name(f".tmp-{uuid.uuid4().hex[:8]}")
    try:
        with atomic_folder(target) as folder:
            bundle.unpack(folder)
            _check_metrics(bundle, folder)
            if overwrite and target.exists():
                _check_target(target, overwrite)
                target.rename(aside)
            with contextlib.suppress(OSError):  # it is missing, or not empty
                target.rmdir()
    except BaseException:
        if aside.exists():
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _check_metrics(bundle: Bundle, folder: Path) -> None:
    for file in bundle.manifest.files:
        if file.path.endswith(".json") and "/validation/" in file.path:
            try:
                load_metrics(folder / file.path, REMEDY)
            except UserError as error:
                raise inside(error, bundle.path) from error
