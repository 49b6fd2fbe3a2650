"""The table of networks, open to other packages through entry points of the group ``umseg.networks``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from umseg.architectures.networks import monai, nnunet, umamba
from umseg.architectures.spec import ModelSpec
from umseg.common.errors import UserError
from umseg.common.registry import Registry

__all__ = ["NETWORKS", "ModelSpec", "network_spec", "network_specs"]

NETWORKS: Registry[ModelSpec] = Registry(
    "model",
    "umseg.networks",
    {spec.name: spec for family in (umamba, nnunet, monai) for spec in family.NETWORKS},
    accepts=ModelSpec,
    named_by="name",
)
"""Every network by the name that users write after ``--model``."""


def network_spec(model: str) -> ModelSpec:
    """The network of that name.

    Raises:
        UserError: No network has that name, or the package that adds it cannot be used.
    """
    return NETWORKS.look_up(model, "--model")


def network_specs() -> Iterator[ModelSpec]:
    """All networks in the order of the table, except those of packages that cannot be used."""
    for name in NETWORKS:
        spec = None
        with contextlib.suppress(UserError):
            spec = network_spec(name)
        if spec is not None:
            yield spec
