"""Archives that somebody forged: names, links, bombs, contradictions."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from tests.inference.bundle.zips import CARD, DEFLATED, STORED, WEIGHTS, Member, as_members, build, described, packed
from umseg.inference.bundle.manifest import MANIFEST

Files = dict[str, bytes]
Attack = Callable[[Files], bytes]
ATTACKS: dict[str, tuple[Attack, str]] = {}
"""What is wrong with a bundle to the function that makes it, and a part of the error."""


def attack(name: str, expected: str) -> Callable[[Attack], Attack]:
    def register(function: Attack) -> Attack:
        ATTACKS[name] = function, expected
        return function

    return register


def add(name: str, expected: str, make: Attack) -> None:
    attack(name, expected)(make)


# Names that lead elsewhere, or are no names everywhere.
_NAMES = (
    "../outside.json", "fold_0/../../outside.json", "/outside.json", "//server/share/outside.json", "C:/outside.json",
    "C:outside.json", "..\\outside.json", "fold_0\\weights_final.safetensors", "./model.json", "fold_0//model.json",
    "con", "fold_0/aux.json", "fold_0/postprocessing.json.", "fold_0/postprocessing.json ", "MODEL.JSON",
    "Fold_0/postprocessing.json", "fold_00/postprocessing.json", "fold_0/postprocessing.json:stream", "fold_0/", "",
    "first_stage/../model.json", "inner.zip", "inner.umseg", "run.py", "weights.pkl", "model.json\0.txt", "\u202ejson",
)  # fmt: skip


def _named(name: str) -> tuple[Attack, Attack]:
    def extra(files: Files) -> bytes:
        return build([*as_members(files), Member(name, b"{}")])

    def announced(files: Files) -> bytes:
        entries = json.loads(described(files)[MANIFEST])["files"]
        manifest = described(files, files=[*entries, {**entries[0], "path": name}])
        return build([*as_members(manifest), Member(name, files[CARD])])

    return extra, announced


for _name in _NAMES:
    _extra, _announced = _named(_name)
    add(f"name {_name!r}", "which no bundle holds", _extra)
    add(f"name {_name!r} in the manifest", "no bundle", _announced)


@attack("a name that the manifest alone has", "is not valid: field 'files")
def _(files: Files) -> bytes:
    entries = json.loads(files[MANIFEST])["files"]
    return packed(described(files, files=[*entries, {**entries[0], "path": "../outside.json"}]))


@attack("two files of one name", "two files of the name")
def _(files: Files) -> bytes:
    return build([*as_members(files), Member(CARD, files[CARD])])


@attack("another name in front of the content", "")
def _(files: Files) -> bytes:
    members = as_members(files)
    members[1].local_name = "other.json"
    return build(members)


# Files that are no files.
for _kind, _mode in {"link": 0o120777, "folder": 0o040755, "device": 0o020666, "pipe": 0o010666}.items():

    def _special(files: Files, mode: int = _mode) -> bytes:
        members = as_members(files)
        members[1].mode, members[1].content, members[1].method = mode, b"/etc/passwd", STORED
        return build(members)

    add(f"a {_kind}", "a link, a folder or a device", _special)


# Archives that unpack to more than they are.
@attack("a card of 1 GB", "at most 8,388,608")
def _(files: Files) -> bytes:
    return build(_with(files, CARD, size=2**30))


@attack("a manifest of 1 GB", "at most 16,777,216")
def _(files: Files) -> bytes:
    return build(_with(files, MANIFEST, size=2**30))


@attack("a card that is larger than it says", "")
def _(files: Files) -> bytes:
    content = b" " * 2**24 + files[CARD]
    return build(_with(described({**files, CARD: content}), CARD, content=content, size=len(files[CARD])))


@attack("a card that is larger than it and the manifest say", "Bad CRC-32")
def _(files: Files) -> bytes:
    content = b" " * 2**24 + files[CARD]
    return build(_with(described(files), CARD, content=content, size=len(files[CARD])))


@attack("a manifest of zeros that is larger than it says", "")
def _(files: Files) -> bytes:
    return build(_with(files, MANIFEST, content=b"0" * 2**26, size=2**24))


@attack("many large scores", "files of JSON with")
def _(files: Files) -> bytes:
    scores = [Member(f"fold_{n}/validation/metrics.json", b" ", size=2**26) for n in range(5)]
    return build([*as_members(files), *scores])


@attack("weights that are compressed", "weights are stored as they are")
def _(files: Files) -> bytes:
    return build(_with(files, WEIGHTS, method=DEFLATED))


@attack("weights of more bytes than there are", "in a place of")
def _(files: Files) -> bytes:
    return build(_with(files, WEIGHTS, size=2**31))


@attack("weights that reach beyond the archive", "was expected")
def _(files: Files) -> bytes:
    return build(_with(files, WEIGHTS, size=2**31, packed_size=2**31))


@attack("files that share their bytes", "was expected")
def _(files: Files) -> bytes:
    shared = [Member(f"fold_{n}/{WEIGHTS[7:]}", b"", STORED, offset=0, hidden=True) for n in range(1, 400)]
    return build([*as_members(files), *shared])


@attack("overlapping files", "was expected")
def _(files: Files) -> bytes:
    members = as_members(files)
    inside = build([Member("fold_1/postprocessing.json", b"{}")])
    start = len(build(members[:-1])) - 22 - sum(46 + len(member.name) for member in members[:-1])
    hidden = Member("fold_1/postprocessing.json", b"{}", offset=start + 60, hidden=True)
    assert inside
    return build([*members, hidden])


@attack("70,000 files", "at most 1,000 files")
def _(files: Files) -> bytes:
    return build([*as_members(files), *(Member(f"f{n}", b"", STORED) for n in range(70_000))])


@attack("2,000 files", "at most 1,000 files")
def _(files: Files) -> bytes:
    return build([*as_members(files), *(Member(f"fold_{n}/postprocessing.json", b"{}") for n in range(2000))])


@attack("an archive in the place of weights", "weights_final.safetensors is damaged")
def _(files: Files) -> bytes:
    return packed(described({**files, WEIGHTS: packed(files)}))


# Archives that contradict themselves.
@attack("an encrypted file", "encrypted")
def _(files: Files) -> bytes:
    return build(_with(files, CARD, flags=0x1))


@attack("a strongly encrypted file", "encrypted")
def _(files: Files) -> bytes:
    return build(_with(files, WEIGHTS, flags=0x41))


@attack("sizes behind the content", "with the flags 0x8")
def _(files: Files) -> bytes:
    return build(_with(files, CARD, flags=0x8))


for _method in (1, 6, 9, 12, 14, 93, 99):

    def _compressed(files: Files, method: int = _method) -> bytes:
        return build(_with(files, CARD, said_method=method))

    add(f"compression {_method}", f"in the compression {_method}", _compressed)


@attack("no deflated data", "")
def _(files: Files) -> bytes:
    return build(_with(files, CARD, method=STORED, said_method=DEFLATED))


@attack("a size of 64 bits", "")
def _(files: Files) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, 2**63 - 1, 2**63 - 1)
    return build(_with(files, WEIGHTS, size=0xFFFFFFFF, packed_size=0xFFFFFFFF, extra=extra))


@attack("a place of 64 bits", "")
def _(files: Files) -> bytes:
    return build(_with(files, WEIGHTS, offset=0xFFFFFFFF, extra=struct.pack("<HHQ", 1, 8, 2**64 - 1)))


@attack("a cut field of 64 bits", "")
def _(files: Files) -> bytes:
    return build(_with(files, WEIGHTS, size=0xFFFFFFFF, extra=struct.pack("<HHL", 1, 4, 7)))


@attack("a list of 2^40 bytes", "at most 1,000 files")
def _(files: Files) -> bytes:
    return _with_large_end(files, size=2**40)


@attack("2^40 files", "at most 1,000 files")
def _(files: Files) -> bytes:
    return _with_large_end(files, count=2**40)


@attack("a list that begins elsewhere", "contradict")
def _(files: Files) -> bytes:
    return _with_large_end(files, start=0)


@attack("a large end without its mark", "64-bit end")
def _(files: Files) -> bytes:
    return _with_large_end(files, mark=b"PK\x06\x09")


@attack("something in front", "was expected")
def _(files: Files) -> bytes:
    return build(as_members(files), before=b"#!/bin/sh\n")


@attack("something between the files and their list", "was expected")
def _(files: Files) -> bytes:
    return build(as_members(files), between=b"hidden")


@attack("something behind", "no end of a zip archive")
def _(files: Files) -> bytes:
    return packed(files) + b"more"


@attack("a comment", "")
def _(files: Files) -> bytes:
    return build(as_members(files), comment=b"hello")


@attack("a wrong place of the list", "is not where the end of the archive says")
def _(files: Files) -> bytes:
    content = bytearray(packed(files))
    content[-6:-2] = (int.from_bytes(content[-6:-2], "little") - 1).to_bytes(4, "little")
    return bytes(content)


@attack("an empty archive", "first file is not")
def _(files: Files) -> bytes:
    return build([])


@attack("no archive", "no end of a zip archive")
def _(files: Files) -> bytes:
    return b"weights"


@attack("an empty file", "no end of a zip archive")
def _(files: Files) -> bytes:
    return b""


def _with(files: Files, name: str, **fields: Any) -> list[Member]:
    """The members of an archive, one of them changed."""
    members = as_members(files)
    for field, value in fields.items():
        setattr(next(member for member in members if member.name == name), field, value)
    return members


def _with_large_end(files: Files, mark: bytes = b"PK\x06\x06", **values: int) -> bytes:
    """An archive with a 64-bit end, which says something else than the truth."""
    content = packed(files)
    _, _, _, _, count, size, start, _ = struct.unpack("<4s4H2LH", content[-22:])
    said = {"count": count, "size": size, "start": start, **values}
    numbers = (said["count"], said["count"], said["size"], said["start"])
    large = struct.pack("<4sQ2H2L4Q", mark, 44, 45, 45, 0, 0, *numbers)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(content) - 22, 1)
    unsaid = "start" in values
    end = content[-22:] if unsaid else struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, *(2**32 - 1,) * 2, 0)
    return content[:-22] + large + locator + end
