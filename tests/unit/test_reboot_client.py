"""The daemon's side of a restart of the host: it hands on, tells the nonce, and lives whatever it hears."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import signing
from command_room import until
from diemcau_agent import config
from diemcau_agent.clock import boot_id
from diemcau_agent.commands.outcome import CommandError, Failed, Refused
from diemcau_agent.privileged.serve import serve
from diemcau_agent.reboot.client import AGAIN_S, RebootClient
from diemcau_agent.reboot.guard import Guard
from diemcau_agent.reboot.record import Record
from fakeclock import FakeClock

POINT = "xp-0417"


class Kit:
    """The client, and whoever answers at its socket, once there is one."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.path = folder / "reboot.sock"
        self.record = Record(folder, folder)
        self.nonces: list[str | None] = []
        self.restarts = 0
        self.client = RebootClient(self.path, clock, lambda: self.nonces.append(self.client.nonce))
        self.listener: socket.socket | None = None
        self.thread: threading.Thread | None = None

    def answer(self, converse: Callable[[socket.socket], None]) -> None:
        """``converse(listener)`` in a thread of its own."""
        listener = self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen(8)

        def run() -> None:
            try:
                while True:
                    converse(listener)
            except OSError:
                return  # shut

        self.thread = threading.Thread(target=run, name="helper")
        self.thread.start()

    def guard(self) -> None:
        """The real one."""
        settings = config.check(
            {
                "point": POINT,
                "broker": {"urls": ["mqtts://broker.example"]},
                "fleet_keys": [signing.public("fleet-1")],
            }
        )
        guard = Guard(lambda: settings, self.record, frozenset({os.geteuid()}), self._restart)
        self.answer(lambda listener: serve(listener, guard))

    def _restart(self) -> None:
        self.restarts += 1

    def command(self, by: str = "op-1", nonce: str | None = None) -> bytes:
        now_s = int(time.time())
        claims = {
            "id": "command-1", "aud": f"point/{POINT}", "verb": "restart", "iss": by, "iat": now_s,
            "exp": now_s + 60, "args": {"target": "host", "reboot_nonce": nonce or self.client.nonce},
        }  # fmt: skip
        return signing.signed(claims, by)

    def close(self) -> None:
        if self.listener is not None and self.thread is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.thread.join(10)
            self.listener.close()


@pytest.fixture
async def kit(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Kit]:
    kit = Kit(tmp_path, clock)
    task = asyncio.create_task(kit.client.run())
    yield kit
    task.cancel()
    await asyncio.wait({task})
    await asyncio.to_thread(kit.close)


async def test_a_kit_without_a_helper_tells_no_nonce_and_says_that_it_cannot(kit: Kit) -> None:
    with pytest.raises(Failed, match="unsupported: nothing on this kit may restart the host"):
        await kit.client.restart(b"x")
    assert kit.nonces == []


async def test_a_helper_that_comes_later_is_found_and_gets_the_keys_that_waited(
    kit: Kit, clock: FakeClock
) -> None:
    kit.client.offer_keys(signing.key_list(signing.key("op-1")))
    await until(lambda: clock.sleepers > 0)
    kit.guard()
    await clock.advance(AGAIN_S)
    await until(lambda: kit.nonces != [])
    assert kit.nonces == [kit.record.nonce(boot_id())]
    assert kit.record.keys.exists()


async def test_a_command_is_handed_on_and_the_next_nonce_is_told(kit: Kit) -> None:
    kit.guard()
    kit.client.offer_keys(signing.key_list(signing.key("op-1")))
    await until(lambda: kit.record.keys.exists() and kit.client.nonce is not None)
    await kit.client.restart(kit.command())
    assert kit.restarts == 1
    await until(lambda: len(kit.nonces) == 2)
    assert None not in kit.nonces
    assert kit.nonces[0] != kit.nonces[1]


@pytest.mark.parametrize(
    ("by", "nonce", "code"), [("op-1", "0" * 32, "bad_nonce"), ("mallory", None, "not_permitted")]
)
async def test_what_the_helper_refuses_is_refused_with_its_code(
    kit: Kit, by: str, nonce: str | None, code: str
) -> None:
    kit.guard()
    kit.client.offer_keys(signing.key_list(signing.key("op-1")))
    await until(lambda: kit.record.keys.exists() and kit.client.nonce is not None)
    with pytest.raises(Refused, match=f"{code}: the reboot helper"):
        await kit.client.restart(kit.command(by, nonce))
    assert kit.restarts == 0


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b'{"error": {"code": "internal", "detail": "the card is full"}}\n', "internal: .*the card is full"),
        (b"\xff\n", "unsupported"),
        (b"", "unsupported: .*no answer"),
        (b"x" * 100_000, "unsupported"),
        (b'{"ok": 3}\n', "unsupported"),
    ],
)
async def test_whatever_it_hears_it_lives_on_and_says_what_it_heard(
    kit: Kit, said: bytes, error: str
) -> None:
    def converse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.makefile("rb").readline()
            try:
                connection.sendall(said)
            except OSError:
                pass  # it has heard enough

    kit.answer(converse)
    with pytest.raises(CommandError, match=error):
        await kit.client.restart(b"x")
    assert kit.client.nonce is None
    with pytest.raises(CommandError, match=error):
        await kit.client.restart(b"x")


async def test_an_answer_that_does_not_come_is_not_waited_for(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diemcau_agent.privileged.client.ANSWER_S", 0.1)
    held: list[Any] = []
    kit.answer(lambda listener: held.append(listener.accept()))
    with pytest.raises(Failed, match=r"no answer in 0.1 s"):
        await kit.client.restart(b"x")
    for connection, _ in held:
        connection.close()


async def test_a_line_is_json_whatever_bytes_the_command_has(kit: Kit) -> None:
    heard: list[bytes] = []

    def converse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.makefile("rb").readline())
            connection.sendall(b'{"ok": {}}\n')

    kit.answer(converse)
    await kit.client.restart(b'\xff\n"')
    assert [json.loads(line)["do"] for line in heard if b"reboot" in line] == ["reboot"]
