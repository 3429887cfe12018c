"""The network between the simulated room and its broker: a TCP relay on loopback that can be cut.

Cut, it is a line that is dead and says nothing: connections that stand stay open and pass no byte, not
even their end; new ones are accepted and get no answer. Restored, the standing ones go on where they
were, as TCP does; those that came in between are ended, so that a stale CONNECT reaches no broker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

CHUNK_BYTES = 65_536
STOP_S = 5.0


class Relay:
    """Carries what comes to ``port`` to ``host:upstream_port``. Any thread may call."""

    def __init__(self, host: str, upstream_port: int) -> None:
        self._host = host
        self._upstream_port = upstream_port
        self.port = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> int:
        """The port on 127.0.0.1 at which it listens. Raises OSError where none can be had."""
        self._thread.start()
        self._started.wait()
        if self.port == 0:
            raise OSError("the relay found no port on loopback")
        return self.port

    def stop(self) -> None:
        self._call(self._ended.set)
        self._thread.join(STOP_S)

    def cut(self) -> None:
        self._call(self._passing.clear)

    def restore(self) -> None:
        self._call(self._passing.set)

    def _call(self, change: Callable[[], object]) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(change)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(f"relay carries {writer.get_extra_info('peername')}")
        self._carrying.add(task)
        try:
            if self._passing.is_set():
                await self._join(reader, writer)
            else:
                await self._passing.wait()
        except OSError:
            pass  # the broker is not there, or one side was reset: so is the other
        except asyncio.CancelledError:
            pass  # the relay stops; asyncio's stream server would log it
        finally:
            self._carrying.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._upstream_port)
        pumps = (
            asyncio.create_task(self._pump(reader, far_writer), name="relay to the broker"),
            asyncio.create_task(self._pump(far_reader, writer), name="relay to the room"),
        )
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        await self._passing.wait()
        writer.write_eof()
