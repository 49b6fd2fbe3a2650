"""Measurements of umseg, most of them in comparison with a peer: ``python -m benchmarks list``."""
