"""Models from the hub, on a stand-in of it: one file is fetched, and failures are clear errors without the token."""

from __future__ import annotations

import builtins
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.inference.bundle.hub_server import TOKEN, Hub, Repository
from umseg.common.errors import UserError
from umseg.inference.bundle.hub import HubModel, fetch, hub_model, is_on_hub
from umseg.inference.bundle.location import local_model

MODEL = "hf://clinic/small"


@pytest.fixture
def repository(hub: Hub, small: Path) -> Repository:
    """A repository with a bundle, and other files that nobody asks for."""
    made = Repository({"model.umseg": small.read_bytes(), "README.md": b"# Small", "run.py": b"raise SystemExit"})
    hub.repositories["clinic/small"] = made
    return made


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("hf://clinic/small", HubModel("clinic/small")),
        ("hf://clinic/small@v1.0", HubModel("clinic/small", "v1.0")),
        ("hf://clinic/small@refs/pr/1", HubModel("clinic/small", "refs/pr/1")),
        (Path("hf://clinic/small"), HubModel("clinic/small")),
        ("hf:\\clinic\\small", HubModel("clinic/small")),
    ],
)
def test_names_on_the_hub(text: str | Path, model: HubModel) -> None:
    assert is_on_hub(text)
    assert hub_model(text) == model


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://small", "hf://a/b/c", "hf://../b", "hf://a/..", "hf://a/b@", "hf://a/b@../x", "hf://a/b c",
     "hf://a/b?x=1", "hf://-a/b", "hf://a/b@--force"],
)  # fmt: skip
def test_other_names_are_refused(text: str) -> None:
    assert is_on_hub(text)
    with pytest.raises(UserError, match="not valid"):
        hub_model(text)


@pytest.mark.parametrize("text", ["model", "/hf:/x", "models/hf", "C:\\models", "https://clinic/small"])
def test_folders_are_not_on_the_hub(text: str) -> None:
    assert not is_on_hub(text)


def test_a_model_is_fetched_once_and_nothing_else(hub: Hub, repository: Repository, small: Path, cache: Path) -> None:
    folder = local_model(MODEL)
    assert (folder / "model.json").is_file()
    assert local_model(f"{MODEL}@v1") == local_model(Path(MODEL)) == folder
    assert hub.downloads() == 1
    assert {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request} == {"model.umseg"}


def test_a_private_model_needs_the_token(
    hub: Hub, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.visibility = "private"
    with pytest.raises(UserError, match="There is no model hf://clinic/small, or you may not see it"):
        fetch(hub_model(MODEL))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(hub_model(MODEL)).is_file()


def test_a_forged_bundle_on_the_hub_is_refused(hub: Hub, repository: Repository, cache: Path) -> None:
    repository.files["model.umseg"] = repository.files["model.umseg"][:-1]
    with pytest.raises(UserError, match="damaged"):
        local_model(MODEL)


def test_a_model_in_the_cache_needs_no_connection(
    hub: Hub, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fetch(hub_model(MODEL))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch(hub_model(MODEL)) == file
    assert not hub.requests


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        ({}, "hf://clinic/none", "There is no model hf://clinic/none, or you may not see it."),
        ({}, "hf://clinic/small@v9", "hf://clinic/small has no revision 'v9'."),
        ({"files": {}}, MODEL, "holds no model of umseg: it has no file model.umseg."),
        ({"gated": True}, MODEL, "is given out on conditions."),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    hub: Hub, repository: Repository, change: dict[str, Any], model: str, message: str
) -> None:
    vars(repository).update(change)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        fetch(hub_model(model))
    assert caught.value.remedy


def test_offline_is_named(hub: Hub, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        fetch(hub_model(MODEL))
    assert not hub.requests


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub tries again at once, not after seconds."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_does_not_answer_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", nowhere)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere + "/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(UserError, match="the hub cannot be reached"):
        fetch(hub_model(MODEL))


@pytest.mark.usefixtures("impatient")
def test_the_token_is_never_shown(hub: Hub, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.breaks = True
    with pytest.raises(UserError) as caught:
        fetch(hub_model(MODEL))
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_bundle_that_the_disk_cannot_hold_is_not_fetched(
    hub: Hub, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umseg.inference.bundle.hub.shutil.disk_usage", lambda path: type("Usage", (), {"free": 9}))
    with pytest.raises(UserError, match="does not fit on the disk"):
        fetch(hub_model(MODEL))
    assert hub.downloads() == 0


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "huggingface_hub":
            raise ImportError("No module named 'huggingface_hub'")
        return known(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError) as caught:
        fetch(hub_model(MODEL))
    assert caught.value.remedy == 'Run `pip install "umseg[hub]"`.'
