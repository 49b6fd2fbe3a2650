"""Compiled kernels, by numba for CPUs and by Triton for NVIDIA GPUs: the only room that imports either of them."""

from __future__ import annotations

from umseg.common.memory import use_huge_pages

use_huge_pages()  # before any module of the package allocates a tensor
