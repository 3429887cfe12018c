"""One kit under measurement: a simulated room's world in this process, the real agent in one of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from diemcau_sim.server import WorldServer
from diemcau_sim.world import World
from ears import Ears, Heard

AGENT = str(Path(sys.executable).parent / "diemcau-agent")


class Kit:
    """``with Kit(...) as kit``: the agent runs and is online.

    ``probe``: the settings of that name that differ from a real kit's.
    """

    def __init__(
        self,
        point: str,
        port: int,
        place: Path,
        ears: Ears,
        probe: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.point = point
        self.ears = ears
        self.place = place / point
        self.place.mkdir()
        self.world = World()
        self._server = WorldServer(self.world, self.place / "world.sock")
        self._settings = self.place / "diemcau.toml"
        self._settings.write_text(self._toml(port, probe))
        self._nonce = ""
        self._popen: subprocess.Popen[bytes] | None = None

    def _toml(self, port: int, probe: Mapping[str, float]) -> str:
        lines = [
            f'point = "{self.point}"',
            'commands = "unsigned"',
            'backends = "sim"',
            f'backend_options = {{ socket = "{self.place}/world.sock" }}',
            f'state_dir = "{self.place}/state"',
            f'runtime_dir = "{self.place}/run"',
            "[broker]",
            f'urls = ["mqtt://127.0.0.1:{port}"]',
            "[probe]",
            *(f"{name} = {value}" for name, value in probe.items()),
        ]
        return "\n".join(lines) + "\n"

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.point} does not run")
        return self._popen.pid

    def __enter__(self) -> Self:
        for name in ("state", "run"):
            (self.place / name).mkdir(mode=0o700)
        self._server.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._popen is not None:
            self.stop()
        self._server.stop()

    def start(self) -> float:
        """Start the agent; the seconds until the broker had its ``online``."""
        self.ears.forget()
        started = time.monotonic()
        with (self.place / "agent.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [AGENT, "run", "--config", str(self._settings)], stdout=log, stderr=log
            )
        status = self.ears.await_(
            f"{self.point} online",
            lambda heard: self._is(heard, "status") and b'"online"' in heard.payload,
            30,
        )
        self._nonce = status.document["nonce"]
        return status.at_s - started

    def stop(self) -> None:
        if self._popen is None:
            return
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(15)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(5)
            raise
        finally:
            self._popen = None

    def command(
        self, verb: str, args: Mapping[str, Any] = MappingProxyType({}), *, timeout_s: float = 60
    ) -> tuple[Heard, float]:
        """Send a command; its last answer, and the seconds from sending to that answer."""
        ident, now = str(uuid.uuid4()), int(time.time())
        claims = {
            "id": ident,
            "aud": f"point/{self.point}",
            "verb": verb,
            "args": dict(args),
            "iss": "bench",
            "iat": now,
            "exp": now + 60,
            "nonce": self._nonce,
        }
        payload = json.dumps(claims, separators=(",", ":")).encode()
        mark = ident.encode()
        self.ears.forget()
        sent = time.monotonic()
        self.ears.say(f"diemcau/v1/point/{self.point}/command/{verb}", payload)
        answer = self.ears.await_(
            f"{verb} answered",
            lambda heard: (
                self._is(heard, "reply/bench")
                and mark in heard.payload
                and heard.document["state"] in ("done", "failed", "refused")
            ),
            timeout_s,
        )
        return answer, answer.at_s - sent

    def health(self, state: str, device: str, timeout_s: float) -> Heard:
        """The first health document since the last ``forget`` that has ``device`` in ``state``."""
        return self.ears.await_(
            f"{device} of {self.point} {state}",
            lambda heard: self._is(heard, "health") and heard.document["devices"][device]["state"] == state,
            timeout_s,
        )

    def _is(self, heard: Heard, document: str) -> bool:
        return heard.topic == f"diemcau/v1/point/{self.point}/{document}"
