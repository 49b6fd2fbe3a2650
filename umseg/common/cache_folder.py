"""The folder in which umseg keeps what it can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    r"""The user's cache folder of umseg, where the system has such folders; it need not exist.

    That is ``%LOCALAPPDATA%\umseg\cache`` on Windows, ``~/Library/Caches/umseg`` on macOS, and elsewhere
    ``$XDG_CACHE_HOME/umseg`` or ``~/.cache/umseg``.

    Raises:
        RuntimeError: The user has no home folder.
    """
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        root = Path(local) if Path(local).is_absolute() else Path.home() / "AppData" / "Local"
        return root / "umseg" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "umseg"
    given = os.environ.get("XDG_CACHE_HOME", "")
    # By the standard a relative path there is ignored.
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "umseg"
