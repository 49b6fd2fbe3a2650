"""The ``ModelSpec``, which holds what umseg knows about a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture

if TYPE_CHECKING:
    from umseg.architectures.options import ModelOptions

Describe = Callable[[Sequence[Stage]], Architecture]
Build = Callable[[Sequence[Stage], int, int, bool, "ModelOptions"], Any]
"""``build(stages, in_channels, num_classes, deep_supervision, options)`` returns a ``torch.nn.Module``.

The patch size is ``stages[0].size``. The function imports torch, and the package that the network comes with, only when
it is called; an ImportError is explained to the user with ``ModelSpec.install``."""


@dataclass(frozen=True)
class ModelSpec:
    """A network that users choose by name.

    A U-Net of known blocks needs only ``describe``: umseg builds it, counts its memory and draws it from the
    description. Any other network needs only ``build``, which returns a module from (batch, in_channels, *patch) to
    logits (batch, num_classes, *patch); its memory is measured.

    Attributes:
        name: Name that users write after ``--model``.
        origin: Origin of the network, one line of text for ``umseg models``.
        describe: Function that describes the layers on the plan's stages; None where there is no description.
        build: Function that builds the network; None builds it from the description.
        defaults: Training settings by the names of ``TrainingConfig``, for those that neither the user nor a recipe
            sets.
        options: Names of the fields of ``ModelOptions`` that the network understands.
        patch_divisor: Number to a multiple of which every axis of the patch is rounded up.
        follows_plan: Whether ``build`` reads more of the stages than the patch size. If not, memory that was measured
            for one plan holds for every plan with the same patch.
        supervises: Whether a network made by ``build`` can return logits of several resolutions, a list from the full
            resolution down, one per decoder stage of the plan, when ``deep_supervision`` is true. Otherwise the
            argument is always false.
        checkpoints: Whether a network made by ``build`` obeys its attribute ``checkpoint_activations``, which makes it
            compute activations again in the backward pass instead of keeping them.
        package: Installed package that the network comes with, whose version decides whether memory that was measured
            still holds; None where that is umseg.
        install: Command that installs what the network needs beyond umseg itself; None where nothing is needed.

    Raises:
        ValueError: Neither ``describe`` nor ``build`` is given.
    """

    name: str
    origin: str
    describe: Describe | None = None
    build: Build | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: frozenset[str] = frozenset()
    patch_divisor: int = 1
    follows_plan: bool = True
    supervises: bool = False
    checkpoints: bool = False
    package: str | None = None
    install: str | None = None

    def __post_init__(self) -> None:
        """Refuse a network that nothing can build."""
        if self.describe is None and self.build is None:
            raise ValueError(f"the network '{self.name}' needs a function that describes or one that builds it")

    @property
    def has_mamba_layers(self) -> bool:
        """Whether the network has Mamba layers, which ``--no-ssm`` takes out."""
        return "ssm" in self.options

    @property
    def can_checkpoint(self) -> bool:
        """Whether the network can compute activations twice instead of keeping them."""
        return self.build is None or self.checkpoints

    def rounded_patch(self, patch: Sequence[int]) -> tuple[int, ...]:
        """The patch, rounded up to multiples of ``patch_divisor``.

        At least one axis has two such multiples, so that a norm over the coarsest feature map has more than one value.
        """
        if self.patch_divisor == 1:
            return tuple(patch)
        steps = [-(-size // self.patch_divisor) for size in patch]
        if max(steps) == 1:
            steps = [2] * len(steps)
        return tuple(step * self.patch_divisor for step in steps)
