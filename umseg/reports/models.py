"""``umseg models``: size, cost and memory of every model on a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from umseg.architectures.memory.model import Measure
from umseg.architectures.options import ModelOptions
from umseg.architectures.registry import NETWORKS, network_spec
from umseg.architectures.spec import ModelSpec
from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription
from umseg.kernels.runtime.torch_private import fake_tensors
from umseg.models.registry import build_from_spec, fit_configuration
from umseg.planning.plan import Configuration
from umseg.planning.stages import configuration_stages
from umseg.planning.training_memory import training_memory


@dataclass(frozen=True)
class ModelFacts:
    """One model on one configuration.

    Attributes:
        name: The model's name.
        patch: The patch that it is trained on, voxels per axis.
        origin: Where the network comes from.
        parameters: Number of weights.
        macs: Multiply-accumulates of the convolutions and matrix products for one patch; the scans are not counted.
        memory: Expected GPU memory of training, bytes.
        obstacle: Why the model cannot be built here, with what to do about it; None where it can. Then the numbers
            are 0.
    """

    name: str
    patch: tuple[int, ...] = ()
    origin: str = ""
    parameters: int = 0
    macs: int = 0
    memory: int = 0
    obstacle: str | None = None


def describe_models(
    configuration: Configuration, description: DatasetDescription, measure: Measure
) -> Iterator[ModelFacts]:
    """Build every model for a configuration and count its parameters, operations and memory; nothing is computed.

    Args:
        configuration: The plan's configuration.
        description: Channels and classes of the data set.
        measure: Measures the memory of models whose layers are not described, in seconds each.

    Yields:
        One model after another, as each takes a moment.
    """
    for name in NETWORKS:
        yield _describe(name, configuration, description, measure)


def _describe(name: str, configuration: Configuration, description: DatasetDescription, measure: Measure) -> ModelFacts:
    channels, classes = configuration.input_channels(description), description.num_classes
    facts = ModelFacts(name)
    try:
        spec = network_spec(name)
        configuration = fit_configuration(name, configuration)
        facts = ModelFacts(name, configuration.patch_size, spec.origin)
        network = _build(spec, configuration, channels, classes)
        macs = _count_macs(network, (1, channels, *configuration.patch_size))
        memory = training_memory(name, configuration, channels, classes, measure=measure).total
    except UserError as error:
        return ModelFacts(name, facts.patch, facts.origin, obstacle=error.remedy or error.problem)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return ModelFacts(name, facts.patch, facts.origin, parameters, macs, memory)


def _build(spec: ModelSpec, configuration: Configuration, in_channels: int, num_classes: int) -> nn.Module:
    """The network with the operations of the published one, none of them fused to save time on this machine."""
    stages = configuration_stages(configuration)
    return build_from_spec(spec, stages, in_channels, num_classes, False, ModelOptions(), fused=False).eval()


def _count_macs(network: nn.Module, shape: Sequence[int]) -> int:
    counter = FlopCounterMode(display=False)
    with fake_tensors(allow_real=True), torch.no_grad(), counter:
        network(torch.empty(*shape))
    return counter.get_total_flops() // 2


def format_models(facts: Iterable[ModelFacts], batch_size: int) -> Iterator[str]:
    """The lines of a table, each as soon as it is known, and below it where each network comes from."""
    width = max(map(len, NETWORKS))
    yield (heading := f"{'model':{width}}  {'patch':>14}  parameters     MACs  training memory (batch {batch_size})")
    yield "-" * len(heading)
    origins = []
    for fact in facts:
        origins += [f"{fact.name:{width}}  {fact.origin}"] if fact.origin else []
        start = f"{fact.name:{width}}  {'x'.join(map(str, fact.patch)):>14}"
        if fact.obstacle is not None:
            yield f"{start}  {fact.obstacle}"
            continue
        memory = f"{fact.memory / 1e9:6.1f} GB"
        yield f"{start}  {fact.parameters / 1e6:8.1f} M  {fact.macs / 1e9:5.0f} G  {memory}"
    yield from ("", "MACs: convolutions and matrix products, for one patch. Memory: on a GPU, trained with SGD.", "")
    yield from origins
