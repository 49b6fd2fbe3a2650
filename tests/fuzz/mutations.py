"""Seeded mutations of bytes and of JSON values: what disks, networks, editors and attackers do to files."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

Place = tuple[Any, Any]
"""A container of a JSON document, and the key or index of one of its entries."""

_INTEGERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1)
_FLOATS = (0.0, -0.0, -1.0, 1e-300, 1e30, 1e300, float("nan"), float("inf"), float("-inf"))
_VALUES: tuple[Any, ...] = (
    0,
    -1,
    1,
    7,
    2**31,
    2**63,
    10**30,
    1e-300,
    1e308,
    -1.5,
    float("nan"),
    float("inf"),
    float("-inf"),
    True,
    None,
    "",
    "1",
    "..",
    "../../outside",
    "/outside",
    "CON",
    "a\x00b",
    "\x1b[2J",
    "x" * 10_000,
    [],
    {},
    [[]],
    [None],
    [0] * 1000,
    {"": {}},
)
_HEADER = 400
"""Most of what can go wrong is in the first bytes of a file; half of all mutations are there."""


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_BYTE_CHANGES)(changed, rng)
    return bytes(changed)


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """The text of a JSON document with one to three changes of its values, or one of its bytes."""
    if rng.random() < 0.15:
        return mutate_bytes(content, rng)
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(document))
        if places:
            rng.choice(_JSON_CHANGES)(*rng.choice(places), rng)
    text = json.dumps(document, indent=rng.choice((None, 2)))
    if rng.random() < 0.03:
        depth = rng.choice((100, 5000, 200_000))
        text = text.replace("1", "[" * depth + "]" * depth, 1)
    if rng.random() < 0.03:
        text = text.replace("1", "1" * 10_000, 1)
    return text.encode("utf-8", "surrogatepass")


def _position(content: bytearray, rng: random.Random) -> int:
    end = len(content) if rng.random() < 0.5 else min(len(content), _HEADER)
    return rng.randrange(max(end, 1))


def _flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[_position(content, rng)] ^= 1 << rng.randrange(8)


def _overwrite(content: bytearray, rng: random.Random) -> None:
    at = _position(content, rng)
    content[at : at + rng.choice((1, 2, 4, 16))] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def _integer(content: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(_INTEGERS) % 2 ** (8 * size)
    at = _position(content, rng)
    content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _float(content: bytearray, rng: random.Random) -> None:
    form = rng.choice(("<f", ">f", "<d", ">d"))
    value = rng.choice(_FLOATS)
    if form[1] == "f" and 1e38 < abs(value) < float("inf"):
        value = 1e38
    packed = struct.pack(form, value)
    at = _position(content, rng)
    content[at : at + len(packed)] = packed


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[_position(content, rng) :]


def _remove(content: bytearray, rng: random.Random) -> None:
    at = _position(content, rng)
    del content[at : at + rng.choice((1, 2, 7, 64, 1000))]


def _insert(content: bytearray, rng: random.Random) -> None:
    at = _position(content, rng)
    content[at:at] = rng.choice((rng.randbytes(rng.choice((1, 4, 100))), b"\0" * 64, b"9" * 1500, b"<" * 3000, b"\n"))


def _repeat(content: bytearray, rng: random.Random) -> None:
    at, size = _position(content, rng), rng.choice((1, 8, 12, 100))
    content[at:at] = content[at : at + size] * rng.choice((1, 3, 500))


def _exchange(content: bytearray, rng: random.Random) -> None:
    size = rng.choice((2, 4, 8, 12))
    first, second = _position(content, rng), _position(content, rng)
    block = content[first : first + size]
    content[first : first + size] = content[second : second + size]
    content[second : second + size] = block


_BYTE_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _flip,
    _overwrite,
    _integer,
    _integer,
    _float,
    _cut,
    _remove,
    _insert,
    _repeat,
    _exchange,
)


def _places(value: Any) -> Iterator[Place]:
    """Every entry of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _replace(container: Any, key: Any, rng: random.Random) -> None:
    container[key] = rng.choice(_VALUES)


def _scale(container: Any, key: Any, rng: random.Random) -> None:
    value = container[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = value * rng.choice((-1, 0, 2, 3, 1000, 1_000_000, 0.5, 1e-30, 1e30))
    else:
        _replace(container, key, rng)


def _delete(container: Any, key: Any, rng: random.Random) -> None:
    del container[key]


def _add(container: Any, key: Any, rng: random.Random) -> None:
    if isinstance(container, dict):
        container[rng.choice(("unknown", "..", "a/b", str(key) + " "))] = container[key]
    else:
        container.extend([container[key]] * rng.choice((1, 10, 3000)))


def _rename(container: Any, key: Any, rng: random.Random) -> None:
    if isinstance(container, dict):
        container[rng.choice(("", "..", "../x", "0", str(key).upper()))] = container.pop(key)
    else:
        container.insert(key, rng.choice(_VALUES))


def _wrap(container: Any, key: Any, rng: random.Random) -> None:
    container[key] = rng.choice(([container[key]], {"value": container[key]}, str(container[key])))


_JSON_CHANGES: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _replace,
    _replace,
    _replace,
    _scale,
    _scale,
    _delete,
    _add,
    _rename,
    _wrap,
)
