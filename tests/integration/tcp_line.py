"""TCP to a broker through a line that can go dead without a word, be cut, or let nobody through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self


class TcpLine:
    """``swallow``: of "up" (from the room) and "down", whose bytes and ends vanish; while it holds either,
    who connects is taken and heard no more. ``refusing``: who connects is reset."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.url = ""
        self.swallow: frozenset[str] = frozenset()
        self.refusing = False
        self._carrying: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Self]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.drop()
            await asyncio.gather(*self._carrying, return_exceptions=True)

    def drop(self) -> None:
        """Reset all that is carried."""
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            if self.swallow:
                await self._pass("", reader, None)
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            self._writers.add(far_writer)
            try:
                await asyncio.gather(
                    self._pass("up", reader, far_writer), self._pass("down", far_reader, writer)
                )
            finally:
                self._writers.discard(far_writer)
                far_writer.transport.abort()
        except OSError:
            pass  # the broker is not there
        finally:
            self._writers.discard(writer)
            self._carrying.discard(task)
            writer.transport.abort()

    async def _pass(
        self, way: str, source: asyncio.StreamReader, target: asyncio.StreamWriter | None
    ) -> None:
        try:
            while data := await source.read(4096):
                if target is not None and way not in self.swallow:
                    target.write(data)
        except ConnectionError:
            pass
        if target is not None and not self.swallow:
            target.transport.abort()
