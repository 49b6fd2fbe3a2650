"""A hash of the bytes of a data set, which shows whether the data set has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from umseg.common.record import Record
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.io.registry import format_of
from umseg.dataset.listing import is_folder, not_readable, refuse_missing

_BLOCK = 1 << 20


def case_digest(case: Case) -> str:
    """Hash of the bytes of a case's files: the image channels in their order, then the label map.

    All files that hold an image count: companions, and the files of a folder that is an image, whatever their names.

    Raises:
        UserError: A file cannot be read.
    """
    files = [*case.images, *([] if case.label is None else [case.label])]
    return _hash(part for file in files for part in _image_parts(file))


def dataset_digest(dataset: Dataset, cases: Sequence[str]) -> str:
    """Hash of a data set.

    Args:
        dataset: The data set. Its description, the names of its cases and the orientation that the user chose are part
            of the hash; its place is not.
        cases: Hash of every case (``case_digest``).
    """
    description = json.dumps(dataset.description.model_dump(mode="json"), sort_keys=True)
    ids = [case.id for case in dataset.cases]
    chosen = [] if dataset.orientation is None else [f"orientation {dataset.orientation}"]
    return _hash([dataset.name, description, *ids, *cases, *chosen])


def digest_of_record(record: Record) -> str:
    """Hash of a record's content."""
    return _hash([json.dumps(record.model_dump(mode="json"), sort_keys=True)])


def _image_parts(path: Path) -> list[str]:
    digests = [digest_of_file(file) for file in format_of(path).files(path)]
    return [_hash(sorted(digests))] if is_folder(path) else digests


def digest_of_file(path: Path) -> str:
    """Hash of a file's bytes.

    Raises:
        UserError: The file cannot be read.
    """
    refuse_missing(path)
    found = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise not_readable(path, error) from error
    return found.hexdigest()


def _hash(parts: Iterable[str]) -> str:
    # As JSON, so that no two lists of parts run together to the same text.
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=16).hexdigest()
