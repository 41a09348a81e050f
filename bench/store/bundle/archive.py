"""The container of a bundle: a ZIP file of which there is exactly one for the same members.

Members are stored uncompressed in the order of their names, with the same time and the same rights,
without comments or extra fields (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16). So `unzip`
opens it, equal members give equal bytes, and a reader can refuse whatever it would not have
written itself: of a changed byte anywhere either a checksum or the form tells.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.errors import SpecError

#: The archive's comment, which names the bundle: a tag and the SHA-256 of its manifest.
_TAG = b"bench bundle sha256:"
_COMMENT_BYTES = len(_TAG) + 64
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
#: 1 January 1980, 00:00: the earliest time that the format has (section 4.4.6, as MS-DOS has it).
_TIME, _DATE = 0, 0x21
_NEEDS = 20  #: version 2.0 of the format: folders in names
_MADE_BY = 3 << 8 | _NEEDS  #: Unix, so that rights have a meaning
_RIGHTS = 0o100644 << 16  #: a plain file, which its owner may write and all may read
#: Larger ones would take the format's 64-bit fields.
MOST_BYTES = (1 << 32) - 1
#: The format's limit of a count without 64-bit fields.
MOST_MEMBERS = (1 << 16) - 1
_LONGEST_NAME = 255
#: Parts of letters, digits and what means nothing to a shell or a file system; none begins with a
#: dot, so none is ``..``, and none ends with one, which Windows drops.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._@+=-]*[A-Za-z0-9_@+=-])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A member as the container's directory names it."""

    name: str
    crc: int
    size: int


def fits(name: str) -> bool:
    """Whether a member may be called so."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def write(file: IO[bytes], members: Mapping[str, Path], bundle_id: str) -> None:
    """Write the container of files by their names. Raises `SpecError` for more than it can hold."""
    entries = [_entry(name, path) for name, path in sorted(members.items())]
    if len(entries) > MOST_MEMBERS or sum(entry.size for entry in entries) > MOST_BYTES // 2:
        raise SpecError(
            f"a bundle holds at most {MOST_MEMBERS} files and 2 GiB. Pack fewer runs into one."
        )
    for entry in entries:
        file.write(_local(entry))
        with members[entry.name].open("rb") as source:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
    file.write(_directory(entries, bundle_id))


class Archive:
    """A container that was opened. Raises `SpecError` for a file that `write` would not have
    written; whether the members' contents are right is seen as they are read."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._size = os.fstat(file.fileno()).st_size
        self.bundle_id = self._named()
        self.entries = {entry.name: entry for entry in self._entries()}
        self._offsets = dict(zip(self.entries, _offsets(self.entries.values()), strict=True))

    def read(self, name: str) -> bytes:
        """A member's content, for small ones."""
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member's content piece by piece; raises `SpecError` at its end where it is damaged."""
        entry = self.entries[name]
        self._file.seek(self._offsets[name])
        head = _local(entry)
        if self._file.read(len(head)) != head:
            raise self._damaged(f"the bytes before {name} are not as bench writes them")
        left, crc = entry.size, 0
        while left:
            chunk = self._file.read(min(left, _CHUNK))
            if not chunk:
                raise self._damaged(f"it ends within {name}")
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            yield chunk
        if crc != entry.crc:
            raise self._damaged(f"{name} is not what was packed")

    def _damaged(self, why: str) -> SpecError:
        return SpecError(f"{self._path}: not a complete bundle of bench: {why}. Get it again.")

    def _tail(self) -> bytes:
        length = _END.size + _COMMENT_BYTES
        if not length <= self._size <= MOST_BYTES:
            raise self._damaged(f"it has {self._size} bytes")
        self._file.seek(self._size - length)
        return self._file.read(length)

    def _named(self) -> str:
        """The id in the comment."""
        comment = self._tail()[_END.size :]
        found = re.fullmatch(re.escape(_TAG) + rb"([0-9a-f]{64})", comment)
        if found is None:
            raise self._damaged("its end does not say which bundle it is")
        return found.group(1).decode()

    def _entries(self) -> tuple[Entry, ...]:
        """What the directory names; it and all lengths are exactly as `write` makes them."""
        fields = _END.unpack(self._tail()[: _END.size])
        size, offset = fields[5], fields[6]
        end = _END.size + _COMMENT_BYTES
        if offset + size + end != self._size:
            raise self._damaged("its directory is not where its end says")
        self._file.seek(offset)
        directory = self._file.read(size)
        entries = tuple(self._parsed(directory))
        if offset != sum(len(_local(entry)) + entry.size for entry in entries):
            raise self._damaged("its members are not as long as its directory says")
        if directory + self._tail() != _directory(entries, self.bundle_id):
            raise self._damaged("its directory is not as bench writes it")
        return entries

    def _parsed(self, directory: bytes) -> Iterator[Entry]:
        place, before = 0, ""
        while place < len(directory):
            if place + _CENTRAL.size > len(directory):
                raise self._damaged("its directory is cut off")
            fields = _CENTRAL.unpack_from(directory, place)
            crc, size, length = fields[7], fields[9], fields[10]
            start = place + _CENTRAL.size
            name = directory[start : start + length].decode("ascii", errors="replace")
            if not fits(name):
                raise self._damaged(f"a file can't be called {name[:80]!r}")
            if name <= before:
                raise self._damaged(f"{name} is out of place, or there twice")
            place, before = start + length, name
            yield Entry(name, crc, size)


def _entry(name: str, path: Path) -> Entry:
    if not fits(name):
        raise SpecError(f"{path}: a file of this name can't be in a bundle.")
    crc = size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return Entry(name, crc, size)


def _local(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    sizes = (entry.crc, entry.size, entry.size)
    return _LOCAL.pack(b"PK\3\4", _NEEDS, 0, 0, _TIME, _DATE, *sizes, len(name), 0) + name


def _offsets(entries: Iterable[Entry]) -> Iterator[int]:
    offset = 0
    for entry in entries:
        yield offset
        offset += len(_local(entry)) + entry.size


def _directory(entries: Sequence[Entry], bundle_id: str) -> bytes:
    """The directory and the end of the container."""
    parts = []
    offset = 0
    for entry in entries:
        name = entry.name.encode("ascii")
        head = (b"PK\1\2", _MADE_BY, _NEEDS, 0, 0, _TIME, _DATE)
        sizes = (entry.crc, entry.size, entry.size, len(name), 0, 0, 0, 0)
        parts.append(_CENTRAL.pack(*head, *sizes, _RIGHTS, offset) + name)
        offset += len(_local(entry)) + entry.size
    directory = b"".join(parts)
    comment = _TAG + bundle_id.encode()
    count = len(entries)
    end = _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), offset, len(comment))
    return directory + end + comment
