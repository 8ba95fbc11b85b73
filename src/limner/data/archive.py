"""Zip archives, read without trust and in little memory: a directory of a million entries, and one entry at a time.

Written after the format's own description (PKWARE, APPNOTE.TXT 6.3.10, section 4.3). Sizes in the directory bound what is
unpacked; entries that overlap, as those of archives that unpack to petabytes do, are refused before anything is read.
"""

from __future__ import annotations

import bz2
import io
import stat
import struct
import threading
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STORED, DEFLATED, BZIP2 = 0, 8, 12
LARGEST_DIRECTORY = 256 << 20
"""Bytes of an archive's directory: three million entries with names of usual length."""
_PIECE = 1 << 18
_END, _END_64, _LOCATOR, _ENTRY, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_FULL = 0xFFFFFFFF
_UTF8, _ENCRYPTED = 0x800, 0x1


class BadArchive(Exception):
    """The archive, or one of its entries, cannot be read; the message says why."""


class Archive:
    """A zip file's directory, in arrays, and its entries' bytes. Reading is safe from several threads.

    Args:
        path: the file.

    Raises:
        BadArchive: it is no archive, damaged, in several parts, or its entries overlap.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._lock = threading.Lock()
        try:
            self._size = self._file.seek(0, io.SEEK_END)
            directory, self._shift = self._directory()
            self._parse(directory)
            self._refuse_overlaps()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        """An entry's name as text; what is no text in it is replaced."""
        raw = self._names[self._name_ends[index - 1] if index else 0 : self._name_ends[index]]
        raw = raw.partition(b"\0")[0]
        return raw.decode("utf-8", "replace") if self._flags[index] & _UTF8 else raw.decode("cp437")

    def stamp(self, index: int) -> tuple[int, int]:
        """An entry's size and CRC."""
        return self.sizes[index], self._crcs[index]

    def is_link(self, index: int) -> bool:
        """Whether it is a symbolic link, whose bytes are a path."""
        return stat.S_ISLNK(self._modes[index])

    def is_encrypted(self, index: int) -> bool:
        """Whether its bytes are encrypted."""
        return bool(self._flags[index] & _ENCRYPTED)

    def open(self, index: int) -> Unpacking:
        """An entry's bytes, unpacked as far as they are read."""
        return Unpacking(self._unpacked(index), self.sizes[index])

    def read(self, index: int) -> bytes:
        """All of an entry's bytes.

        Raises:
            BadArchive: they cannot be unpacked, or are not what the directory says.
        """
        return b"".join(self._unpacked(index))

    def read_into(self, index: int) -> bytearray:
        """The same in memory that is asked for once. Raises BadArchive."""
        whole = bytearray(self.sizes[index])
        done = 0
        for piece in self._unpacked(index):
            whole[done : done + len(piece)] = piece
            done += len(piece)
        return whole

    def stored_at(self, index: int) -> int | None:
        """Where in the file an entry's bytes begin, when they lie there as they are. Raises BadArchive."""
        if self._methods[index] != STORED or self.is_encrypted(index):
            return None
        return self._start(index)

    def _at(self, place: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(place)
            return self._file.read(count)

    def _directory(self) -> tuple[bytes, int]:
        """The directory's bytes, and by how much places in it are off (something may stand before the archive)."""
        tail = self._at(max(0, self._size - 65557), 65557)
        start = self._size - len(tail)
        found = tail.rfind(_END)
        if found < 0 or len(tail) - found < 22:
            raise BadArchive("no zip archive, or its end is missing")
        disk, first, _, _, size, offset, _ = struct.unpack_from("<HHHHIIH", tail, found + 4)
        end = start + found
        locator = self._at(end - 20, 20) if end >= 20 else b""
        if locator[:4] == _LOCATOR:
            (place,) = struct.unpack_from("<Q", locator, 8)
            # With something before the archive it lies where nothing but the locator can follow.
            for candidate in (place, end - 76):
                record = self._at(candidate, 56) if 0 <= candidate <= end - 76 else b""
                if len(record) == 56 and record[:4] == _END_64:
                    disk, first, _, _, size, offset = struct.unpack_from("<IIQQQQ", record, 16)
                    end = candidate
                    break
            else:
                raise BadArchive("its end is damaged")
        if (disk, first) not in ((0, 0), (0xFFFF, 0xFFFF)):
            raise BadArchive("a part of an archive in several parts")
        shift = end - size - offset
        if shift < 0:
            raise BadArchive("its end is missing, or damaged")
        if size > LARGEST_DIRECTORY:
            raise BadArchive(f"its directory has {size:,} bytes; at most {LARGEST_DIRECTORY:,} are read")
        directory = self._at(offset + shift, size)
        if len(directory) < size:
            raise BadArchive("its directory is cut off")
        self._data_end = offset + shift
        return directory, shift

    def _parse(self, directory: bytes) -> None:
        columns: dict[str, array[int]] = {name: array("Q") for name in ("sizes", "packed", "places")}
        self._flags, self._methods, self._modes = array("H"), array("H"), array("H")
        self._crcs, self._name_ends = array("L"), array("Q")
        names = bytearray()
        place, total = 0, len(directory)
        entry = struct.Struct("<4s4xHH4xIIIHHHHHII")
        while place < total:
            if total - place < 46:
                raise BadArchive("its directory is cut off")
            sign, flags, method, crc, packed, size, of_name, of_extra, of_comment, disk, _, mode, offset = (
                entry.unpack_from(directory, place)
            )
            if sign != _ENTRY:
                raise BadArchive("its directory is damaged")
            after = place + 46 + of_name
            if after + of_extra + of_comment > total:
                raise BadArchive("its directory is cut off")
            if _FULL in (packed, size, offset):
                extra = directory[after : after + of_extra]
                size, packed, offset = _large(extra, size, packed, offset)
            if disk not in (0, 0xFFFF):
                raise BadArchive("a part of an archive in several parts")
            names += directory[place + 46 : after]
            for name, value in (("sizes", size), ("packed", packed), ("places", offset)):
                columns[name].append(value)
            self._flags.append(flags)
            self._methods.append(method)
            self._modes.append(mode >> 16)
            self._crcs.append(crc)
            self._name_ends.append(len(names))
            place = after + of_extra + of_comment
        self._names = bytes(names)
        self.sizes, self._packed, self._places = columns["sizes"], columns["packed"], columns["places"]

    def _refuse_overlaps(self) -> None:
        if not len(self):
            return
        places, packed = (np.frombuffer(column, np.uint64) for column in (self._places, self._packed))
        if max(places.max(), packed.max()) > np.uint64(1 << 62):
            raise BadArchive("its directory is damaged")
        order = np.argsort(places, kind="stable")
        starts = places[order].astype(np.int64) + self._shift
        ends = starts + packed[order].astype(np.int64) + 30
        if (ends[:-1] > starts[1:]).any():
            raise BadArchive("its entries overlap, as in an archive that is made to fill a disk")
        if int(ends.max()) > self._data_end:
            raise BadArchive("it is cut off, or its directory is damaged")

    def _start(self, index: int) -> int:
        """Where an entry's packed bytes begin."""
        place = self._places[index] + self._shift
        head = self._at(place, 30)
        if len(head) < 30 or head[:4] != _LOCAL:
            raise BadArchive("damaged: it is not where the directory says")
        of_name, of_extra = struct.unpack_from("<HH", head, 26)
        start = self._name_ends[index - 1] if index else 0
        if self._at(place + 30, of_name) != self._names[start : self._name_ends[index]]:
            raise BadArchive("damaged: it has two names")
        place += int(30 + of_name + of_extra)
        if place + self._packed[index] > self._data_end:
            raise BadArchive("damaged: it is cut off")
        return place

    def _unpacked(self, index: int) -> Iterator[bytes]:
        """An entry's bytes in pieces, checked against what the directory says."""
        place, left, size = self._start(index), self._packed[index], self.sizes[index]
        unpack = _unpacker(self._methods[index])
        done, crc = 0, 0
        while left:
            packed = self._at(place, min(_PIECE, left))
            if not packed:
                raise BadArchive("damaged: it is cut off")
            place, left = place + len(packed), left - len(packed)
            for piece in unpack(packed):
                done += len(piece)
                if done > size:
                    raise BadArchive("damaged: it is larger than it says")
                crc = zlib.crc32(piece, crc)
                yield piece
        if done < size:
            raise BadArchive("damaged: it ends too soon")
        if crc != self._crcs[index]:
            raise BadArchive("damaged: its CRC is wrong")


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three numbers where 32 bits are not enough for one of them: they are then in an extra field."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        field = extra[place + 4 : place + 4 + length]
        if kind == 1:
            numbers = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            found = [next(numbers, None) if value == _FULL else value for value in (size, packed, offset)]
            if None in found:
                raise BadArchive("its directory is damaged")
            return tuple(found)  # type: ignore[return-value]
        place += 4 + length
    return size, packed, offset


def _unpacker(method: int) -> Any:
    """A function from packed bytes to pieces of what they hold, none of them long."""
    if method == STORED:
        return lambda packed: (packed,)
    if method == DEFLATED:
        inflate = zlib.decompressobj(-15)

        def inflated(packed: bytes) -> Iterator[bytes]:
            try:
                while packed and not inflate.eof:
                    yield inflate.decompress(packed, 4 * _PIECE)
                    packed = inflate.unconsumed_tail
            except zlib.error as error:
                raise BadArchive(f"damaged: it cannot be unpacked ({error})") from None

        return inflated
    if method == BZIP2:
        expand = bz2.BZ2Decompressor()

        def expanded(packed: bytes) -> Iterator[bytes]:
            try:
                while not expand.eof and (packed or not expand.needs_input):
                    yield expand.decompress(packed, 4 * _PIECE)
                    packed = b""
            except (OSError, ValueError) as error:
                raise BadArchive(f"damaged: it cannot be unpacked ({error})") from None

        return expanded
    raise BadArchive(f"packed by a method (number {method}) that is not read; pack it again with deflate")


class Unpacking(io.RawIOBase):
    """A file of pieces that are made when they are read, and kept, so that going back costs nothing.

    Args:
        pieces: of the file.
        size: of the whole file in bytes, as it is said to be.
    """

    def __init__(self, pieces: Iterator[bytes], size: int) -> None:
        self._pieces, self._size = pieces, size
        self._made = bytearray()
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See :meth:`io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        """See :meth:`io.RawIOBase.readinto`. Raises BadArchive."""
        want = self._place + len(buffer)
        while len(self._made) < want:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._made += piece
        found = bytes(self._made[self._place : want])
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)
