"""The MQTT session against a real mosquitto (docs/wire.md, Presence)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import SystemClock
from diemcau_agent.mqtt import Connection, ConnectionLost, LineDown, Message, Refused, Will
from diemcau_agent.mqtt import connection as connections
from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Heard, Observer
from simroom import living

pytestmark = pytest.mark.mosquitto

EXECUTOR = ThreadPoolExecutor(1, "connect")
COMMAND = "diemcau/v1/point/{}/command/ping"


async def connect(
    url: str, client_id: str, heard: list[Message] | None = None, *, keepalive_s: int = 20
) -> Connection:
    return await Connection.open(
        Address.parse(url),
        client_id=client_id,
        keepalive_s=keepalive_s,
        will=Will(f"diemcau/v1/point/{client_id}/status", json.dumps({"status": "lost"}).encode()),
        tls=Tls(None, None, None),
        clock=SystemClock(),
        executor=EXECUTOR,
        on_message=lambda _, message: None if heard is None else heard.append(message),
    )


def cut(connection: Connection) -> None:
    """As when the kit loses power: no DISCONNECT."""
    sock = connection._client.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)


async def until(condition: asyncio.Future[str]) -> None:
    async with asyncio.timeout(5):
        await condition


async def test_after_a_connect_come_birth_status_health_of_one_connection_all_retained(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url) as room:
        await observer.until(lambda h: h.name == "health" and h.point == room.point)
        live = [entry for entry in observer.heard(point=room.point) if entry.name != "event"]
        assert [entry.name for entry in live[:3]] == ["birth", "status", "health"]
        assert len({entry.document["connection"] for entry in live[:3]}) == 1
        status = live[1].document
        assert (status["status"], status["valid_s"], len(status["nonce"])) == ("online", 900, 32)
        with Observer(mosquitto.url) as late:
            await late.until(lambda h: h.name == "health" and h.point == room.point)
            kept = {entry.name for entry in late.heard(point=room.point) if entry.retained}
            assert {"birth", "status", "health"} <= kept
    gone = await observer.until(
        lambda h: h.name == "status" and h.point == room.point and h.document["status"] == "offline"
    )
    assert gone.document["connection"] == status["connection"]
    assert not [h for h in observer.heard("status", room.point) if h.document["status"] == "lost"]


async def test_a_kit_that_vanishes_is_lost_once_its_will_delay_has_passed(
    monkeypatch: pytest.MonkeyPatch, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    monkeypatch.setattr(connections, "WILL_DELAY_S", 1)
    connection = await connect(mosquitto.url, "xp-will")
    cut(connection)
    await until(connection.lost)
    lost = await observer.until(lambda h: h.topic.endswith("xp-will/status"))
    assert lost.document == {"status": "lost"}
    await connection.close()


@pytest.mark.parametrize(("goodbye", "heard"), [(False, 1), (True, 0)])
async def test_who_leaves_without_a_goodbye_is_lost_and_who_said_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
    mosquitto: PrivateMosquitto,
    observer: Observer,
    goodbye: bool,
    heard: int,
) -> None:
    monkeypatch.setattr(connections, "WILL_DELAY_S", 0)
    name = f"xp-leaves-{heard}"
    connection = await connect(mosquitto.url, name)
    await connection.close(goodbye=goodbye)
    after = await connect(mosquitto.url, "xp-after")
    await after.publish(f"diemcau/v1/point/{name}/health", b"{}")
    await after.close(goodbye=True)
    await observer.until(lambda h: h.name == "health" and h.point == name)
    assert len(observer.heard("status", name)) == heard


async def test_a_broker_that_acknowledges_nothing_is_no_connection(
    monkeypatch: pytest.MonkeyPatch, mute: str
) -> None:
    monkeypatch.setattr(connections, "ACK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(connections, "_TICK_S", 0.02)
    connection = await connect(mute, "xp-mute")
    with pytest.raises(ConnectionLost, match="acknowledged"):
        await connection.publish("diemcau/v1/point/xp-mute/health", b"{}")
    await connection.close()


async def test_a_quick_reconnect_fires_no_will(mosquitto: PrivateMosquitto, observer: Observer) -> None:
    first = await connect(mosquitto.url, "xp-quick")
    cut(first)
    await until(first.lost)
    second = await connect(mosquitto.url, "xp-quick")
    await second.publish("diemcau/v1/point/xp-quick/health", b'{"point": "xp-quick"}')
    await observer.until(lambda h: h.topic.endswith("xp-quick/health"))
    assert not observer.heard("status", "xp-quick")
    await first.close()
    await second.close()


async def test_a_command_that_was_not_acknowledged_comes_again_on_the_next_connection(
    mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    heard: list[Message] = []
    first = await connect(mosquitto.url, "xp-again", heard)
    await first.subscribe(["diemcau/v1/point/xp-again/command/+"])
    observer.publish(COMMAND.format("xp-again"), b"{}")
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0.01)
    cut(first)
    await until(first.lost)
    await first.close()
    again: list[Message] = []
    second = await connect(mosquitto.url, "xp-again", again)
    async with asyncio.timeout(5):
        while not again:
            await asyncio.sleep(0.01)
    second.acknowledge(again[0])
    await second.publish("diemcau/v1/point/xp-again/health", b"{}")  # the PUBACK went before it
    await second.close()
    third = await connect(mosquitto.url, "xp-again", again)
    await third.publish("diemcau/v1/point/xp-again/health", b"{}")
    assert len(again) == 1
    await third.close()


async def test_a_live_retained_publish_is_told_from_a_fresh_one(
    mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    heard: list[Message] = []
    connection = await connect(mosquitto.url, "xp-retain", heard)
    await connection.subscribe(["diemcau/v1/point/xp-retain/command/+"])
    observer.publish(COMMAND.format("xp-retain"), b"{}", retain=True)
    observer.publish(COMMAND.format("xp-retain"), b"{}")
    async with asyncio.timeout(5):
        while len(heard) < 2:
            await asyncio.sleep(0.01)
    assert [message.retained for message in heard] == [True, False]
    observer.publish(COMMAND.format("xp-retain"), b"", retain=True)  # leave nothing to others
    await connection.close()


async def test_a_publish_on_a_lost_connection_says_so(mosquitto: PrivateMosquitto) -> None:
    connection = await connect(mosquitto.url, "xp-lost")
    cut(connection)
    with pytest.raises(ConnectionLost):
        await connection.publish("diemcau/v1/point/xp-lost/health", b"{}")
    with pytest.raises(ConnectionLost):
        await connection.publish("diemcau/v1/point/xp-lost/health", b"{}")
    await connection.close()


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:1", "mqtt://no-such-name.invalid", "mqtts://127.0.0.1:1"])
async def test_a_broker_that_is_not_there_is_the_line_s_fault(url: str) -> None:
    with pytest.raises(LineDown):
        await connect(url, "xp-down")


@asynccontextmanager
async def answering(connack: bytes) -> AsyncGenerator[str]:
    """A broker that answers each CONNECT with ``connack``, and nothing else with anything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(connack)
        await writer.drain()
        while await reader.read(1024):
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


@pytest.fixture
async def refusing() -> AsyncIterator[str]:
    """CONNACK 0x87, not authorized (MQTT 5, 3.2.2.2)."""
    async with answering(bytes([0x20, 0x03, 0x00, 0x87, 0x00])) as url:
        yield url


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    async with answering(bytes([0x20, 0x03, 0x00, 0x00, 0x00])) as url:
        yield url


async def test_a_broker_that_says_no_is_told_from_a_dead_line(refusing: str) -> None:
    with pytest.raises(Refused, match="Not authorized"):
        await connect(refusing, "xp-refused")


async def test_what_happened_while_the_line_was_cut_comes_afterwards_in_order_and_whole(
    tmp_path: Path, mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with living(tmp_path, mosquitto.url) as room:
        before = observer.heard("birth", room.point)[-1].document["connection"]
        room.world.set_fault("broker", True)
        room.world.set_fault("microphone_muted", True)
        await room.until_code("microphone", "microphone_muted", 10)
        connection = room.app.broker.connection
        if connection is not None:
            cut(connection)  # what the keep-alive would find after a while
            await until(connection.lost)
        room.world.set_fault("microphone_muted", False)
        await room.until_code("microphone", None, 12)
        room.world.set_fault("broker", False)
        while room.app.broker.trouble is not None:
            await room.live(0.25)

        def mended(entry: Heard) -> bool:
            event = entry.document
            return (event["device"], event["from"], event["to"]) == ("microphone", "degraded", "ok")

        async with asyncio.timeout(10):
            while not any(mended(entry) for entry in observer.heard("event", room.point)):
                await room.live(0.25)
        events = [entry.document for entry in observer.heard("event", room.point)]
        numbers = [event["seq"] for event in events]
        assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
        told = [(e["from"], e["to"]) for e in events if e["device"] == "microphone" and e["kind"] == "state"]
        assert told[-2:] == [("ok", "degraded"), ("degraded", "ok")]
        assert observer.heard("birth", room.point)[-1].document["connection"] != before
