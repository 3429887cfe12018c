"""The centre as the tests run it: the fleet's tools as processes, and everybody's keys."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from diemcau_sim.mosquitto import PrivateMosquitto
from signing import key, key_list, public, seed
from simroom import SimRoom, living

PROGRAM = Path(sys.executable).with_name("diemcau-fleet")
CAMERA = ("restart", "target=camera")
KEYS = "diemcau/v1/fleet/keys"


class Ended(msgspec.Struct, frozen=True):
    """``lines``: of its output."""

    code: int
    lines: list[str]
    errors: str

    @property
    def last(self) -> list[str]:
        """The first words of the last line: point, state, code."""
        return self.lines[-1].split()[:3]


class Office:
    """The centre, with the fleet's tools and everybody's keys. Its broker holds no notice of another test."""

    def __init__(self, folder: Path, broker: PrivateMosquitto) -> None:
        self.folder = folder
        self.url = broker.url

    def key_file(self, name: str) -> Path:
        """As ``signing_key.make`` writes it, of the tests' own seed."""
        path = self.folder / f"{name}.pem"
        private = Ed25519PrivateKey.from_private_bytes(seed(name))
        path.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path

    async def run(self, room: SimRoom | None, *words: str) -> Ended:
        """``diemcau-fleet`` with ``words``, while the room's time passes."""
        process = await asyncio.create_subprocess_exec(
            PROGRAM, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        ending = asyncio.create_task(process.communicate(), name="diemcau-fleet")
        while not ending.done():
            await asyncio.sleep(0.05)
            if room is not None:
                await room.live(0.05)
        output, errors = await ending
        return Ended(process.returncode or 0, output.decode().splitlines(), errors.decode())

    async def command(self, room: SimRoom, *words: str, by: str = "operator-1", wait_s: int = 15) -> Ended:
        signer = ("--key", str(self.key_file(by)), "--iss", by, "--broker", self.url)
        return await self.run(room, "command", *words, *signer, "--wait-s", str(wait_s))

    async def publish(self, room: SimRoom | None, text: bytes) -> Ended:
        path = self.folder / "notice.jws"
        path.write_bytes(text)
        return await self.run(room, "publish", str(path), "--broker", self.url)

    async def confer(
        self, room: SimRoom | None, *more: str, revision: int = 1, freeze: str = "", by: str = "operator-1"
    ) -> Ended:
        """A conference of this hour, and of everybody."""
        path = self.folder / "conference.toml"
        start = int(time.time()) - 600
        path.write_text(
            f'id = "national-1"\nrevision = {revision}\nstart = {start}\nend = {start + 3600}\n'
            f'groups = ["all"]\n{freeze}\n[thresholds]\nluma_min = 0.99\n'
        )
        signer = ("--key", str(self.key_file(by)), "--iss", by)
        return await self.run(room, "conference", str(path), *signer, *more)

    async def until_keys(self, room: SimRoom, revision: int) -> None:
        async with asyncio.timeout(10):
            while room.app.keyring.revision < revision:
                await room.live(0.05)


def everybody(room_ids: Sequence[str] = (), **more: Any) -> bytes:
    return key_list(
        key("operator-1"),
        key("operator-2"),
        key("viewer-1", "viewer"),
        key("collector-1", "collector"),
        *([key("installer-1", "installer", room_ids)] if room_ids else []),
        **more,
    )


def signed_room(folder: Path, broker: PrivateMosquitto, **more: Any) -> Any:
    return living(folder, broker.url, commands="signed", fleet_keys=[public("fleet-1")], **more)
