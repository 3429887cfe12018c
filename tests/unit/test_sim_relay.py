"""The line to the broker, cut and restored: what TCP itself would do over a dead line."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from diemcau_sim.relay import Relay

SILENCE_S = 0.15
"""Long enough to tell that nothing comes; on loopback it takes less than a millisecond."""
ANSWER_S = 5.0


class Echo:
    """What stands for the broker: sends back what it gets, and tells who came and who left."""

    def __init__(self) -> None:
        self.came = 0
        self.left = asyncio.Event()
        self.received = b""
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        try:
            while data := await reader.read(1000):
                self.received += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.left.set()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    far = Echo()
    yield far
    far.close()


@pytest.fixture
async def relay(echo: Echo) -> AsyncIterator[Relay]:
    running = Relay("127.0.0.1", await echo.start())
    running.start()
    yield running
    await asyncio.to_thread(running.stop)


async def connected(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", relay.port)


async def answer(reader: asyncio.StreamReader, count: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(count), ANSWER_S)


async def test_what_goes_in_comes_out(relay: Relay) -> None:
    reader, writer = await connected(relay)
    writer.write(b"x" * 300_000)
    assert await answer(reader, 300_000) == b"x" * 300_000
    writer.close()


async def test_a_cut_line_passes_nothing_and_says_nothing_and_goes_on_where_it_was(relay: Relay) -> None:
    reader, writer = await connected(relay)
    writer.write(b"before")
    assert await answer(reader, 6) == b"before"
    relay.cut()
    await asyncio.sleep(SILENCE_S)
    writer.write(b"during")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), SILENCE_S)
    relay.restore()
    assert await answer(reader, 6) == b"during"
    writer.close()


async def test_the_broker_does_not_hear_of_an_end_while_the_line_is_cut(relay: Relay, echo: Echo) -> None:
    reader, writer = await connected(relay)
    writer.write(b"hello")
    await answer(reader, 5)
    relay.cut()
    await asyncio.sleep(SILENCE_S)
    writer.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(echo.left.wait(), SILENCE_S)
    relay.restore()
    await asyncio.wait_for(echo.left.wait(), ANSWER_S)


async def test_who_calls_while_it_is_cut_gets_no_answer_and_reaches_nobody(relay: Relay, echo: Echo) -> None:
    relay.cut()
    reader, writer = await connected(relay)
    writer.write(b"CONNECT")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), SILENCE_S)
    relay.restore()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await answer(reader, 1)
    writer.close()
    assert (echo.came, echo.received) == (0, b"")
    reader, writer = await connected(relay)
    writer.write(b"again")
    assert await answer(reader, 5) == b"again"
    writer.close()


async def test_a_broker_that_is_not_there_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    relay = Relay("127.0.0.1", port)
    relay.start()
    reader, writer = await connected(relay)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await answer(reader, 1)
    writer.close()
    await asyncio.to_thread(relay.stop)


async def test_stopping_ends_every_connection_also_when_cut(relay: Relay) -> None:
    reader, writer = await connected(relay)
    writer.write(b"hello")
    await answer(reader, 5)
    relay.cut()
    await asyncio.to_thread(relay.stop)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await answer(reader, 1)
    writer.close()
