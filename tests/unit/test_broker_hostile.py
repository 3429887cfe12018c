"""A broker that keeps to no limit, or speaks no MQTT: it loses the connection, and nothing else happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress

import pytest

from diemcau_agent.address import Address, Tls
from diemcau_agent.mqtt import PACKET_LIMIT_BYTES, RECEIVE_MAXIMUM, Connection, Message, Will
from fakeclock import FakeClock

CONNACK = b"\x20\x03\x00\x00\x00"


def publish(topic: bytes, payload: bytes, qos: int, mid: int = 1) -> bytes:
    """PUBLISH (MQTT 5, 3.3), shorter than 128 bytes."""
    body = len(topic).to_bytes(2, "big") + topic + (mid.to_bytes(2, "big") if qos else b"") + b"\0" + payload
    return bytes([0x30 | qos << 1, len(body)]) + body


@asynccontextmanager
async def connected(say: bytes, clock: FakeClock) -> AsyncGenerator[tuple[Connection, list[Message]]]:
    """A connection to a broker that answers every CONNECT with ``say``, and then waits."""
    got: list[Message] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            await reader.read(10)
            writer.write(CONNACK + say)
            while await reader.read(4096):
                pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    executor = ThreadPoolExecutor(1)
    connection = await Connection.open(
        Address.parse(f"mqtt://127.0.0.1:{port}"), client_id="xp-0417", keepalive_s=20,
        will=Will("w", b""),
        tls=Tls(None, None, None), clock=clock, executor=executor,
        on_message=lambda _, message: got.append(message),
    )  # fmt: skip
    try:
        yield connection, got
    finally:
        await connection.close()
        server.close()
        await server.wait_closed()
        executor.shutdown()


HELD = b"".join(publish(b"a", b"x", 2, mid) for mid in range(1, RECEIVE_MAXIMUM + 2))
ENDS = {
    "a packet of 256 MiB announced": b"\x30\xff\xff\xff\x7f",
    "one byte over the limit announced": b"\x30" + bytes([0x80 | (PACKET_LIMIT_BYTES + 1) & 127, 0x80, 0x10]),
    "more held back than is let": HELD,
    "a packet of no kind": b"\xf0\x02\x18\0",
    "an acknowledgement cut short": b"\x40\x01\0",
    "a subscription's answer cut short": b"\x90\x01\0",
    "properties that have no end": publish(b"a", b"", 1)[:-1] + b"\xff",
}


@pytest.mark.parametrize("what", ENDS)
async def test_such_a_broker_loses_the_connection(what: str, clock: FakeClock) -> None:
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    async with connected(ENDS[what], clock) as (connection, _):
        async with asyncio.timeout(10):
            assert await connection.lost
    assert raised == []


async def test_what_keeps_to_the_limits_is_read(clock: FakeClock) -> None:
    said = b"".join(publish(b"a/b", b"x", 1, mid) for mid in range(1, 40)) + publish(b"\xff", b"x", 0)
    async with connected(said, clock) as (connection, got):
        async with asyncio.timeout(10):
            while len(got) < 39:
                await asyncio.sleep(0.01)
        assert not connection.lost.done()
