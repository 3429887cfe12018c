"""The record's files on the card: ``audit.jsonl``, and the full ones before it, ``audit.1.jsonl`` the newest.

Blocking, and one thread's: :class:`.record.Audit` calls it in its own. Raises OSError where the card fails;
then nothing of the batch counts as written, and the next try begins where the last good one ended.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from diemcau_agent import files

from .chain import CONTINUED, DAMAGED, START, TORN, Head, Noted, digest, link, read

NAME = "audit.jsonl"
SET_ASIDE = ".damaged"
MAX_BYTES = 4 * 1024 * 1024
KEPT = 4
"""Full files: with the one that is written some 50,000 entries, at most 20 MiB."""
TAIL_BYTES = 64 * 1024
"""Longer than any line: the last whole one is in it."""

_FULL = re.compile(r"audit\.([1-9]\d?)\.jsonl")


def paths(directory: Path) -> list[Path]:
    """What there is of the record, oldest first."""
    full = [(int(found[1]), path) for path in directory.iterdir() if (found := _FULL.fullmatch(path.name))]
    newest = directory / NAME
    return [*(path for _, path in sorted(full, reverse=True)), *([newest] if newest.exists() else [])]


class AuditFile:
    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._directory = directory
        self._path = directory / NAME
        self._max_bytes = max_bytes
        self._kept = kept
        self._fd: int | None = None
        self._size = 0
        self._known = False
        """``head`` and ``_size`` are of what this process has found, or written itself."""
        self._untold: list[tuple[str, dict[str, Any]]] = []
        """What the record tells of itself with the next batch: kind and data."""
        self.head = START

    def append(self, batch: Sequence[Noted]) -> None:
        """On the card when this returns. ``batch`` is not empty: its first lends its time to the record's
        own entries."""
        try:
            if self._fd is None:
                self._open()
            if self._size >= self._max_bytes:
                self._rotate()
            own = [msgspec.structs.replace(batch[0], kind=kind, data=data) for kind, data in self._untold]
            self._write([*own, *batch])
            self._untold = []
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _open(self) -> None:
        self._fd = fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two writers would fork the chain
        size = os.fstat(fd).st_size
        if self._known and size >= self._size:
            os.ftruncate(fd, self._size)  # what a batch left that did not get through
        else:
            files.settle(self._directory)
            self._recover(fd, size)

    def _recover(self, fd: int, size: int) -> None:
        """Where the chain ended, when another process wrote it."""
        self._untold = []
        tail = os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES))
        whole, _, torn = tail.rpartition(b"\n")
        line = whole.rpartition(b"\n")[2]
        entry = read(line)
        if entry is not None:
            self._begin(size, Head(entry.n, digest(line)))
        elif whole or size > TAIL_BYTES:
            self._set_aside(size)
            return
        else:
            self._follow()
        if torn:
            self._size = size - len(torn)
            os.ftruncate(fd, self._size)
            self._untold.append((TORN, {"bytes": len(torn), "sha256": digest(torn)}))

    def _begin(self, size: int, head: Head) -> None:
        self._size, self.head, self._known = size, head, True

    def _follow(self) -> None:
        """A new file: on the newest full one, or the first there is."""
        full = [path for path in paths(self._directory) if path != self._path]
        if not full:
            self._begin(0, START)
            return
        line = _last_line(full[-1])
        last, oldest = read(line), read(_first_line(full[0]))
        self._begin(0, START if last is None else Head(last.n, digest(line)))
        data = {"oldest": None if oldest is None else oldest.n}
        self._untold.append((CONTINUED, data))

    def _set_aside(self, size: int) -> None:
        """What cannot be read is kept for whoever looks into it, and a new chain says so."""
        for path in paths(self._directory):  # the full ones too: the new chain does not follow on them
            path.replace(path.with_suffix(SET_ASIDE))
        self._create()
        self._begin(0, START)
        data = {"set_aside": self._path.with_suffix(SET_ASIDE).name, "bytes": size}
        self._untold.append((DAMAGED, data))

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            path = self._directory / f"audit.{number}.jsonl"
            if path.exists():
                path.replace(self._directory / f"audit.{number + 1}.jsonl")
        self._known = False  # should the card fail between the two, the end is looked for again
        self._path.replace(self._directory / "audit.1.jsonl")
        self._create()
        self._follow()

    def _create(self) -> None:
        self.close()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        files.settle(self._directory)

    def _write(self, batch: Sequence[Noted]) -> None:
        assert self._fd is not None
        head, lines = self.head, b""
        for noted in batch:
            line, head = link(noted, head)
            lines += line + b"\n"
        view = memoryview(lines)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)
        self._size, self.head = self._size + len(lines), head


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline(TAIL_BYTES).removesuffix(b"\n")


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().removesuffix(b"\n").rpartition(b"\n")[2]
