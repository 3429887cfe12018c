"""What may be asked of the process that installs, one JSON object a line, and its answers.

``{"do": "keys", "list"}``: adopt a newer list of keys -> ``{"ok": {"revision"}}``; ``{"do": "install",
"command", "release"}`` and a descriptor of the package -> ``{"ok": {"installing": true}}``, and it is
installed; ``{"do": "ending", "id"}`` -> ``{"ok": {"state", "before", "to", "reason"}}``: how that command
ended. Or ``{"error": {"code", "detail"}}`` as the reboot helper's. Nothing is kept in memory between two
requests."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct

from diemcau_agent import files
from diemcau_agent.commands.outcome import Refused
from diemcau_agent.config import Settings
from diemcau_agent.privileged import guard
from diemcau_agent.privileged.authority import believed
from diemcau_agent.privileged.guard import MAX_LINE_BYTES
from diemcau_agent.privileged.moment import Moment, now

from .record import Pending, Record
from .release import Release
from .rules import Installed, decide
from .steps import StepFailed

CHUNK_BYTES = 1024 * 1024


class Install(Struct, frozen=True, tag_field="do", tag="install", forbid_unknown_fields=True):
    command: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]
    release: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


class EndingOf(Struct, frozen=True, tag_field="do", tag="ending", forbid_unknown_fields=True):
    id: Annotated[str, Meta(max_length=64)]


class Packages(Protocol):
    """What dpkg knows. Everything raises StepFailed."""

    def installed(self) -> Installed: ...
    def older(self, version: str, than: str) -> bool: ...
    def check(self, package: Path, release: Release) -> None:
        """Whether the package says of itself what its release says of it."""
        ...


class Guard(guard.Guard):
    requests = msgspec.json.Decoder(guard.Keys | Install | EndingOf)
    expected = "keys (list), install (command, release) or ending (id)"
    what = "update"
    last = "installing"
    failures = (StepFailed,)

    def __init__(
        self,
        settings: Callable[[], Settings],
        record: Record,
        uids: frozenset[int],
        packages: Packages,
        now: Callable[[], Moment] = now,
    ) -> None:
        super().__init__(settings, record.keys, uids, now)
        self._record = record
        self._packages = packages

    def do(self, request: Install | EndingOf, file: int | None) -> dict[str, Any]:
        match request:
            case EndingOf(id=command_id):
                return msgspec.to_builtins(self._record.ending(command_id))
            case Install(command=command, release=release):
                self._begin(command.encode(), release.encode(), file)
                return {"installing": True}

    def _begin(self, command: bytes, text: bytes, file: int | None) -> None:
        if file is None:
            raise Refused("bad_args", "got no descriptor of a package with the request, expected one")
        settings, at, installed = self._settings(), self._now(), self._packages.installed()
        command_id, release = decide(
            command,
            text,
            settings=settings,
            verifier=believed(self._record.keys, settings, at),
            past=self._record.past,
            now=at,
            installed=installed,
            older=self._packages.older,
        )
        if self._record.pending is not None:
            raise Refused("busy", "another update is on its way")
        try:
            copy(file, self._record.new, release)
            self._packages.check(self._record.new, release)
            self._record.begin(Pending(command_id, release, installed.version))
        except BaseException:
            self._record.new.unlink(missing_ok=True)
            raise


def copy(file: int, into: Path, release: Release) -> None:
    """What is verified is our own copy: whoever holds the other end may change the file at any time. Raises
    Refused, OSError."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_size != release.size:
        raise Refused(
            "bad_args", f"the package: got {status.st_size} bytes, expected a file of {release.size}"
        )
    digest, left = hashlib.sha256(), release.size
    into.unlink(missing_ok=True)
    with open(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copied:  # noqa: PTH123
        while left and (chunk := os.pread(file, min(CHUNK_BYTES, left), release.size - left)):
            digest.update(chunk)
            copied.write(chunk)
            left -= len(chunk)
        copied.flush()
        os.fsync(copied.fileno())
    if left or digest.hexdigest() != release.sha256:
        raise Refused("bad_args", f"the package: got sha256 {digest.hexdigest()}, expected {release.sha256}")
    files.settle(into.parent)
