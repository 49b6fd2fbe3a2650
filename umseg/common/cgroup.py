"""Memory limits of Linux control groups, which containers and batch systems set: less than the machine's memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def cgroup_memory(membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int | None:
    """Bytes that this process's control groups still allow; None where there is no limit, or no control group.

    A limit of a group counts for all groups inside it, so the smallest remainder is returned. The page cache of files
    is charged to a group but given up when memory is needed, so it counts as free.

    Args:
        membership: File that lists the groups of this process.
        mount: Folder under which the groups are mounted, version 1 in its subfolder ``memory``.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            found += [_left(folder, "memory.max", "memory.current") for folder in _parents(mount, group)]
        elif "memory" in controllers.split(","):
            folders = _parents(mount / "memory", group)
            found += [_left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes") for folder in folders]
    return min((left for left in found if left is not None), default=None)


def _parents(root: Path, group: str) -> Iterator[Path]:
    """The folders of a group and of all groups around it; inside a container the named folders may not exist."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:length])


def _left(folder: Path, limit_file: str, used_file: str) -> int | None:
    try:
        # Version 2 writes "max" for no limit.
        limit = int((folder / limit_file).read_text(encoding="utf-8"))
        used = int((folder / used_file).read_text(encoding="utf-8"))
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        # Version 1 counts the groups inside under names with this prefix.
        cache = sum(int(statistics.get(f"total_{name}", statistics.get(name, 0))) for name in _CACHE)
    except (OSError, ValueError):
        return None
    return max(limit - max(used - cache, 0), 0)


_CACHE = ("inactive_file", "active_file")
