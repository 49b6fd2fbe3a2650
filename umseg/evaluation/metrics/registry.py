"""The table of metrics, open to other packages through entry points."""

from __future__ import annotations

from collections.abc import Sequence

from umseg.common.errors import UserError
from umseg.common.registry import Registry
from umseg.evaluation.metrics.metric import Metric
from umseg.evaluation.metrics.overlap import DSC, IOU, PRECISION, SENSITIVITY, VOLUME_DIFFERENCE
from umseg.evaluation.metrics.surface import ASSD, HD95, NSD

_OWN = (DSC, NSD, HD95, ASSD, IOU, SENSITIVITY, PRECISION, VOLUME_DIFFERENCE)

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
    return tuple(METRICS.look_up(key, option) for key in keys)
