"""Bundles that prediction has unpacked, kept in the user's cache folder until newer ones need the space.

Each is unpacked once, into a folder that is named by the checksum of its manifest. A process that uses it holds a lock
there, which ends with the process, so that what is in use is not removed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from umseg.common.cache_folder import cache_folder
from umseg.common.errors import UserError
from umseg.common.files import FILE_MODE, atomic_folder, remove_leftovers
from umseg.common.processes.claims import claim
from umseg.inference.bundle.manifest import MANIFEST, Manifest
from umseg.inference.bundle.unpack import Bundle, open_bundle

log = logging.getLogger(__name__)

MOST_BYTES = 20 * 10**9
"""Bundles are removed from the cache, those first that were not used for longest, until the others have no more."""

_USERS = "users"
_WAIT = 600.0
"""Seconds to wait for another process that unpacks a bundle."""
_guard = threading.Lock()
_temporary: dict[str, Path] = {}
_in_use: dict[Path, FileLock] = {}


def unpacked(file: Path) -> Path:
    """The model folder of a bundle; it is unpacked unless that was done before.

    Where the cache folder cannot be written, a temporary folder serves, which goes when this process ends.

    Raises:
        UserError: The bundle is missing or damaged, or there is no space for it.
    """
    with _guard, open_bundle(file) as bundle:
        root = _root()
        if root is None:
            return _unpack_for_this_process(bundle)
        entry = root / bundle.key
        models = entry / bundle.manifest.name
        with claim(root, "unpacks a bundle", wait=_WAIT):
            if not _is_whole(models, bundle.manifest):
                remove_leftovers(root)
                _remove(entry)
                _make_room(root, sum(file.size for file in bundle.manifest.files))
                log.info("Unpacking %s to %s.", bundle.path.name, entry)
                with atomic_folder(entry) as folder:
                    inner = folder / bundle.manifest.name
                    inner.mkdir()
                    bundle.unpack(inner)
            _use(entry)
        return models


def _root() -> Path | None:
    """The folder of all unpacked bundles; None if it cannot be made or written."""
    try:
        root = cache_folder() / "bundles"
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return root if os.access(root, os.W_OK) else None


def _unpack_for_this_process(bundle: Bundle) -> Path:
    if bundle.key not in _temporary:
        log.warning("The cache folder cannot be written: %s is unpacked for this process alone.", bundle.path.name)
        root = Path(tempfile.mkdtemp(prefix="umseg-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        with atomic_folder(root / bundle.manifest.name) as folder:
            bundle.unpack(folder)
        _temporary[bundle.key] = root
    return _temporary[bundle.key] / bundle.manifest.name


def _is_whole(models: Path, manifest: Manifest) -> bool:
    """Whether every file of a bundle is there with its size; weights have checksums of their own, read with them."""
    try:
        return (models / MANIFEST).is_file() and all(
            (models / file.path).stat().st_size == file.size for file in manifest.files
        )
    except OSError:
        return False


def _use(entry: Path) -> None:
    """Hold a lock that keeps an entry, until this process ends, and note the time."""
    with contextlib.suppress(OSError):
        os.utime(entry)
    if entry in _in_use:
        return
    users = entry / _USERS
    _is_used(entry)
    with contextlib.suppress(OSError, NotImplementedError, Timeout):
        users.mkdir(exist_ok=True)
        lock = FileLock(users / uuid.uuid4().hex, mode=FILE_MODE)
        lock.acquire(timeout=0)
        _in_use[entry] = lock


def _make_room(root: Path, needed: int) -> None:
    """Remove the entries that were not used for longest, until what is needed fits; those in use stay."""
    entries = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    sizes = {entry: sum(file.stat().st_size for file in _files(entry)) for entry in entries}
    for entry in entries:
        if sum(sizes.values()) + needed <= MOST_BYTES:
            return
        if not _is_used(entry):
            log.info("Removing %s, a bundle that was not used for long, from the cache.", entry)
            _remove(entry)
            del sizes[entry]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _is_used(entry: Path) -> bool:
    """Whether a process holds a lock of an entry; the locks of processes that have ended are removed.

    Where locks cannot be tried, it may be in use.
    """
    used = False
    for file in (entry / _USERS).glob("*"):
        lock = FileLock(file, mode=FILE_MODE)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError, NotImplementedError):
            used = True
            continue
        lock.release()
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
    return used


def _remove(entry: Path) -> None:
    """Remove an entry; it loses its name first, so that nobody takes half of it for a model."""
    if not entry.exists():
        return
    _in_use.pop(entry, None)
    doomed = entry.with_name(f".tmp-{uuid.uuid4().hex[:8]}")
    try:
        entry.rename(doomed)
    except OSError as error:
        raise UserError(
            "An unpacked bundle cannot be removed from the cache.",
            file=entry,
            found=error.strerror or str(error),
            remedy="Remove the folder.",
        ) from error
    shutil.rmtree(doomed, ignore_errors=True)
