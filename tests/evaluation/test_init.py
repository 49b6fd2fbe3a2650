from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import umseg.evaluation


def test_every_public_name_can_be_imported() -> None:
    package: Any = umseg.evaluation
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


def test_the_package_itself_is_cheap_and_never_needs_torch() -> None:
    code = (
        "import sys, umseg.evaluation\n"
        "heavy = {'scipy', 'SimpleITK', 'pydantic', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "umseg.evaluation.evaluate_folder, umseg.evaluation.write_metrics\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
