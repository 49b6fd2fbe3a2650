"""Weights of the released U-Mamba and of nnU-Net v2, renamed for the networks of umseg."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from umseg.common.errors import UserError

# In the original networks the same modules are registered under several names: the encoder is also registered inside
# the decoder, and convolution and norm are also in a list of all layers of their unit.
_ALIASES = (
    (re.compile(r"^decoder\.encoder\."), "encoder."),
    (re.compile(r"\.all_modules\.0\."), ".conv."),
    (re.compile(r"\.all_modules\.[1-9]\."), ".norm."),
)

# Parts of layers, original name to name in umseg. A # in the original name stands for a number, and {0}, {1}, ... for
# the places of these numbers in the new name.
_UNIT = {"conv": "0", "norm": "1"}
_TWO_UNITS = {"conv1.conv": "first.0", "conv1.norm": "first.1", "conv2.conv": "second", "conv2.norm": "norm"}
_POOLED = {**_TWO_UNITS, "skip.#.conv": "shortcut.conv", "skip.#.norm": "shortcut.norm"}
_PROJECTED = {"conv1": "first.0", "norm1": "first.1", "conv2": "second", "norm2": "norm", "conv3": "shortcut"}
_RELEASED_BLOCK = {**_PROJECTED, **_TWO_UNITS}
_SCAN = ("A_log", "D", "in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")
_MAMBA = {name: name for name in ("norm", *(f"mamba.{part}" for part in _SCAN))}


def _inside(theirs: str, ours: str, parts: Mapping[str, str]) -> dict[str, str]:
    return {f"{theirs}.{a}": f"{ours}.{b}" for a, b in parts.items()}


_HEADS = {"decoder.seg_layers.#": "heads.{0}"}
_PLAIN_DECODER = {
    **_inside("decoder.stages.#.convs.#", "decoder.{0}.{1}", _UNIT),
    "decoder.transpconvs.#": "upsamplings.{0}",
    **_HEADS,
}
_RELEASED = {
    **_inside("encoder.stem.#", "stem.{0}", _RELEASED_BLOCK),
    **_inside("encoder.stages.#.#", "encoder.{0}.{1}", _RELEASED_BLOCK),
    **_inside("decoder.stages.#.#", "decoder.{0}.{1}", _RELEASED_BLOCK),
    "decoder.upsample_layers.#.conv": "upsamplings.{0}.0",
    **_HEADS,
}
# A Mamba layer follows the blocks of its stage. Its place depends on their number, which only all names together show.
_NAMES: dict[str, dict[str, str]] = {
    "umamba_enc_released": {**_RELEASED, **_inside("encoder.mamba_layers.#", "encoder.{0}.mamba", _MAMBA)},
    "umamba_bot_released": {**_RELEASED, **_inside("mamba_layer", "encoder.last.mamba", _MAMBA)},
    "nnunet": {**_inside("encoder.stages.#.#.convs.#", "encoder.{0}.{2}", _UNIT), **_PLAIN_DECODER},
    "nnunet_resenc": {
        **_inside("encoder.stem.convs.#", "stem.{0}", _UNIT),
        **_inside("encoder.stages.#.blocks.#", "encoder.{0}.{1}", _POOLED),
        **_PLAIN_DECODER,
    },
}
_MARKS = {
    "umamba_enc_released": "encoder.mamba_layers.#.mamba.D",
    "umamba_bot_released": "mamba_layer.mamba.D",
    "nnunet": "encoder.stages.#.#.convs.#.conv",
    "nnunet_resenc": "encoder.stages.#.blocks.#.conv1.conv",
}
"""For each network, a layer that no other network has."""

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_VALUES = re.compile(r"\.(weight|bias)$")


def convert_state_dict(state_dict: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """Rename the weights of a released U-Mamba or an nnU-Net v2 network for a model of umseg.

    The conversion looks at names only. Loading the result with ``load_state_dict(strict=True)`` into a network of the
    same plan checks that it is complete. Values are neither copied nor changed.

    Args:
        state_dict: Weights under their original names, some of them under several names.
        model: Name of the model: ``umamba_enc_released``, ``umamba_bot_released``, ``nnunet`` or ``nnunet_resenc``.

    Raises:
        UserError: The model has no released counterpart, the names are those of another network, or entries that
            should be the same tensor differ.
    """
    if model not in _NAMES:
        raise UserError(
            f"No released weights fit model '{model}'.",
            found=model,
            expected=" or ".join(_NAMES),
            remedy="Choose the model that the weights were trained with.",
        )
    merged = _without_aliases(state_dict)
    if not _fits(merged, model):
        raise _misfit(merged, model)
    renamed = {_rename(name, model): value for name, value in merged.items()}
    blocks = _blocks_per_stage(renamed)
    return {_place_mamba(name, blocks): value for name, value in renamed.items()}


def _without_aliases(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with one name for each tensor."""
    merged: dict[str, Tensor] = {}
    for alias, value in state_dict.items():
        name = alias
        for pattern, replacement in _ALIASES:
            name = pattern.sub(replacement, name)
        first = merged.setdefault(name, value)
        if first is not value and (first.shape != value.shape or not _same_values(first, value)):
            raise UserError(
                "Two copies of weights that the network shares differ.",
                found=f"{alias}, which is not {name}",
                expected="the same values under both names",
                remedy="The checkpoint is damaged or was edited: use the original one.",
            )
    return merged


def _same_values(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of one shape have the same values; those that share their memory are not read."""
    shared = first.data_ptr() == second.data_ptr() and first.stride() == second.stride()
    return (shared and first.dtype == second.dtype) or torch.equal(first, second)


def _form(name: str) -> str:
    """The name of a layer with # for each number, e.g. ``encoder.stages.#.#.conv1``."""
    return _NUMBER.sub("#", _VALUES.sub("", name))


def _fits(names: Iterable[str], model: str) -> bool:
    forms = {_form(name) for name in names}
    return _MARKS[model] in forms and forms <= _NAMES[model].keys()


def _misfit(names: Iterable[str], model: str) -> UserError:
    unknown = [name for name in names if _form(name) not in _NAMES[model]]
    others = [other for other in _NAMES if _fits(names, other)]
    return UserError(
        f"These weights are not those of a released network for model '{model}'.",
        found=", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "") or "other names",
        expected=f"names such as {_MARKS[model].replace('#', '0')}",
        remedy=f"They are weights of {others[0]}: choose that model."
        if others
        else "Give the network weights of a checkpoint of nnU-Net v2 or of the released U-Mamba.",
    )


def _rename(name: str, model: str) -> str:
    values = _VALUES.search(name)
    ours = _NAMES[model][_form(name)].format(*_NUMBER.findall(name))
    return ours + (values.group() if values else "")


def _blocks_per_stage(names: Iterable[str]) -> Counter[int]:
    matches = (re.match(r"encoder\.(\d+)\.(\d+)\.", name) for name in names)
    return Counter(stage for stage, _ in {(int(match[1]), int(match[2])) for match in matches if match})


def _place_mamba(name: str, blocks: Counter[int]) -> str:
    """Put a Mamba layer behind the blocks of its stage, e.g. ``encoder.2.mamba`` to ``encoder.2.1`` after one block."""
    match = re.match(r"encoder\.(\d+|last)\.mamba\.", name)
    if not match:
        return name
    stage = max(blocks) if match[1] == "last" else int(match[1])
    return f"encoder.{stage}.{blocks[stage]}.{name[match.end() :]}"
