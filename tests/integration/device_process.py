"""A device's process as the daemon runs it, asked over its pipes; whoever waits too long is told so."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class NoAnswer(Exception):
    """It did not answer in time."""


class DeviceProcess:
    """``inside``: a command in front, which ends by running what follows it."""

    def __init__(
        self,
        process: str,
        backend: str,
        options: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        inside: Sequence[str] = (),
    ) -> None:
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-P", "-m", "diemcau_drivers", process],
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._write({"backend": backend, "options": dict(options or {})})
        try:
            self.ready: Mapping[str, Any] = self._read(10.0)["ready"]
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(5)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, deadline_s: float = 10.0, **args: Any) -> dict[str, Any]:
        """Raises NoAnswer, EOFError where the process ends."""
        return self.answer(do, deadline_s, **args)["ok"]

    def answer(self, do: str, deadline_s: float = 10.0, **args: Any) -> dict[str, Any]:
        """With ``ok`` or ``error``. Raises as :meth:`ask`."""
        self._write({"id": 1, "do": do, "args": args})
        return self._read(deadline_s)

    def ended(self) -> int:
        """The exit code, -n where signal n ended it."""
        return self._process.wait(5)

    def pss_mib(self) -> float:
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def _read(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], deadline_s)[0]:
            raise NoAnswer(f"nothing in {deadline_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise EOFError
        return json.loads(line)


class AudioProcess(DeviceProcess):
    def __init__(self, backend: str, env: Mapping[str, str]) -> None:
        super().__init__("audio", backend, {}, env)
