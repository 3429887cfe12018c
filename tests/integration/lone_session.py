"""The agent's session with a broker and nothing else of the agent, so that a test has it to itself."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from diemcau_agent.broker import Broker
from diemcau_agent.clock import Clock
from diemcau_agent.config import check
from diemcau_agent.mqtt import Connection, Message
from diemcau_agent.stamp import Stamp
from fakeclock import FakeClock

numbers = itertools.count(1)


class Point:
    """The agent's session alone, on a clock that a test may move on."""

    def __init__(
        self,
        clock: Clock,
        *urls: str,
        keepalive_s: int = 20,
        uniform: Callable[[float, float], float] = random.uniform,
        kit: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """``settings``: of the broker; ``kit``: others."""
        self.name = f"xp-reconnect-{next(numbers)}"
        raw = {
            "point": self.name, "backends": "sim", "commands": "unsigned",
            "broker": {"urls": [*urls], "spread_s": 0.1, **settings}, **(kit or {}),
        }  # fmt: skip
        self.clock = clock
        self.received: list[tuple[Connection, Message]] = []
        self.changes = 0
        self.settings = made = check(raw)
        # Also below what a room may have: then a second stands for twenty.
        brokers = msgspec.structs.replace(made.broker, keepalive_s=keepalive_s)
        made = msgspec.structs.replace(made, broker=brokers)
        self.broker = Broker(
            made, Stamp(self.name, "boot", 1, clock), clock, greeting=self.greeting, serve=self.serve,
            received=lambda connection, message: self.received.append((connection, message)),
            changed=self.changed, uniform=uniform,
        )  # fmt: skip
        self.task = asyncio.create_task(self.broker.run(), name="broker")

    def greeting(self) -> list[tuple[str, bytes]]:
        return [("birth", b'{"birth": true}'), ("status", self.broker.online())]

    async def serve(self, connection: Connection) -> None:
        await asyncio.get_running_loop().create_future()

    def changed(self) -> None:
        self.changes += 1

    async def online(self) -> float:
        return await self.until(lambda: self.broker.trouble is None)

    async def until(self, condition: Callable[[], bool], within_s: float = 15.0) -> float:
        """The seconds, by the real clock, that it took; one that a test moves goes on meanwhile."""
        began_s = time.monotonic()
        async with asyncio.timeout(within_s):
            while not condition():
                assert not self.task.done()
                await asyncio.sleep(0.01)
                if isinstance(self.clock, FakeClock):
                    await self.clock.advance(1.0)
        return time.monotonic() - began_s

    async def stop(self) -> None:
        await self.broker.goodbye()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def point(clock: Clock, *urls: str, **settings: Any) -> AsyncGenerator[Point]:
    made = Point(clock, *urls, **settings)
    try:
        yield made
    finally:
        await made.stop()
