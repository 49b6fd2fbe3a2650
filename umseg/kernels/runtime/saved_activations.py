"""Activations that are not kept for the backward pass but computed again there, because that is cheap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from umseg.kernels.runtime.torch_private import StorageWeakRef, storage_address, tensor_version


@dataclass(frozen=True)
class _Again:
    """A stand-in for a saved tensor: the function that fills its memory again, and its place in that memory."""

    make: Callable[[], Tensor]
    size: torch.Size
    stride: tuple[int, ...]
    offset: int | torch.SymInt

    def tensor(self) -> Tensor:
        return self.make().as_strided(self.size, self.stride, self.offset)


@dataclass(frozen=True)
class _Recipe:
    """The recipe by which a tensor is computed again.

    Attributes:
        storage: Weak reference to the tensor's storage, which does not keep its memory alive but keeps any other
            storage from taking its address.
        version: Version of the tensor's values. After a change in place the recipe is no longer right.
        make: Function that computes the tensor, in the same layout.
    """

    storage: StorageWeakRef
    version: int
    make: Callable[[], Tensor]


@dataclass
class _Recipes:
    """The recipes of the tensors of one forward pass, by the addresses of their storages."""

    known: dict[int, _Recipe] = field(default_factory=dict)

    def note(self, out: Tensor, make: Callable[[], Tensor]) -> None:
        storage = StorageWeakRef(out.untyped_storage())
        self.known[storage.cdata] = _Recipe(storage, tensor_version(out), make)

    def pack(self, saved: Tensor) -> Tensor | _Again:
        """The object that autograd keeps in place of a tensor that it saves."""
        recipe = self.known.get(storage_address(saved.untyped_storage()))
        if recipe is None or recipe.version != tensor_version(saved):
            return saved
        return _Again(recipe.make, saved.size(), saved.stride(), saved.storage_offset())


_recipes: ContextVar[_Recipes | None] = ContextVar("recipes", default=None)


def _unpack(packed: Tensor | _Again) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    with torch.no_grad():
        return packed.tensor()


@contextmanager
def recomputing(enabled: bool) -> Iterator[None]:
    """A block in which autograd keeps recipes instead of the tensors that are registered with ``computed_again``.

    Convolutions save their inputs, and the normalisation before them saves its own input; one of the two is enough.
    """
    if not enabled or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield
        return
    recipes = _Recipes()
    token = _recipes.set(recipes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(recipes.pack, _unpack):
            yield
    finally:
        _recipes.reset(token)
        recipes.known.clear()  # autograd keeps the hooks, which would keep the inputs of every recipe alive


def _current() -> _Recipes | None:
    # A compiler decides for itself which tensors are kept, and cannot read a context variable.
    return None if torch.compiler.is_compiling() else _recipes.get()


def computed_again(out: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """Register how a tensor can be computed again, and return the tensor.

    Args:
        out: The tensor.
        make: Function that computes it again, in the same layout and from tensors that are kept anyway.
    """
    recipes = _current()
    if recipes is not None:
        recipes.note(out, make)
    return out


def concatenated(first: Tensor, second: Tensor) -> Tensor:
    """The concatenation of both tensors along the channels, computed again from its parts in the backward pass."""
    out, recipes = torch.cat((first, second), dim=1), _current()
    if recipes is not None:
        parts = [recipes.pack(part.detach()) for part in (first, second)]
        recipes.note(out, lambda: torch.cat([_unpack(part) for part in parts], dim=1))
    return out
