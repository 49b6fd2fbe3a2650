"""Measurements of umseg, most of them beside a peer: ``python -m benchmarks list``."""
