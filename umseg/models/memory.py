"""How torch gets its memory on a CPU: page faults, not arithmetic, can take most of a training step."""

from __future__ import annotations

import os

from umseg.common.memory import keep_freed_memory, return_freed_memory

__all__ = ["keep_freed_memory", "return_freed_memory", "use_huge_pages"]


def use_huge_pages() -> None:
    """Ask torch for huge pages, which Linux fills five hundred times fewer of; to be called before its first tensor.

    torch reads the switch from the environment; a user's own setting stands.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
