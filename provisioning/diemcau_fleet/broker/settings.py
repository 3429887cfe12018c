"""Where a broker listens and what its files are called."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import msgspec

MQTTS_PORT = 8883
WSS_PORT = 443
CONF = "mosquitto.conf"
ACL = "acl"
CRL = "crl.pem"
CA = "ca.pem"


class Listen(msgspec.Struct, frozen=True):
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, port: int) -> Self:
        """``HOST[:PORT]``, IPv6 in brackets. Raises ValueError that says what it got and what it expects."""
        host, colon, after = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, after = text, str(port)
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", "\n")
        wrong = not host or any(not (c.isalnum() or c in ".-:%") for c in host)
        if wrong or not (after.isascii() and after.isdigit() and 1 <= int(after) <= 65535):
            raise ValueError(f"got {text!r}, expected HOST[:PORT], such as 0.0.0.0:{port} or [::]:{port}")
        return cls(host, int(after))


class Bridge(msgspec.Struct, frozen=True):
    """From a province's broker to the centre's. ``id``: its CN at the centre, and its client id there."""

    id: str
    host: str
    port: int
    ca_file: Path
    cert_file: Path
    key_file: Path


class Settings(msgspec.Struct, frozen=True):
    """``out``: where the files are written; ``place``: what that is called on the broker's machine, as are
    ``host_cert`` and ``host_key``. ``user``: as whom mosquitto runs. ``wss``: MQTT in a WebSocket."""

    out: Path
    place: Path
    host_cert: Path
    host_key: Path
    mqtts: tuple[Listen, ...]
    wss: tuple[Listen, ...] = ()
    user: str = "mosquitto"
    state: Path = Path("/var/lib/mosquitto")
    pid_file: Path = Path("/run/mosquitto/mosquitto.pid")
    bridge: Bridge | None = None

    @property
    def here(self) -> bool:
        """The broker runs on this machine."""
        return self.out == self.place
