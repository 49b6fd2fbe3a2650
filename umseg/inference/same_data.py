"""Whether models can predict together: they were trained for the same channels and labels."""

from __future__ import annotations

from collections.abc import Sequence

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.description import DatasetDescription
from umseg.models.card import ModelCard


def require_same_data(cards: Sequence[ModelCard]) -> None:
    """Refuse models whose probabilities cannot be averaged.

    Args:
        cards: Cards of the models; at least one.

    Raises:
        UserError: They were trained for different channels or labels.
    """
    first = cards[0]
    for card in cards[1:]:
        if _outputs(card.dataset) != _outputs(first.dataset):
            raise UserError(
                "The models cannot predict together, because they were trained for different data.",
                found=f"{_told(card.dataset, first.dataset)} ({card.model} of {card.plan.dataset_name})",
                expected=f"{_told(first.dataset, card.dataset)} ({first.model} of {first.plan.dataset_name})",
                remedy="Name models with the same channels and labels.",
            )


def _outputs(dataset: DatasetDescription) -> tuple[object, ...]:
    """What inputs and outputs of a network mean, in their order; the names of objects do not matter."""
    classes = None if dataset.task == "instance" else tuple(dataset.foreground.items())
    return dataset.task, tuple(dataset.channel_names.values()), classes


def _told(dataset: DatasetDescription, other: DatasetDescription) -> str:
    """Channels and classes in words, those first that the other one does not have."""
    own = dataset.foreground
    names = sorted(own, key=lambda name: own[name] == other.foreground.get(name))
    classes = few((f"{name} = {own[name]}" for name in names), 20)
    kind = "objects" if dataset.task == "instance" else classes
    return f"channels {', '.join(dataset.channel_names.values())}; {kind}"
