"""The bundle, the cache and the hub of the tests of prediction."""

from __future__ import annotations

from tests.inference.bundle.conftest import cache, hub, small

__all__ = ["cache", "hub", "small"]
