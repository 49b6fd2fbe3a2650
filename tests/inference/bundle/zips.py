"""Zip archives byte by byte, whose headers may say anything; and bundles whose files have been changed."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.inference.models import write_model
from umseg.inference.bundle.manifest import MANIFEST
from umseg.workflows.bundle.export import export_bundle

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
CARD, WEIGHTS = "model.json", "fold_0/weights_final.safetensors"
FILE = stat.S_IFREG | 0o644


@dataclass
class Member:
    """A file of an archive, and what its headers say of it; None: the truth."""

    name: str
    content: bytes
    method: int = DEFLATED
    flags: int = 0
    mode: int = FILE
    size: int | None = None
    packed_size: int | None = None
    said_method: int | None = None
    extra: bytes = b""
    offset: int | None = None
    local_name: str | None = None
    hidden: bool = field(default=False, kw_only=True)
    """Whether it has an entry in the list, but no place of its own."""

    @property
    def packed(self) -> bytes:
        if self.method == STORED:
            return self.content
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        return packer.compress(self.content) + packer.flush()


def build(members: Sequence[Member], *, comment: bytes = b"", before: bytes = b"", between: bytes = b"") -> bytes:
    """The bytes of an archive."""
    body, listed = bytearray(before), bytearray()
    for member in members:
        name = member.name.encode("utf-8", "surrogateescape")
        packed = member.packed
        fields = (
            member.flags,
            member.method if member.said_method is None else member.said_method,
            0,
            33,
            zlib.crc32(member.content),
            len(packed) if member.packed_size is None else member.packed_size,
            len(member.content) if member.size is None else member.size,
        )
        start = len(body) if member.offset is None else member.offset
        if not member.hidden:
            local = name if member.local_name is None else member.local_name.encode()
            body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *fields, len(local), 0) + local + packed
        listed += struct.pack(
            "<4s6H3L5H2L",
            b"PK\1\2",
            0x314,
            20,
            *fields,
            len(name),
            len(member.extra),
            0,
            0,
            0,
            member.mode << 16,
            start,
        )
        listed += name + member.extra
    body += between
    count = min(len(members), 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed), len(body), len(comment))
    return bytes(body + listed + end + comment)


def write_bundle(folder: Path, **model: Any) -> Path:
    """A bundle of a small model, in a folder of its own."""
    file = folder / "small.umseg"
    export_bundle(write_model(folder / "nnunet__small", **model), file)
    return file


def members_of(file: Path) -> dict[str, bytes]:
    """The files of a bundle, the manifest first."""
    return read(file.read_bytes())


def read(content: bytes) -> dict[str, bytes]:
    """The files of a bundle that is at hand."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def as_members(files: Mapping[str, bytes]) -> list[Member]:
    """These files as umseg writes them."""
    return [Member(name, content, STORED if name == WEIGHTS else DEFLATED) for name, content in files.items()]


def described(files: Mapping[str, bytes], /, **fields: Any) -> dict[str, bytes]:
    """These files, with a manifest that has their right sizes and checksums, and some fields changed."""
    manifest = {**json.loads(files[MANIFEST]), **fields}
    if "files" not in fields:
        manifest["files"] = [
            {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
            if name != MANIFEST
        ]
    return {**files, MANIFEST: json.dumps(manifest).encode()}


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of these files."""
    return build(as_members(files))
