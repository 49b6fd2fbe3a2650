"""Bundles of several models that somebody forged: each model and best.json are checked as those of one model are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.inference.bundle.attacks_on_archives import Files
from tests.inference.bundle.zips import STORED, Member, build, described, members_of
from tests.inference.models import write_model
from umseg.common.errors import UserError
from umseg.inference.best import Best, Candidate
from umseg.inference.best import Member as Model
from umseg.inference.bundle.cache import unpacked
from umseg.inference.bundle.manifest import MANIFEST, Manifest
from umseg.workflows.bundle.export import export_bundle
from umseg.workflows.bundle.imported import import_bundle
from umseg.workspace import BEST_CHOICE, CARD

ONE, OTHER = "models/model_1/", "models/model_2/"
WEIGHTS = "fold_0/weights_final.safetensors"

Change = Callable[[Files], Files]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    workspace = tmp_path_factory.mktemp("choice")
    names = ("nnunet__small", "umamba_bot__small")
    for name in names:
        write_model(workspace / "models" / name)
    Best(
        dataset_name="Dataset900_Small",
        metric="DSC",
        cases=4,
        candidates=(Candidate(models=names, score=0.5),),
        members=tuple(Model(model=name, folds=("0",)) for name in names),
        score=0.5,
        score_after=0.5,
    ).save(workspace / BEST_CHOICE)
    export_bundle(workspace, workspace / "liver.umseg")
    return members_of(workspace / "liver.umseg")


def archive(files: Files) -> bytes:
    return build([Member(name, text, STORED if name.endswith("tensors") else 8) for name, text in files.items()])


def without(*names: str) -> Change:
    return lambda files: described({name: content for name, content in files.items() if name not in names})


def with_files(more: dict[str, bytes]) -> Change:
    return lambda files: described({**files, **more})


def with_best(**fields: Any) -> Change:
    return lambda files: described(
        {**files, BEST_CHOICE: json.dumps({**json.loads(files[BEST_CHOICE]), **fields}).encode()}
    )


def with_members(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    def changed(files: Files) -> Files:
        members = json.loads(files[MANIFEST])["members"]
        change(members)
        return described(files, members=members)

    return changed


def with_card(change: Callable[[dict[str, Any]], object]) -> Change:
    def changed(files: Files) -> Files:
        card = json.loads(files[OTHER + CARD])
        change(card)
        return described({**files, OTHER + CARD: json.dumps(card).encode()})

    return changed


def as_cascade(card: dict[str, Any], first_stage: str) -> None:
    configurations = card["plan"]["configurations"]
    configurations["small"]["previous_stage"] = "low"
    configurations["low"] = {**configurations["small"], "previous_stage": None, "next_stage": "small"}
    card["first_stage"] = first_stage


def as_one_model(files: Files) -> Files:
    manifest = json.loads(files[MANIFEST])
    del manifest["members"]
    return described({**files, MANIFEST: json.dumps(manifest).encode()})


ATTACKS: dict[str, tuple[Change, str]] = {
    "no best.json": (without(BEST_CHOICE), "field 'files'"),
    "a best.json that is none": (with_files({BEST_CHOICE: b"{}"}), "best.json is not valid"),
    "a best.json that leads outside": (with_best(members=[{"model": "../x", "folds": ["0"]}]), "json is not valid"),
    "a best.json that names a model elsewhere": (
        with_best(members=[{"model": "model_1", "folds": ["0"]}, {"model": "model_3", "folds": ["0"]}]),
        "is not there",
    ),
    "a best.json that names one model": (
        with_best(members=[{"model": "model_1", "folds": ["0"]}]),
        "other models or folds than bundle.json",
    ),
    "a best.json that names another fold": (
        with_best(members=[{"model": "model_1", "folds": ["0"]}, {"model": "model_2", "folds": ["1"]}]),
        "other models or folds than bundle.json",
    ),
    "a manifest that names one model": (with_members(lambda members: members.pop()), "field 'files'"),
    "a manifest that names a third model": (
        with_members(lambda members: members.append(members[0])),
        "models/model_3/model.json",
    ),
    "a manifest of no models": (with_members(lambda members: members.clear()), "field 'members'"),
    "a manifest that names no models": (as_one_model, "field 'files'"),
    "a model without card": (without(OTHER + CARD), "field 'files'"),
    "a model without weights": (without(OTHER + WEIGHTS), "field 'files'"),
    "a model beside the others": (with_files({CARD: b"{}"}), "files of the models alone"),
    "weights beside the models": (with_files({WEIGHTS: b"weights"}), "files of the models alone"),
    "models of other classes": (
        with_card(lambda card: card["dataset"].update(labels={"background": 0, "organ": 1, "liver": 2})),
        "names other classes",
    ),
    "models of other channels": (
        with_card(lambda card: card["dataset"].update(channel_names={"0": "CT"})),
        "trained for different data",
    ),
    "a second model whose weights are damaged": (with_files({OTHER + WEIGHTS: b"weights"}), "damaged"),
    "a second model whose first stage lies outside": (
        with_card(lambda card: as_cascade(card, "../../../nnunet__3d_lowres")),
        "names another first stage",
    ),
    "a second model whose first stage is the first model": (
        with_card(lambda card: as_cascade(card, "../model_1")),
        "names another first stage",
    ),
    "an eleventh model": (with_files({f"models/model_11/{CARD}": b"{}"}), "which no bundle holds"),
    "a path with dots": (with_files({f"models/../{CARD}": b"{}"}), "which no bundle holds"),
    "a model within a model": (with_files({f"{ONE}{ONE}{CARD}": b"{}"}), "which no bundle holds"),
    "a best.json of 16 MB": (with_files({BEST_CHOICE: b" " * 2**24}), "at most"),
}  # fmt: skip


def test_the_bundle_itself_is_read(files: Files, tmp_path: Path, cache: Path) -> None:
    """Attacks on a bundle that is refused anyway would show nothing."""
    (tmp_path / "liver.umseg").write_bytes(archive(described(files)))
    assert (unpacked(tmp_path / "liver.umseg") / BEST_CHOICE).read_bytes() == files[BEST_CHOICE]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing(name: str, files: Files, tmp_path: Path, cache: Path) -> None:
    change, expected = ATTACKS[name]
    file = tmp_path / "work" / "forged.umseg"
    file.parent.mkdir()
    file.write_bytes(archive(change(files)))
    with pytest.raises(UserError) as refused:
        import_bundle(file, tmp_path / "work" / "models" / "liver")
    assert expected in str(refused.value)
    with pytest.raises(UserError):
        unpacked(file)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and cache not in path.parents] == [file.name]
    assert not list(cache.glob("*/*"))


def test_a_manifest_says_where_its_models_lie(files: Files) -> None:
    assert Manifest.model_validate_json(files[MANIFEST]).folders == (ONE, OTHER)
