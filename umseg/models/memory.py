"""Settings of torch's memory on a CPU, where page faults, not arithmetic, can take most of a training step."""

from __future__ import annotations

import os

from umseg.common.memory import keep_freed_memory, return_freed_memory

__all__ = ["keep_freed_memory", "return_freed_memory", "use_huge_pages"]


def use_huge_pages() -> None:
    """Make torch use huge pages, of which Linux has to fill five hundred times fewer.

    The call has to come before the first tensor. torch reads the setting from the environment, where a value that the
    user has set takes precedence.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
