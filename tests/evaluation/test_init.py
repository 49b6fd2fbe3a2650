from __future__ import annotations

import subprocess
import sys

import pytest

import umseg.evaluation


def test_every_public_name_can_be_imported():
    for name in umseg.evaluation.__all__:
        assert getattr(umseg.evaluation, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = umseg.evaluation.nothing


def test_the_package_itself_is_cheap_and_never_needs_torch():
    code = (
        "import sys, umseg.evaluation\n"
        "heavy = {'scipy', 'SimpleITK', 'pydantic', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "umseg.evaluation.evaluate_folder, umseg.evaluation.write_metrics\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
