"""Planning: measure a data set (fingerprint) and decide how networks for it are trained (plan)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umseg.planning.fingerprint import Fingerprint, IntensityStatistics, extract_fingerprint
    from umseg.planning.overrides import Overrides
    from umseg.planning.plan import Configuration, Plan
    from umseg.planning.planner import make_plan

_HOME = {
    "Configuration": "plan",
    "Fingerprint": "fingerprint",
    "IntensityStatistics": "fingerprint",
    "Overrides": "overrides",
    "Plan": "plan",
    "extract_fingerprint": "fingerprint",
    "make_plan": "planner",
}

__all__ = [
    "Configuration",
    "Fingerprint",
    "IntensityStatistics",
    "Overrides",
    "Plan",
    "extract_fingerprint",
    "make_plan",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: numpy and pydantic take longer to load than `umseg --help` may.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
