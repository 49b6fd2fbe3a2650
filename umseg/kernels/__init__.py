"""Compiled kernels, by numba for CPUs and by Triton for NVIDIA GPUs: the only room that imports either of them."""
