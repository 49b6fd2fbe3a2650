"""``umseg models``: what every model would be on a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.models.registry import MODELS, build_network, fit_configuration
from umseg.models.unet import UNet
from umseg.planning.plan import Configuration
from umseg.planning.training_memory import training_memory


@dataclass(frozen=True)
class ModelFacts:
    """One model on one configuration.

    Attributes:
        name: Of the model.
        patch: What it is trained on.
        parameters: Number of weights.
        macs: Multiply-accumulates of the convolutions and matrix products for one patch; the scans are not counted.
        memory: Expected GPU memory of training, bytes.
        obstacle: Why the model cannot be built here, else None; then the numbers are 0.
    """

    name: str
    patch: tuple[int, ...]
    parameters: int = 0
    macs: int = 0
    memory: int = 0
    obstacle: str | None = None


def describe_models(configuration: Configuration, description: DatasetDescription) -> list[ModelFacts]:
    """Build every model for a configuration and measure it; no weight is computed with."""
    return [_describe(name, fit_configuration(name, configuration), description) for name in MODELS]


def _describe(name: str, configuration: Configuration, description: DatasetDescription) -> ModelFacts:
    channels, classes = configuration.input_channels(description), description.num_classes
    try:
        network = build_network(name, configuration, channels, classes).eval()
    except UserError as error:
        return ModelFacts(name, configuration.patch_size, obstacle=error.remedy or error.problem)
    if isinstance(network, UNet):
        network.joins = False  # the published network's operations, whatever saves some of them on this machine
    # Fake tensors have shapes but no data: any patch takes no memory and no time.
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), counter:
        network(torch.empty(1, channels, *configuration.patch_size))
    return ModelFacts(
        name,
        configuration.patch_size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=counter.get_total_flops() // 2,
        memory=training_memory(name, configuration, channels, classes).total,
    )


def format_models(facts: Sequence[ModelFacts], batch_size: int) -> str:
    """A table for the terminal."""
    width = max(len(fact.name) for fact in facts)
    lines = [f"{'model':{width}}  {'patch':>14}  parameters     MACs  training memory (batch {batch_size})"]
    lines.append("-" * len(lines[0]))
    for fact in facts:
        start = f"{fact.name:{width}}  {'x'.join(map(str, fact.patch)):>14}"
        if fact.obstacle is not None:
            lines.append(f"{start}  {fact.obstacle}")
            continue
        memory = f"{fact.memory / 1e9:6.1f} GB"
        lines.append(f"{start}  {fact.parameters / 1e6:8.1f} M  {fact.macs / 1e9:5.0f} G  {memory}")
    return "\n".join([*lines, "", "MACs: of convolutions and matrix products, per patch. Memory: on a GPU, with SGD."])
