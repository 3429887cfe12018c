"""A broker that was taken over, against a whole room that obeys signed commands only: what was sent once is
sent again, retained, forged and swapped over a real mosquitto, before and after a reconnect. Nothing runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer
from signing import key, key_list, public, signed
from simroom import SimRoom, living

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(60)]
KEYS = "diemcau/v1/fleet/keys"


async def live_until(room: SimRoom, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await room.live(0.25)


def counts(room: SimRoom) -> dict[str, int]:
    told: dict[str, int] = {}
    for event in room.app.outbox.recent:
        if event.kind == "command_refused":
            told |= {code: told.get(code, 0) + number for code, number in event.data["counts"].items()}
    return told


async def test_what_a_broker_makes_of_what_it_has_moves_nothing(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    signing: dict[str, Any] = {"commands": "signed", "fleet_keys": [public("fleet-1")]}
    try:
        async with living(tmp_path, mosquitto.url, **signing) as room:
            await _attack(room, observer)
    finally:
        observer.publish(KEYS, b"", retain=True)


async def _attack(room: SimRoom, observer: Observer) -> None:
    point = room.point
    topic = f"diemcau/v1/point/{point}/command/restart"
    first = key_list(key("operator-1"), key("operator-2"), revision=1)
    second = key_list(key("operator-1"), key("operator-2"), revision=2, revoked=["operator-2"])
    for text, revision in ((first, 1), (second, 2)):
        observer.publish(KEYS, text, retain=True)
        await live_until(room, lambda revision=revision: room.app.keyring.revision == revision)
    pid = room.app.workers.pid("camera")

    def order(ident: str, iss: str = "operator-1", by: str | None = None, **more: Any) -> bytes:
        now = int(room.clock.wall())
        claims = {
            "id": ident,
            "aud": f"point/{point}",
            "verb": "restart",
            "iss": iss,
            "iat": now,
            "exp": now + 60,
        }
        claims |= {"args": {"target": "camera"}, "nonce": room.app.broker.nonces.current, **more}
        return signed(claims, by or iss)

    def done() -> list[str]:
        replies = [heard.document for heard in observer.heard("reply/operator-1", point)]
        return [reply["id"] for reply in replies if reply["state"] == "done"]

    good = order("good-0001")
    observer.publish(topic, good)
    await live_until(room, lambda: done() == ["good-0001"])
    restarted = room.app.workers.pid("camera")
    assert restarted != pid, "the good one ran: the room obeys"

    held = order("held-0001")

    def onslaught() -> None:
        observer.publish(KEYS, first, retain=True)  # the older list, which knows of no revocation
        for _ in range(20):
            observer.publish(topic, good)
            observer.publish(topic, order("forged-001", by="nobody"))
            observer.publish(topic, order("revoked-01", "operator-2"))
            observer.publish(topic, second)
            observer.publish(KEYS, good)
            observer.publish(f"diemcau/v1/conference/{point}", good)
        observer.publish(topic, held, retain=True)
        observer.publish(topic, b"", retain=True)

    onslaught()
    await room.live(65)
    connection = room.app.broker.connection
    assert connection is not None
    await connection.close(reason="the test's")
    await live_until(room, lambda: room.app.broker.connection not in (None, connection))
    observer.publish(topic, held)  # its nonce is in its grace, its time is over
    onslaught()
    await room.live(65)
    assert room.app.workers.pid("camera") == restarted
    assert set(done()) == {"good-0001"}
    assert room.app.keyring.revision == 2
    told = counts(room)
    assert told["bad_signature"] == told["unknown_key"] == 40
    assert told["retained"] == 2
    assert told["expired"] == 1
