"""The strips in which an image is worked on, so that the sums of one strip fit into memory.

Windows that touch two strips are computed for both, and each strip adds only what lies in it. Neighbours overlap by one
row.
"""

from __future__ import annotations

import torch

from umseg.common.errors import UserError
from umseg.common.memory import SMALL_BYTES, available_memory, memory_text, require_memory
from umseg.common.text import by
from umseg.inference.windows.forward import CPU, members, passes
from umseg.inference.windows.rolling import bytes_of_sums
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.tiles import Tiles
from umseg.inference.windows.window import SlidingWindow

MOST_BYTES = 3_000_000_000
"""Bytes of the sums on a CPU, unless another figure is asked for."""
_FEWEST_ROWS = 16
"""Rows of the thinnest strips of a large image; thinner ones save little, and take as many times longer."""
_SHARE = 9
"""Tenths of the free memory that the sums may take; the rest is for what the machine does besides."""
REMEDY = "Check the spacing of the image; predict where there is more memory, or with a model for coarser images."


def choose_strips(
    tiles: Tiles, classes: int, window: SlidingWindow, networks: int, device: torch.device, most: int | None = None
) -> list[Strip]:
    """As few strips of an image as fit into memory.

    Args:
        tiles: The windows of the image.
        classes: Number of channels of the networks' output.
        window: The way in which the image is covered.
        networks: Number of networks.
        device: Device of the networks. If not even the thinnest strips fit there, the CPU's memory counts.
        most: Bytes on the device that the sums may take; None: what the window or ``most_bytes`` says.

    Raises:
        UserError: The sums of the thinnest strips do not fit.
    """
    row = bytes_of_row(tiles, classes, window, networks)
    if most is None:
        most = window.most_bytes or most_bytes(device)
    if window.most_bytes is None and row * tiles.shape[1] < SMALL_BYTES:
        return [tiles.whole]
    strips = divide(tiles, most // row)
    if strips is None and window.most_bytes is None and device != CPU:
        strips = divide(tiles, most_bytes(CPU) // row)
    if strips is None:
        rows = thinnest(tiles)
        _require(row * rows, window.most_bytes, f"{by(tiles.shape)} voxels after resampling, {classes} classes")
        strips = divide(tiles, rows)
    assert strips is not None
    return strips


def bytes_of_row(tiles: Tiles, classes: int, window: SlidingWindow, networks: int) -> int:
    """Bytes of the sums of one row of an image, over all planes that are held at once."""
    depth = min(tiles.patch[0], tiles.shape[0])
    return bytes_of_sums(1, tiles.shape[2], depth, classes, apart(window, networks))


def apart(window: SlidingWindow, networks: int) -> int:
    """Number of sums that are kept apart."""
    return members(passes(networks, window.mirror_axes, len(window.patch), window.separate))


def most_bytes(device: torch.device, beside: int = 0) -> int:
    """Bytes that the sums may take: nine tenths of what is free beside all else, on a CPU no more than 3 GB.

    Args:
        device: Where the sums are kept.
        beside: Bytes that all else takes which is not there yet.
    """
    if device.type != "cuda":
        return share_of(available_memory(), beside)
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(_SHARE * (free - beside) // 10, 0)


def share_of(room: int, beside: int) -> int:
    """Bytes that the sums may take of so many bytes of the computer's memory; arguments as those of ``most_bytes``."""
    return min(MOST_BYTES, max(_SHARE * (room - beside) // 10, 0))


def _require(needed: int, allowed: int | None, found: str) -> None:
    if allowed is None:
        require_memory(needed, "Prediction", found=found, remedy=REMEDY)
    else:
        raise UserError(
            "Prediction needs more memory than it may use.",
            found=f"{found}: needs {memory_text(needed)} in the thinnest strips; {memory_text(allowed)} allowed",
            remedy=f"Allow more memory. {REMEDY}",
        )


def divide(tiles: Tiles, most_rows: int) -> list[Strip] | None:
    """The smallest number of strips with at most so many rows.

    Where there is a choice, neighbours meet in a row that few windows cover. Strips that are thinner than the distance
    of two rows of windows compute the same windows again and again; they are for images that fit in no other way.

    Returns:
        The strips from the first row to the last, or None if the thinnest do not suffice.
    """
    for count in range(1, _most_strips(tiles) + 1):
        slack = most_rows - _rows(tiles.shape[1], count)
        if slack >= 0:
            return _even(tiles, count, slack)
    return None


def thinnest(tiles: Tiles) -> int:
    """Number of rows in the thinnest strips."""
    return _rows(tiles.shape[1], _most_strips(tiles))


def _most_strips(tiles: Tiles) -> int:
    """Number of strips of the fewest rows, or of one row of windows each where these have fewer."""
    return max(len(tiles.starts[1]), (tiles.shape[1] - 1) // (_FEWEST_ROWS - 1), 1)


def _rows(size: int, count: int) -> int:
    """The rows of the thickest of ``count`` even strips."""
    return -(-(size - 1) // count) + 1


def _even(tiles: Tiles, count: int, slack: int) -> list[Strip]:
    """Strips of nearly even height; the thickest may be ``slack`` rows higher than if they were even."""
    last = tiles.shape[1] - 1
    # Two seams may move apart, each by this number of rows.
    reach = min(slack // 2, max(last // count - 1, 0) // 2)
    seams = [_least_covered(tiles, round(number * last / count), reach) for number in range(1, count)]
    return [Strip(start, stop + 1) for start, stop in zip([0, *seams], [*seams, last], strict=True)]


def _least_covered(tiles: Tiles, row: int, reach: int) -> int:
    """The row that the fewest rows of windows cover, and of those the nearest."""
    candidates = range(row - reach, row + reach + 1)
    return min(candidates, key=lambda at: (len(tiles.row_starts(Strip(at, at + 1))), abs(at - row)))
