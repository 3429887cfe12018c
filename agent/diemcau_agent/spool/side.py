"""What is known of a spool beside its file, since that may be lost: ``spool.identity``, the UUID and the
session, which must never go back, replaced whole; and ``spool.mark``, the newest numbers, written over in
place after each commit and left to the kernel to bring to the card. Where a spool has not got as far as its
mark says, its log lost its end (truncated, deleted, a flipped byte in its last transaction), and numbers
would come again. Each is one line of JSON and its CRC-32."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from diemcau_agent import files

from .tables import Stream

log = logging.getLogger(__name__)

_MARK_BYTES = 128
T = TypeVar("T")


class Identity(msgspec.Struct, frozen=True):
    spool: str | None = None
    session: int = 0


class Mark(msgspec.Struct, frozen=True):
    spool: str
    last: dict[str, int]


class Side:
    """Every method runs in the disk's thread. None raises; what cannot be written is told in the log."""

    def __init__(self, path: Path) -> None:
        """``path``: the spool's."""
        self._path = path.with_name(f"{path.stem}.identity")
        self._mark_path = path.with_name(f"{path.stem}.mark")
        self._mark_file: int | None = None
        self._marked: Mark | None = None
        self.identity = Identity()

    def read(self) -> None:
        self.identity = _read(self._path, Identity) or Identity()

    def remember(self, identity: Identity) -> bool:
        """Whole or not at all; whether it is on the card."""
        if identity == self.identity:
            return True
        try:
            files.replace(self._path, _sealed(identity))
        except OSError as error:
            log.error("%s: %s", self._path, error)
            return False
        self.identity = identity
        return True

    def marked(self, spool: str | None) -> Mapping[str, int]:
        """How far each stream had got at least; nothing of a stream that is not known."""
        mark = _read(self._mark_path, Mark)
        return {} if mark is None or mark.spool != spool else mark.last

    def mark(self, spool: str, streams: Mapping[str, Stream]) -> None:
        mark = Mark(spool, {name: stream.last for name, stream in streams.items()})
        if mark == self._marked:
            return
        try:
            if self._mark_file is None:
                self._mark_file = os.open(self._mark_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._mark_file, _sealed(mark).ljust(_MARK_BYTES), 0)
            self._marked = mark
        except OSError as error:
            log.info("%s: %s", self._mark_path, error)

    def close(self) -> None:
        if self._mark_file is not None:
            os.close(self._mark_file)
            self._mark_file = self._marked = None


def _sealed(content: msgspec.Struct) -> bytes:
    text = msgspec.json.encode(content)
    return b"%b %08x" % (text, zlib.crc32(text))


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        text, _, seal = path.read_bytes().rstrip().rpartition(b" ")
        if seal != b"%08x" % zlib.crc32(text):
            raise ValueError("it is damaged")
        return msgspec.json.decode(text, type=kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        log.error("%s: %s", path, error)
        return None
