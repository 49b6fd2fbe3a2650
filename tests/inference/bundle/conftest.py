"""A bundle, and a cache folder that goes with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference.bundle.hub_server import Hub, running
from tests.inference.bundle.zips import write_bundle


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a model of one fold."""
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which bundles are unpacked."""
    root = tmp_path / "cache"
    monkeypatch.setattr("umseg.inference.bundle.cache.cache_folder", lambda: root)
    return root / "bundles"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which is the one that huggingface_hub knows."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running() as server:
        settings = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_TOKEN_PATH": str(tmp_path / "no_token"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():
            # Earlier versions know nothing of Xet.
            monkeypatch.setattr(constants, name, value, raising=name != "HF_HUB_DISABLE_XET")
        yield server
