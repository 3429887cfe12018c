"""A kit under torture: the real agent as a process, its simulated room in this one, and its spool as it lies
on the card, read by nobody's code but SQLite's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, cast

from diemcau_sim.mortal import MORTAL
from diemcau_sim.server import WorldServer
from diemcau_sim.world import World
from witness import Name

AGENT = Path(sys.executable).with_name("diemcau-agent")
STREAMS = ("event", "telemetry")
STOP_S = 15.0


class Failed(Exception):
    """A promise was not kept: what, and of whom."""


class Kit:
    """``devices``: those that the room should have; fewer start faster."""

    def __init__(
        self,
        point: str,
        port: int,
        place: Path,
        *,
        devices: Sequence[str] = (),
        state: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        program: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.point = point
        self.place = place / point
        self.place.mkdir(parents=True)
        self.state = state or self.place / "state"
        self.spool = self.state / "spool.sqlite3"
        self.world = World()
        self._server = WorldServer(self.world, self.place / "world.sock")
        self.environment = dict(environment)
        self._program = [*program] or [str(AGENT)]
        self._popen: subprocess.Popen[bytes] | None = None
        expected = {name: name in devices for name in ("camera", "microphone", "speaker", "display", "panel")}
        self._settings = self.place / "agent.toml"
        self._settings.write_text(
            _toml(
                {
                    "point": point,
                    "commands": "unsigned",
                    "backends": "sim",
                    "backend_options": {"socket": str(self.place / "world.sock")},
                    "state_dir": str(self.state),
                    "runtime_dir": str(self.place / "run"),
                    "expected": expected,
                    "broker": {"urls": [f"mqtt://127.0.0.1:{port}"], "spread_s": 0.1, "keepalive_s": 5},
                    **settings,
                }
            )
        )

    def __enter__(self) -> Self:
        for folder in (self.state, self.place / "run"):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._server.stop()

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.point} does not run")
        return self._popen.pid

    @property
    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        with (self.place / "agent.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [*MORTAL, *self._program, "run", "--config", str(self._settings)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to the agent alone, as the kernel's out-of-memory killer does; its workers see it end."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(STOP_S)
            self._popen = None

    def stop(self) -> int:
        """In good order; its exit code."""
        if self._popen is None:
            return 0
        self._popen.send_signal(signal.SIGTERM)
        code = self._popen.wait(STOP_S)
        self._popen = None
        return code

    def words(self) -> str:
        """The end of its log."""
        return (self.place / "agent.log").read_text("utf-8", "replace")[-2000:]


class Shelf:
    """What a kit's spools were seen to hold, over all its crashes: what is on the card is acknowledged."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self.committed: dict[Name, bytes] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def look(self) -> None:
        """Read a copy of the files as they lie; SQLite recovers it as it would after a power cut.

        Raises Failed: it is damaged, a number is missing, or a committed document has changed.
        """
        copy = self._kit.place / "copy.sqlite3"
        for ending in ("", "-wal"):
            source, target = Path(f"{self._kit.spool}{ending}"), Path(f"{copy}{ending}")
            target.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, target)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        if not copy.exists():
            return  # killed before its first start got that far
        try:
            with closing(sqlite3.connect(copy)) as db:
                self._read(db)
        except sqlite3.DatabaseError as error:
            raise Failed(f"{self._kit.point}: the spool is damaged: {error}") from error

    def _read(self, db: sqlite3.Connection) -> None:
        point = self._kit.point
        (checked,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if checked != "ok":
            raise Failed(f"{point}: integrity_check: {checked}")
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'pair'").fetchone():
            return  # killed while its tables were made
        found = db.execute("SELECT value FROM pair WHERE key = 'uuid'").fetchone()
        if found is None:
            return
        spool = str(found[0])
        for stream in STREAMS:
            seen = self._newest.get((spool, stream), 0)
            for seq, payload in db.execute(
                f"SELECT seq, payload FROM {stream} WHERE seq > ? ORDER BY seq", (seen,)
            ):
                if seq != seen + 1:
                    raise Failed(f"{point}: {stream} goes from {seen} to {seq}")
                self.committed[point, spool, stream, seq] = bytes(payload)
                seen = seq
            self._newest[spool, stream] = seen


def until(true: Any, timeout_s: float, every_s: float = 0.01) -> bool:
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(every_s)
    return True


def _toml(settings: Mapping[str, Any]) -> str:
    """Values as JSON, which TOML reads for all that is here; inline tables with ``=``."""

    def value(given: Any) -> str:
        if isinstance(given, dict):
            table = cast("dict[str, Any]", given)
            return "{ " + ", ".join(f"{key} = {value(one)}" for key, one in table.items()) + " }"
        return json.dumps(given)

    return "".join(f"{key} = {value(given)}\n" for key, given in settings.items())
