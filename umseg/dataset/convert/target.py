"""The data set that a conversion writes: a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.files import atomic_path, write_text
from umseg.common.text import counted
from umseg.dataset.dataset import find_cases, load_dataset


def require_free(destination: Path) -> None:
    """Require a destination that does not exist or is an empty folder.

    Raises:
        UserError: The destination is a file, or a folder that is not empty.
    """
    if destination.is_dir():
        entries = sorted(entry.name for entry in destination.iterdir())
        found = f"{len(entries)} entries, e.g. {entries[0]}" if entries else None
    else:
        found = "a file" if destination.exists() else None
    if found:
        raise UserError(
            "The destination is in use.",
            file=destination,
            found=found,
            expected="a folder that does not exist yet, or an empty one",
            remedy="Name another folder, or remove this one first.",
        )


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``destination``; on success it is renamed to it, on any error removed.

    Raises:
        UserError: The destination is in use, or cannot be created.
    """
    require_free(destination)
    # A link to an empty folder stays: what it points to is filled.
    final = destination.resolve()
    temporary = final.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{final.name}")
    try:
        with _explained(destination):
            temporary.mkdir(parents=True)
        yield temporary
        with _explained(destination):
            # Not every system renames onto a folder, even an empty one.
            if final.is_dir():
                final.rmdir()
            temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file byte for byte, whole or not at all."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def write_description(
    folder: Path,
    channel_names: Sequence[str],
    labels: Mapping[str, int],
    num_training: int,
    file_ending: str,
    **fields: object,
) -> None:
    """Write ``dataset.json``; ``fields`` are written after the fields that every data set has."""
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channel_names)},
        "labels": dict(labels),
        "numTraining": num_training,
        "file_ending": file_ending,
        **fields,
    }
    write_text(folder / "dataset.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def summary(folder: Path) -> str:
    """One line about a data set that was written, read back from its files.

    Raises:
        UserError: The data set cannot be loaded.
    """
    dataset = load_dataset(folder)
    about = dataset.description
    counts = [counted(len(dataset.cases), "training case")]
    if (folder / "imagesTs").is_dir():
        tests = find_cases(folder / "imagesTs", about.num_channels, about.file_ending)
        counts.append(counted(len(tests), "test case"))
    channels = ", ".join(about.channel_names.values())
    return f"{' and '.join(counts)} of {counted(about.num_channels, 'channel')} ({channels}) in {folder}"


@contextlib.contextmanager
def _explained(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            "The folder cannot be created.",
            file=destination,
            found=error.strerror or str(error),
            remedy="Check that you have permission to write there, or name another folder.",
        ) from error
