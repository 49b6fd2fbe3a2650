"""The table of metrics, open to other packages through entry points."""

from __future__ import annotations

import re
from collections.abc import Sequence

from umseg.common.errors import UserError
from umseg.common.registry import Registry
from umseg.evaluation.metrics.lesions import LESION_METRICS, with_rule
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.overlap import DSC, IOU, PRECISION, SENSITIVITY, VOLUME_DIFFERENCE
from umseg.evaluation.metrics.surface import ASSD, ASSD_POOLED, HD, HD95, MASD, NSD

_OVERLAP = (IOU, SENSITIVITY, PRECISION, VOLUME_DIFFERENCE)
_OWN = (DSC, NSD, HD95, ASSD, *_OVERLAP, HD, MASD, ASSD_POOLED, *LESION_METRICS)

METRICS: Registry[Metric] = Registry(
    "metric", "umseg.metrics", {metric.key: metric for metric in _OWN}, Metric, named_by="key"
)

DEFAULT_METRICS = (DSC.key, NSD.key)


def choose_metrics(keys: Sequence[str], option: str = "--metrics") -> tuple[Metric, ...]:
    """The metrics of these names, in this order.

    Args:
        keys: Names of metrics.
        option: The command-line option that takes them, for the message.

    Raises:
        UserError: No metric is named, one is named twice, or there is none of that name.
    """
    if not keys or len(set(keys)) < len(keys):
        raise UserError(
            "The metrics are not valid.",
            found=", ".join(keys) or "no metric",
            expected="at least one metric, each named once",
            remedy=f"Correct {option}; known metrics are {', '.join(METRICS)}.",
        )
    return tuple(_choose(key, option) for key in keys)


def _choose(key: str, option: str) -> Metric:
    """The metric of a name, which may state a rule: ``lesion_f1@0.1``, ``lesion_sensitivity:0.1..1``."""
    name = re.split("[@:]", key, maxsplit=1)[0]
    if key in METRICS or name == key:
        return METRICS.look_up(key, option)
    metric = METRICS.look_up(name, option)
    chosen = with_rule(metric, key[len(name) :]) if metric in LESION_METRICS else None
    if chosen is None:
        raise UserError(
            f"The rule of the metric {name} is not valid.",
            found=key,
            expected=f"{LESION_METRICS[0].key}@0.1 (an IoU above 0 and at most 1), {LESION_METRICS[1].key}:0.1..1 "
            "(from 0.1 to less than 1 ml), or both, @ first; only the metrics of lesions have rules",
            remedy=f"Correct {option}.",
        )
    return chosen
