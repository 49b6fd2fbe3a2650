from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from batchgenerators.transforms.color_transforms import GammaTransform

from umseg.common import registry
from umseg.common.errors import UserError
from umseg.common.registry import Registry
from umseg.training.augmentation import (
    PIPELINES,
    Augmentation,
    Context,
    Transform,
    find_transforms,
    names,
    patch_geometry,
    pipelines,
)
from umseg.training.augmentation.pipelines import recorded_name, require_picklable

PATCHES = [(16, 16, 12), (24, 20), (4, 16, 16)]


@dataclass(frozen=True)
class Shift(Transform[float]):
    """Add the same number to all voxels of half of the samples."""

    name: str = "shift"

    def draw(self, rng: np.random.Generator, context: Context) -> float | None:
        return float(rng.normal()) if rng.random() < 0.5 else None

    def apply(self, image: torch.Tensor, label: torch.Tensor, params: float) -> tuple[torch.Tensor, torch.Tensor]:
        return image + params, label


class Shrink(Shift):
    """Make patches smaller, which is forbidden."""

    def apply(self, image: torch.Tensor, label: torch.Tensor, params: float) -> tuple[torch.Tensor, torch.Tensor]:
        return image[..., :1], label


class Wide(Shift):
    """Ask for the margin."""

    margin = True


SHIFT = Shift()
MISNAMED = Shift("other")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another package add transforms."""
    added = {"shift": "SHIFT", "misnamed": "MISNAMED", "no_transform": "PATCHES"}
    entries = [EntryPoint(name, f"{__name__}:{target}", "umseg.transforms") for name, target in added.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: [e for e in entries if e.group == group])
    tables = (pipelines, "TRANSFORMS", Transform, "name"), (names, "TRANSFORM_NAMES", None, None)
    for module, table, kind, named_by in tables:
        known = dict(getattr(module, table)._entries)
        monkeypatch.setattr(module, table, Registry("transform", "umseg.transforms", known, kind, named_by))


def batch(augmentation: Augmentation, seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment noise with two classes."""
    rng, size = np.random.default_rng(0), augmentation.context.geometry.initial_patch
    data = torch.from_numpy(rng.normal(size=(len(seeds), 2, *size)).astype(np.float32))
    label = torch.from_numpy(rng.integers(-1, 3, size=(len(seeds), 1, *size)).astype(np.int16))
    return augmentation(data.unbind(), label.unbind(), augmentation.draw(seeds))


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", ["umamba", "nnunet"])
def test_one_more_transform_changes_no_draw_and_no_result_of_the_others(name: str, patch: tuple[int, ...]) -> None:
    context, seeds = Context(2, patch_geometry(patch)), range(40)
    plain = PIPELINES[name]
    images, labels = batch(Augmentation(plain, context, (False, False)), seeds)
    for place in (1, 5, len(plain)):
        longer = (*plain[:place], SHIFT, *plain[place:])
        augmentation = Augmentation(longer, context, (False, False))
        draws = augmentation.draw(seeds)
        shifted = [params is not None for params in draws[place]]
        assert 5 < sum(shifted) < 35
        expected = Augmentation(plain, context, (False, False)).draw(seeds)
        np.testing.assert_equal((*draws[:place], *draws[place + 1 :]), expected)
        changed, changed_labels = batch(augmentation, seeds)
        assert torch.equal(changed_labels, labels)
        unshifted = ~torch.tensor(shifted)
        assert torch.equal(changed[unshifted], images[unshifted])
        assert not any(torch.equal(changed[i], images[i]) for i in np.flatnonzero(shifted))


def test_one_transform_less_changes_no_draw() -> None:
    context = Context(2, patch_geometry((16, 16)))
    full = Augmentation(PIPELINES["umamba"], context, (False, False)).draw(range(50))
    for i in range(len(full)):
        others = (*PIPELINES["umamba"][:i], *PIPELINES["umamba"][i + 1 :])
        np.testing.assert_equal(Augmentation(others, context, ()).draw(range(50)), (*full[:i], *full[i + 1 :]))


def test_the_names_are_those_of_the_objects() -> None:
    found = {name: tuple(transform.name for transform in pipeline) for name, pipeline in PIPELINES.items()}
    assert found == names.PIPELINE_NAMES


def test_names_are_checked_without_torch() -> None:
    code = "import sys; from umseg.training.augmentation.names import check_names; check_names('umamba,noise'); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr


def test_names_stand_for_pipelines_and_transforms() -> None:
    assert find_transforms("nnunet") == PIPELINES["nnunet"]
    assert [transform.name for transform in find_transforms("spatial, noise ,mirror")] == ["spatial", "noise", "mirror"]
    assert find_transforms(["umamba", SHIFT]) == (*PIPELINES["umamba"], SHIFT)
    assert find_transforms("none") == ()


@pytest.mark.usefixtures("plugins")
def test_another_package_can_add_a_transform() -> None:
    assert find_transforms("umamba,shift") == (*PIPELINES["umamba"], SHIFT)
    with pytest.raises(UserError, match="'misnamed' calls itself 'other'"):
        find_transforms("misnamed")
    with pytest.raises(UserError, match="'no_transform' is of the wrong type"):
        find_transforms("no_transform")


@pytest.mark.parametrize("chosen", ["umamba", "umamba,shift", ["umamba", SHIFT], [SHIFT], [], "none", "spatial, noise"])
@pytest.mark.usefixtures("plugins")
def test_the_recorded_name_finds_the_same_transforms(chosen: Any) -> None:
    recorded = recorded_name(chosen)
    assert " " not in recorded
    assert find_transforms(recorded) == find_transforms(chosen)
    assert recorded_name(recorded) == recorded


def test_transforms_of_batchgenerators_are_recorded_by_their_class() -> None:
    chosen = ["umamba", GammaTransform()]
    assert recorded_name(chosen) == "umamba,GammaTransform"
    assert find_transforms(chosen)[-1].name == "GammaTransform"


@pytest.mark.parametrize(
    ("chosen", "problem", "remedy"),
    [
        ("umambo", "Unknown transform 'umambo'", "Did you mean 'umamba'?"),
        ("umamba,noise", "The transform 'noise' occurs twice", "Leave one out"),
        ("noise,spatial", "'spatial' needs a margin", "Name it earlier"),
        ("", "Unknown transform ''", "--transforms"),
        ([3], "not a transform", ""),
    ],
)
def test_mistakes_are_explained(chosen: Any, problem: str, remedy: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        find_transforms(chosen)
    assert remedy in str(caught.value.remedy or "")


def test_an_object_that_cannot_travel_is_named() -> None:
    require_picklable(tuple(t for name in PIPELINES for t in PIPELINES[name]))

    class Local(Shift):
        pass

    with pytest.raises(UserError, match="'shift' cannot be sent to worker processes") as caught:
        require_picklable((*PIPELINES["umamba"], Local()))
    assert "--workers 0" in str(caught.value.remedy)


def test_the_size_of_a_patch_is_sacred() -> None:
    augmentation = Augmentation([Shrink()], Context(2, patch_geometry((8, 8))), (False, False))
    with pytest.raises(UserError, match="'shift' changed the size of a patch") as caught:
        batch(augmentation, range(10))
    assert caught.value.found == "an image of 8 x 1 and a label map of 8 x 8"
    assert caught.value.expected == "8 x 8"


def test_only_transforms_with_a_margin_see_it_and_the_patch_is_cropped_after_them() -> None:
    context = Context(2, patch_geometry((8, 8)))
    geometry = context.geometry
    for transform, size in ((Shift(), geometry.patch), (Wide(), geometry.initial_patch)):
        augmentation = Augmentation([transform], context, (False, False))
        draws = augmentation.draw(range(10))
        expected = [size if params is not None else geometry.patch for params in draws[0]]
        assert augmentation.sizes(draws, 10) == expected
        assert batch(augmentation, range(10))[0].shape == (10, 2, 8, 8)
    empty = Augmentation([], context, (False, False))
    assert empty.sizes(empty.draw(range(3)), 3) == [(8, 8)] * 3
