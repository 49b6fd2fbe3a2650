from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.training.watch.test_log import make_row
from umseg.common.errors import UserError
from umseg.training.watch.tensorboard import FOLDER, TensorBoard


def test_curves_hold_the_rows_and_a_continued_run_replaces_what_came_after(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    rows = [make_row(epoch) for epoch in (1, 2, 3)]
    first = TensorBoard(tmp_path, 0)
    for row in rows:
        first.write(row)
    first.close()
    continued = TensorBoard(tmp_path, 2)
    continued.write(rows[2].model_copy(update={"train_loss": -0.5}))
    continued.close()
    events = accumulator.EventAccumulator(str(tmp_path / FOLDER))
    events.Reload()
    losses = events.Scalars("loss/training")
    assert [event.step for event in losses] == [1, 2, 3]
    assert losses[2].value == pytest.approx(-0.5)
    assert losses[0].value == pytest.approx(rows[0].train_loss)
    for name, value in rows[0].dice.items():
        assert (f"dice/{name}" in events.Tags()["scalars"]) == (value is not None)


def test_without_the_package_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="--tensorboard") as caught:
        TensorBoard(tmp_path, 0)
    assert "pip install" in str(caught.value.remedy)
