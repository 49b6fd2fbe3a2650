"""On a machine with a GPU and little else, the tests of the scan still run (see ``scan/test_gpu.py``)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# Packages that the other tests of this folder need, themselves or through the planner.
_OTHERS = ("hypothesis", "tqdm", "SimpleITK")

collect_ignore: list[str] = []
if any(find_spec(package) is None for package in _OTHERS):
    here = Path(__file__).parent
    collect_ignore = [str(file.relative_to(here)) for file in here.glob("*/test_*.py") if file.parent.name != "scan"]
