from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umseg.common import memory
from umseg.common.errors import UserError
from umseg.inference.windows import strips
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.strips import bytes_of_row, choose_strips, divide, most_bytes, thinnest
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow

CPU = torch.device("cpu")
CT = SlidingWindow((96, 96, 96))
CT_TILES = Tiles.covering((500, 273, 273), CT.patch, CT.step)
FINE = SlidingWindow((64, 96, 96))
FINE_TILES = Tiles.covering((600, 512, 512), FINE.patch, FINE.step)


@given(st.integers(1, 200), st.integers(1, 40), st.sampled_from([0.3, 0.5, 1.0]), st.integers(1, 250))
def test_strips_cover_all_rows_and_overlap_by_one(size: int, patch: int, step: float, rows: int) -> None:
    tiles = Tiles.covering((4, size, 4), (4, patch, 4), step)
    found = divide(tiles, rows)
    if found is None:
        assert rows < thinnest(tiles)
        return
    assert found[0].start == 0
    assert found[-1].stop == size
    assert all(before.stop == after.start + 1 for before, after in itertools.pairwise(found))
    assert max(strip.stop - strip.start for strip in found) <= rows
    assert (len(found) == 1) == (rows >= size)
    assert len(found) <= max(len(tiles.starts[1]), (size - 1) // 15)


def test_as_few_strips_as_fit() -> None:
    counts = [len(divide(CT_TILES, rows) or []) for rows in (273, 272, 137, 136, 92, 91)]
    assert counts == [1, 2, 2, 3, 3, 4]


def test_strips_meet_where_few_windows_are_computed_twice() -> None:
    tiles = Tiles.covering((4, 100, 4), (4, 40, 4), 1.0)
    assert tiles.starts[1] == (0, 30, 60)
    # The middle, row 50, is covered by one row of windows; row 32 would be by two.
    assert divide(tiles, 70) == [Strip(0, 51), Strip(50, 100)]
    tiles = Tiles.covering((4, 64, 4), (4, 40, 4), 1.0)
    assert tiles.starts[1] == (0, 24)
    # The middle is covered by both rows of windows, row 40 by one of them.
    assert divide(tiles, 33) == [Strip(0, 33), Strip(32, 64)]
    assert divide(tiles, 50) == [Strip(0, 41), Strip(40, 64)]


def test_figures_of_a_body_at_1_5_mm() -> None:
    assert bytes_of_row(CT_TILES, 118, CT, 1) * 273 == 4 * 96 * 273 * 273 * 119
    assert len(choose_strips(CT_TILES, 14, CT, 1, CPU)) == 1
    assert len(choose_strips(CT_TILES, 118, CT, 1, CPU)) == 2
    assert len(choose_strips(FINE_TILES, 118, FINE, 1, CPU)) == 3


def test_hundreds_of_classes_fit_in_strips_thinner_than_windows() -> None:
    window = SlidingWindow((96, 96, 96), step=1.0)
    tiles = Tiles.covering((500, 273, 273), window.patch, window.step)
    found = choose_strips(tiles, 725, window, 1, CPU)
    assert len(found) == 8 > len(tiles.starts[1])
    assert max(strip.stop - strip.start for strip in found) * bytes_of_row(tiles, 725, window, 1) < 3_000_000_000


def test_members_that_are_kept_apart_need_more_strips() -> None:
    window = SlidingWindow((96, 96, 96), mirror_axes=(0,), separate=True)
    assert bytes_of_row(CT_TILES, 14, window, 5) == 4 * 96 * 273 * (14 * 5 + 1)
    assert bytes_of_row(CT_TILES, 14, window, 1) == 4 * 96 * 273 * (14 * 2 + 1)


def test_less_memory_gives_thinner_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "available_memory", lambda: 2_000_000_000)
    assert most_bytes(CPU) == 1_800_000_000
    assert most_bytes(CPU, beside=1_000_000_000) == 900_000_000
    assert most_bytes(CPU, beside=3_000_000_000) == 0
    found = choose_strips(CT_TILES, 118, CT, 1, CPU, most_bytes(CPU, beside=1_000_000_000))
    assert len(found) == 4
    assert max(strip.stop - strip.start for strip in found) * bytes_of_row(CT_TILES, 118, CT, 1) <= 900_000_000


def test_the_thinnest_strips_are_tried_before_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = thinnest(CT_TILES) * bytes_of_row(CT_TILES, 118, CT, 1)
    for module in (strips, memory):
        monkeypatch.setattr(module, "available_memory", lambda: needed)
    assert len(choose_strips(CT_TILES, 118, CT, 1, CPU)) == 17
    monkeypatch.setattr(memory, "available_memory", lambda: needed - 1)
    with pytest.raises(UserError, match="Prediction needs more memory than there is") as caught:
        choose_strips(CT_TILES, 118, CT, 1, CPU)
    assert "500 x 273 x 273 voxels after resampling, 118 classes: needs 212.1 MB" in str(caught.value.found)


def test_an_allowance_takes_the_place_of_the_machine() -> None:
    window = SlidingWindow((96, 96, 96), most_bytes=1_000_000_000)
    assert len(choose_strips(CT_TILES, 118, window, 1, CPU)) == 4
    window = SlidingWindow((96, 96, 96), most_bytes=100_000_000)
    with pytest.raises(UserError, match="Prediction needs more memory than it may use") as caught:
        choose_strips(CT_TILES, 118, window, 1, CPU)
    assert "needs 212.1 MB in the thinnest strips; 100.0 MB allowed" in str(caught.value.found)
