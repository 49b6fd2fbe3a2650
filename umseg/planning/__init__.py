"""Planning: measure a data set (fingerprint) and decide how networks for it are trained (plan)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

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

__getattr__ = lazy_names(__name__, _HOME)
