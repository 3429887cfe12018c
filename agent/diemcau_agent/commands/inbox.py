"""Commands wait here in the order in which they came, for the one loop that hands them to the dispatcher."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from diemcau_agent.clock import Clock, wait
from diemcau_agent.liveness import TURN_S
from diemcau_agent.mqtt import Connection, Message

log = logging.getLogger(__name__)

LIMIT = 256
"""Messages that wait. QoS 1 has 8 under way at most (Receive Maximum): only a flood of QoS 0 comes so far."""
LIMIT_BYTES = 1024 * 1024
"""Of what waits: sixty-four commands of the largest kind."""


class Inbox:
    """``receive(topic, payload, retained)`` is the dispatcher's; ``turned()`` is called at each turn of the
    loop, which comes round every few seconds though nothing came."""

    def __init__(
        self, receive: Callable[[str, bytes, bool], Awaitable[None]], clock: Clock, turned: Callable[[], None]
    ) -> None:
        self._receive = receive
        self._clock = clock
        self._turned = turned
        self._waiting: deque[tuple[Connection, Message]] = deque()
        self._news = asyncio.Event()
        self._waiting_bytes = 0
        self._full = False
        self.busy = False
        """A message is with the dispatcher now."""

    def put(self, connection: Connection, message: Message) -> None:
        """Never blocks. What finds no room is not acknowledged."""
        if len(self._waiting) >= LIMIT or self._waiting_bytes + len(message.payload) > LIMIT_BYTES:
            if not self._full:  # a line each would fill the card in its stead
                log.warning("%r: %d commands wait already", message.topic[:256], len(self._waiting))
            self._full = True
            return
        self._full = False
        self._waiting_bytes += len(message.payload)
        self._waiting.append((connection, message))
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. A command is acknowledged once it is in the journal, answered or refused."""
        while True:
            self._turned()
            if not self._waiting:
                self._news.clear()
                await wait(self._clock, self._news, TURN_S)
                continue
            connection, message = self._waiting.popleft()
            self._waiting_bytes -= len(message.payload)
            self.busy = True
            try:
                await self._receive(message.topic, message.payload, message.retained)
            finally:
                self.busy = False
            connection.acknowledge(message)
