"""``umseg export MODEL FILE.umseg``: a model as one file (docs/bundle.md)."""

from __future__ import annotations

import contextlib
import hashlib
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

import umseg
from umseg.common.errors import UserError
from umseg.common.files import atomic_path, open_regular
from umseg.common.names import require_name
from umseg.common.processes.claims import claim
from umseg.common.record import invalid
from umseg.inference.best import load_best
from umseg.inference.bundle.archive import CHUNK
from umseg.inference.bundle.location import local_model
from umseg.inference.bundle.manifest import ENDING, MANIFEST, BundledFile, Manifest, labels_of
from umseg.workflows.bundle.choice import collect_choice
from umseg.workflows.bundle.contents import Contents, collect
from umseg.workspace import ModelFolder, WeightsName, choice_file

_REMEDY = "Wait until nothing writes to the model folder, and export it again."
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file, so that equal models give equal bundles."""


@dataclass(frozen=True)
class Terms:
    """What a user says about a model; None keeps what the bundle says that the model folder came from.

    Attributes:
        licence: Terms of use, best by an SPDX identifier such as ``CC-BY-4.0``.
        intended_use: What the model is for, and what not.
        notes: Anything else.
    """

    licence: str | None = None
    intended_use: str | None = None
    notes: str | None = None


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes:
        manifest: Its manifest.
        contents: What is in it.
    """

    manifest: Manifest
    contents: Contents


def export_bundle(
    model: str | Path,
    target: Path,
    *,
    name: str | None = None,
    folds: Sequence[str] | None = None,
    weights: WeightsName = "final",
    terms: Terms | None = None,
    hide_cases: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Exported:
    """Write a model, or several that ``umseg best`` chose, as one file.

    Args:
        model: A model folder, a ``best.json`` or its folder, another bundle, or a model on the hub.
        target: The file, whose name ends in ``.umseg``.
        name: Name of the model; None: that of the file.
        folds: The folds; None: every trained one, or those that ``best.json`` names.
        weights: Which weights of each fold. In the bundle they are its final ones.
        terms: What is to be said about the model.
        hide_cases: Whether validation cases are numbered rather than named in the scores.
        overwrite: Whether an earlier file may be replaced.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: The model is incomplete or damaged, a fold of it is being trained, or the file cannot be written.
    """
    target = Path(target)
    _check_target(target, overwrite)
    name = require_name(target.stem if name is None else name, "The name of the bundle")
    place = local_model(model, quiet=quiet)
    choice = choice_file(place)
    with _held([place] if choice is None else load_best(choice)[1], folds):
        if choice is None:
            contents = collect(place, folds, weights, hide_cases=hide_cases)
        else:
            contents = collect_choice(choice, folds, weights, hide_cases=hide_cases)
        manifest = _manifest(name, contents, terms or Terms())
        _write(target, manifest, contents)
    return Exported(manifest, contents)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() != ENDING or target.is_dir():
        raise UserError(
            "The bundle has to be a file of the usual ending.",
            file=target,
            expected=f"a name such as liver{ENDING}, or hf://organisation/name",
        )
    if target.exists() and not overwrite:
        raise UserError(f"{target.name} is there already.", file=target, remedy="--overwrite replaces it.")


@contextlib.contextmanager
def _held(models: Sequence[Path], folds: Sequence[str] | None) -> Iterator[None]:
    """Hold the folds of model folders against a training that would change them meanwhile."""
    with contextlib.ExitStack() as held:
        for fold in (fold for folder in models for fold in ModelFolder(folder).folds()):
            if folds is None or fold.name in folds:
                held.enter_context(claim(fold.path, "exports this fold"))
        yield


def _manifest(name: str, contents: Contents, terms: Terms) -> Manifest:
    """The manifest, with the checksums of all files.

    Raises:
        UserError: A text is too long, or a file cannot be read.
    """
    files = [_described(path, text.encode("utf-8")) for path, text in contents.texts.items()]
    files += [_measured(path, file) for path, file in contents.weights.items()]
    earlier = contents.earlier
    said = {field: getattr(earlier, field, None) if value is None else value for field, value in vars(terms).items()}
    try:
        return Manifest(
            umseg_version=umseg.__version__,
            name=name,
            weights=contents.which,
            **said,
            labels=labels_of(contents.card.dataset),
            training=contents.training,
            members=contents.members,
            files=tuple(files),
        )
    except ValidationError as error:
        raise invalid("The bundle cannot be described", error, remedy="Correct the option of that name.") from error


def _described(path: str, content: bytes) -> BundledFile:
    return BundledFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _measured(path: str, file: Path) -> BundledFile:
    found, size = hashlib.sha256(), 0
    for chunk in _chunks(file):
        found.update(chunk)
        size += len(chunk)
    return BundledFile(path=path, size=size, sha256=found.hexdigest())


def _write(target: Path, manifest: Manifest, contents: Contents) -> None:
    needed = sum(file.size for file in manifest.files)
    with atomic_path(target, needed) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_entry(MANIFEST, zipfile.ZIP_DEFLATED), manifest.to_json())
        for file in manifest.files:
            text = contents.texts.get(file.path)
            if text is not None:
                archive.writestr(_entry(file.path, zipfile.ZIP_DEFLATED), text)
            else:
                _copy(archive, file, contents.weights[file.path])


def _copy(archive: zipfile.ZipFile, file: BundledFile, source: Path) -> None:
    """Copy a file of weights, and compare it with its checksum once more: it may have changed.

    Raises:
        UserError: It has.
    """
    entry = _entry(file.path, zipfile.ZIP_STORED)
    # The size decides how the library writes the entry.
    entry.file_size = file.size
    found = hashlib.sha256()
    with archive.open(entry, "w") as handle:
        for chunk in _chunks(source):
            found.update(chunk)
            handle.write(chunk)
    if found.hexdigest() != file.sha256:
        raise UserError("The weights changed while they were exported.", file=source, remedy=_REMEDY)


def _entry(name: str, method: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = method
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _chunks(file: Path) -> Iterator[bytes]:
    try:
        with open_regular(file) as handle:
            while chunk := handle.read(CHUNK):
                yield chunk
    except OSError as error:
        raise UserError(f"{file.name} cannot be read.", file=file, found=error.strerror or str(error)) from error
