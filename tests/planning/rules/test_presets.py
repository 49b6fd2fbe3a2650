"""The table of the presets."""

from __future__ import annotations

import pytest

from umseg.common.errors import UserError
from umseg.planning.rules.presets import PRESETS


def test_every_preset_is_described() -> None:
    assert list(PRESETS)[:6] == ["default", "nnunet", "resenc-m", "resenc-l", "resenc-xl", "cpu"]
    assert all(preset.description for preset in PRESETS.values())


def test_a_misspelt_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Unknown preset 'resenc_l'") as caught:
        PRESETS.look_up("resenc_l", "--preset")
    assert caught.value.remedy == "Did you mean 'resenc-l'?"
