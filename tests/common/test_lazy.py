from __future__ import annotations

import sys

import pytest

from umseg.common.lazy import lazy_names


def test_name_is_imported_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "umseg.common.record", raising=False)
    get = lazy_names("umseg.common", {"Record": "record", "gone": "record"})
    assert "umseg.common.record" not in sys.modules
    assert get("Record").__name__ == "Record"
    assert "umseg.common.record" in sys.modules


def test_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"module 'umseg\.common' has no attribute 'gone'"):
        lazy_names("umseg.common", {"Record": "record"})("gone")
