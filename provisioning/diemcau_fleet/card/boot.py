"""A boot partition that can be written to: where it is mounted, or by mtools where it is not."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Protocol

from diemcau_agent import files

from .errors import CardError

_MTOOLS_S = 120
_PART, _NEW = ".part", ".new"
_FREE = re.compile(rb"^\s+([0-9 ]+) bytes free\s*$", re.MULTILINE)


class Boot(Protocol):
    """Names are relative, with slashes. All of it raises CardError or OSError."""

    def names(self) -> set[str]: ...

    def read(self, name: str) -> bytes: ...

    def put(self, name: str, data: bytes) -> None:
        """On the card when this returns; torn after a pulled plug, which SHA256SUMS tells."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """The old file or the new one, after a pulled plug too."""
        ...

    def forget(self, name: str) -> None: ...

    def free(self) -> int: ...


class Mounted:
    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> set[str]:
        """Of the top, and of our own folder: the rest is the firmware's."""
        found = [path for path in self._root.iterdir() if path.is_file()]
        found += [path for path in (self._root / "diemcau").rglob("*") if path.is_file()]
        return {path.relative_to(self._root).as_posix() for path in found}

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, data, 0o644)

    replace = put

    def forget(self, name: str) -> None:
        (self._root / name).unlink()
        files.settle((self._root / name).parent)

    def free(self) -> int:
        room = os.statvfs(self._root)
        return room.f_bavail * room.f_frsize


class Fat:
    """Not mounted, so nobody's kernel or desktop has a part in it, and an image needs no root."""

    def __init__(self, target: Path, offset: int) -> None:
        self._target = target
        self._at = f"{target}@@{offset}"
        self._made: set[str] = set()
        for name in self.names():
            if name.endswith(_PART):
                self.forget(name)
            elif name.endswith(_NEW):  # whole, and what it was to replace may be torn
                self._finish(name.removesuffix(_NEW))

    def names(self) -> set[str]:
        listed = self._run("mdir", "-b", "-a", "::/").decode(errors="replace").splitlines()
        if "::/diemcau/" in listed:
            listed += self._run("mdir", "-b", "-a", "-/", "::/diemcau").decode(errors="replace").splitlines()
        return {line.removeprefix("::/") for line in listed if line and not line.endswith("/")}

    def read(self, name: str) -> bytes:
        return self._run("mcopy", "-n", f"::{name}", "-")

    def put(self, name: str, data: bytes) -> None:
        for folder in [folder.as_posix() for folder in reversed(Path(name).parents)][1:]:
            self._make(folder)
        self._run("mcopy", "-o", "-", f"::{name}", given=data)
        self._settle()

    def replace(self, name: str, data: bytes) -> None:
        """mtools has no renaming over another file, and makes CMDLINE.TXT of a renamed cmdline.txt."""
        self.put(name + _PART, data)
        self._run("mren", f"::{name}{_PART}", f"::{name}{_NEW}")
        self._settle()
        self._finish(name)

    def forget(self, name: str) -> None:
        self._run("mdel", f"::{name}")
        self._settle()

    def free(self) -> int:
        found = _FREE.search(self._run("mdir", "::/"))
        if found is None:
            raise CardError(f"{self._target}: mdir does not say how much is free on its boot partition")
        return int(found[1].replace(b" ", b""))

    def _make(self, folder: str) -> None:
        if folder in self._made:
            return
        above = folder.rpartition("/")[0]
        if f"::/{folder}/" not in self._run("mdir", "-b", "-a", f"::/{above}").decode().splitlines():
            self._run("mmd", f"::/{folder}")
        self._made.add(folder)

    def _finish(self, name: str) -> None:
        self.put(name, self.read(name + _NEW))
        self.forget(name + _NEW)

    def _settle(self) -> None:
        opened = os.open(self._target, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def _run(self, program: str, *words: str, given: bytes | None = None) -> bytes:
        # A user's own settings are none of ours; sectors that are no multiple of a track are no fault.
        ours = {**os.environ, "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run(
                [program, "-i", self._at, *words],
                input=given if given is not None else b"",
                capture_output=True,
                env=ours,
                timeout=_MTOOLS_S,
            )
        except FileNotFoundError:
            raise CardError(f"{program}: not installed (apt-get install mtools)") from None
        if done.returncode != 0:
            raise CardError(f"{self._target}: {program}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout
