"""Lines that fall silent, and brokers that come and go: the session against a real mosquitto."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from diemcau_agent import mqtt
from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import SystemClock
from diemcau_agent.config import Broker as BrokerSettings
from diemcau_agent.mqtt import Connection, Message, client, silent
from diemcau_agent.mqtt import connection as connections
from diemcau_sim.mosquitto import PrivateMosquitto
from fakeclock import FakeClock
from lone_session import point
from observer import Observer
from tcp_line import TcpLine
from test_session import EXECUTOR, connect

pytestmark = pytest.mark.mosquitto


def test_a_dead_line_is_found_within_a_minute_as_it_is_configured_by_default() -> None:
    """A silent keep-alive, a ping that gets no answer, and the pace at which both are looked at."""
    keepalive_s = BrokerSettings(urls=("mqtts://broker.example",)).keepalive_s
    assert 2 * keepalive_s + 2 * connections._TICK_S <= 60


@pytest.mark.parametrize("swallow", [{"up", "down"}, {"up"}, {"down"}], ids=["both ways", "up", "down"])
async def test_a_line_that_swallows_everything_and_closes_nothing_is_found_by_the_keep_alive(
    mosquitto: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch, swallow: set[str]
) -> None:
    """A second stands for the twenty of a room: the same code on the same socket."""
    monkeypatch.setattr(connections, "_TICK_S", 0.1)
    assert mosquitto.port is not None
    async with TcpLine(mosquitto.port).open() as line:
        connection = await connect(line.url, f"xp-half-{'-'.join(sorted(swallow))}", keepalive_s=1)
        await asyncio.sleep(0.5)
        line.swallow = frozenset(swallow)
        began_s = time.monotonic()
        async with asyncio.timeout(10):
            reason = await connection.lost
        assert time.monotonic() - began_s <= 2 * 1 + 2 * 0.1 + 0.5
        assert silent(reason)
        await connection.close()


async def test_a_line_that_was_dead_is_used_again_soon_after_its_repair(
    mosquitto: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through attempts that get no answer. tests/unit/test_broker_session.py holds the bound of a minute."""
    monkeypatch.setattr(connections, "_TICK_S", 0.1)
    for module in (client, connections):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.5)
    assert mosquitto.port is not None
    async with TcpLine(mosquitto.port).open() as line, point(SystemClock(), line.url, keepalive_s=1) as room:
        await room.online()
        line.swallow = frozenset({"up", "down"})
        assert await room.until(lambda: room.broker.trouble is not None) <= 2 * 1 + 2 * 0.1 + 1
        await asyncio.sleep(1.5)
        failures = room.broker._backoff.failures
        line.swallow = frozenset()
        assert await room.online() <= 2.0**failures + 1.5


async def test_what_a_resumed_session_held_back_is_received_though_it_comes_behind_the_connack(
    mosquitto: PrivateMosquitto, observer: Observer
) -> None:
    async with point(SystemClock(), mosquitto.url) as room:
        await room.online()
        name = room.name
    # The session outlives its goodbye by a minute; what is sent meanwhile waits in it.
    observer.publish(f"diemcau/v1/point/{name}/command/ping", b"{}")
    early: list[tuple[Connection, Message]] = []
    connection = await Connection.open(
        Address.parse(mosquitto.url), client_id=name, keepalive_s=20,
        will=mqtt.Will(f"diemcau/v1/point/{name}/status", b"{}"), tls=Tls(None, None, None),
        clock=SystemClock(), executor=EXECUTOR, on_message=lambda by, message: early.append((by, message)),
    )  # fmt: skip
    async with asyncio.timeout(5):
        while not early:
            await asyncio.sleep(0.01)
    by, message = early[0]
    assert by is connection
    by.acknowledge(message)
    await connection.close(goodbye=True)


async def test_another_broker_is_found_and_the_first_returned_to(
    mosquitto: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    with PrivateMosquitto() as first:
        async with point(clock, first.url, mosquitto.url) as room:
            await room.online()
            assert room.broker.url == first.url
            await clock.advance(61)
            await asyncio.to_thread(first.stop)
            await room.until(lambda: room.broker.trouble is not None)
            await room.online()
            assert room.broker.url == mosquitto.url
            await asyncio.to_thread(first.start)
            with Observer(mosquitto.url) as left, Observer(first.url) as come_to:
                async with asyncio.timeout(10):
                    while room.broker.url != first.url or room.broker.trouble is not None:
                        await clock.advance(30)
                        await asyncio.sleep(0.005)
                await come_to.until(lambda h: h.name == "birth" and h.point == room.name)
                assert [h for h in left.heard("status", room.name) if h.document["status"] == "lost"] == []


def longest(low: float, high: float) -> float:
    return high


def shortest(low: float, high: float) -> float:
    return low


@asynccontextmanager
async def kicking() -> AsyncGenerator[tuple[str, list[float]]]:
    """A broker that takes everybody and then closes; the times at which it was come to."""
    came: list[float] = []

    async def kick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await reader.read(1024)
        writer.write(bytes([0x20, 0x03, 0x00, 0x00, 0x00]))  # CONNACK, success
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(kick, "127.0.0.1", 0)
    try:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        server.close()


async def test_a_broker_that_takes_and_kicks_is_come_to_within_the_backoffs_envelope() -> None:
    """An hour of it, on a clock that a test moves; the sockets are real."""
    clock = FakeClock()
    async with kicking() as (url, came), point(clock, url, uniform=longest) as room:
        began_s, real_s = clock.mono_s, time.monotonic()
        while clock.mono_s - began_s < 3600 and time.monotonic() - real_s < 15:
            await clock.advance(5.0)
            await asyncio.sleep(0.003)
        assert room.broker.trouble is not None
        # 1 + 2 + 4 + ... + 256 s, then every 300 s
        assert 9 <= len(came) <= 1 + 9 + 3600 // 300


def resources() -> tuple[int, int, int]:
    """Descriptors, threads and tasks of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(asyncio.all_tasks())


async def test_fifty_reconnects_leave_descriptors_threads_and_tasks_as_they_were(
    mosquitto: PrivateMosquitto,
) -> None:
    """Lost in every way there is: the line ends, another takes the name over, nobody is let through."""
    assert mosquitto.port is not None
    clock = FakeClock()
    async with TcpLine(mosquitto.port).open() as line, point(clock, line.url, uniform=shortest) as room:
        await room.online()
        other = await connect(mosquitto.url, "xp-first-of-all")  # its thread comes now, and for good
        await other.close(goodbye=True)
        before = resources()
        for turn in range(50):
            changes = room.changes
            match turn % 3:
                case 0:
                    line.drop()
                case 1:
                    other = await connect(mosquitto.url, room.name)
                    await other.close(goodbye=True)
                case _:
                    line.refusing = True
                    line.drop()
                    await room.until(lambda: room.changes > changes + 3)  # noqa: B023 - awaited in its turn
                    line.refusing = False
            await room.until(lambda: room.changes > changes and room.broker.trouble is None)  # noqa: B023
        await asyncio.sleep(0.1)
        # Fewer descriptors are those of tests before this one, which only now are let go.
        assert all(now <= then for now, then in zip(resources(), before, strict=True))
