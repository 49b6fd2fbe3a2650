"""From a bundle to a model folder, which appears whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.json_file import parse_json
from umseg.common.memory import memory_text
from umseg.common.text import few
from umseg.inference.bundle.archive import REMEDY, Archive, damaged, explained, inside, open_archive
from umseg.inference.bundle.manifest import MANIFEST, BundledFile, Manifest

_SPARE_BYTES = 2**26
"""Space that is left on a disk."""


@dataclass(frozen=True)
class Bundle:
    """An open bundle whose manifest fits the files in it.

    Attributes:
        path: Its file.
        manifest: What it says of itself.
        text: The manifest as it is written there.
    """

    path: Path
    manifest: Manifest
    text: str
    _archive: Archive

    @property
    def key(self) -> str:
        """A name for its content: the manifest has the checksums of all other files."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()[:32]

    def unpack(self, folder: Path) -> None:
        """Write its files into an empty folder, compare their checksums, and try whether they are a model.

        Raises:
            UserError: A file is damaged, the model cannot be used, or there is not enough space.
        """
        # This imports torch, which reading the manifest does not need.
        from umseg.inference.bundle.usable import check_usable

        needed = sum(file.size for file in self.manifest.files) + _SPARE_BYTES
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise UserError(
                "The bundle does not fit on the disk.",
                file=folder.parent,
                found=f"{memory_text(free)} free",
                expected=f"{memory_text(needed)} for {self.path.name}",
                remedy="Free some space, or choose another folder.",
            )
        (folder / MANIFEST).write_text(self.text, encoding="utf-8", newline="")
        for file in self.manifest.files:
            self._write(file, folder)
        try:
            check_usable(folder, self.manifest)
        except UserError as error:
            raise inside(error, self.path) from error

    def _write(self, file: BundledFile, folder: Path) -> None:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        with target.open("xb") as handle:
            for chunk in self._archive.chunks(file.path):
                handle.write(chunk)
                found.update(chunk)
        if found.hexdigest() != file.sha256:
            raise damaged(self.path, f"{file.path} with SHA-256 {found.hexdigest()}", f"SHA-256 {file.sha256}")


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle and compare the files in it with its manifest; only the manifest is read.

    Raises:
        UserError: The file is missing, is no bundle, or is damaged.
    """
    path = Path(path)
    with open_archive(path) as archive:
        text = archive.text(MANIFEST)
        with explained(path):
            content = parse_json(text)
        manifest = Manifest.from_json(content, path, REMEDY)
        announced = {file.path: file.size for file in manifest.files}
        found = {name: size for name, size in archive.sizes.items() if name != MANIFEST}
        if found != announced:
            different = sorted(name for name, _ in found.items() ^ announced.items())
            raise damaged(path, f"other files than {MANIFEST} lists: {few(dict.fromkeys(different))}")
        yield Bundle(path, manifest, text, archive)
