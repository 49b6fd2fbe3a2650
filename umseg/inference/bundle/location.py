"""Where a model is: in a folder, in a bundle, or on the hub."""

from __future__ import annotations

import os
from pathlib import Path

from umseg.inference.bundle.cache import unpacked
from umseg.inference.bundle.hub import fetch, hub_model, is_on_hub
from umseg.inference.bundle.manifest import ENDING


def is_bundle(path: Path) -> bool:
    """Whether a path names a bundle, by its ending; a folder is none."""
    return path.suffix.lower() == ENDING and not path.is_dir()


def local_model(model: str | os.PathLike[str], *, quiet: bool = False) -> Path:
    """The model folder that a user means.

    Args:
        model: A model folder, which is returned as it is; the file of a bundle; or ``hf://organisation/name``, with
            ``@revision`` or without.
        quiet: Whether to show no progress bars.

    Raises:
        UserError: The bundle is damaged, or the model cannot be had from the hub.
    """
    if is_on_hub(model):
        return unpacked(fetch(hub_model(model), quiet=quiet))
    path = Path(model)
    return unpacked(path) if is_bundle(path) else path
