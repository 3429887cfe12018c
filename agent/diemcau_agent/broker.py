"""The MQTT session: presence, fencing, reconnecting (docs/wire.md, Presence)."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from .address import Address, Tls
from .clock import Clock, wait
from .config import Settings
from .model import Status, encode
from .mqtt import ConnectFailed, Connection, ConnectionLost, Message, Refused, Will
from .stamp import Stamp, new_connection
from .topics import command_filters, point

log = logging.getLogger(__name__)

BACKOFF_CAP_LINE_S = 60.0
BACKOFF_CAP_REFUSED_S = 300.0
STABLE_S = 60.0
NONCE_PERIOD_S = 600.0
NONCE_GRACE_S = 60.0


class Backoff:
    """Exponential with full jitter from 1 s; reset only by 60 s of stable session.

    So a broker that accepts and then kicks is not hammered.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self.failures = 0
        """In a row; after a stable session none."""

    def failed(self, *, refused: bool) -> float:
        """Seconds to wait after one more failure."""
        cap_s = BACKOFF_CAP_REFUSED_S if refused else BACKOFF_CAP_LINE_S
        ceiling_s = min(cap_s, 2.0 ** min(self.failures, 16))
        self.failures += 1
        return self._uniform(0, ceiling_s)

    def lost(self, stable_s: float, spread_s: float) -> float:
        """Seconds to wait after a session that had lasted ``stable_s`` was lost."""
        if stable_s < STABLE_S:
            return self.failed(refused=True)
        self.failures = 0
        return self._uniform(0, spread_s)


class Nonces:
    """128 random bits, new at each connection and every 10 minutes; the one before is good for 60 s more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before: tuple[str, float] | None = None
        self.current = ""
        self.renew()

    def renew(self) -> str:
        now = self._clock.monotonic()
        if self.current:
            self._before = (self.current, now + NONCE_GRACE_S)
        self.current = secrets.token_hex(16)
        return self.current

    def valid(self, nonce: str | None) -> bool:
        if nonce is None:
            return False
        if secrets.compare_digest(nonce.encode(), self.current.encode()):
            return True
        return (
            self._before is not None
            and self._clock.monotonic() <= self._before[1]
            and secrets.compare_digest(nonce.encode(), self._before[0].encode())
        )


class Broker:
    """Keeps one connection to the first broker of the list that takes it, for ever; each failure moves
    on to the next, a stable session back to the first.

    ``greeting()`` gives what every new connection begins with, (document, payload) each, retained;
    ``serve(connection)`` runs while it lasts and ends with it. ``received`` gets each message and
    acknowledges it itself.
    """

    def __init__(
        self,
        settings: Settings,
        stamp: Stamp,
        clock: Clock,
        *,
        greeting: Callable[[], Sequence[tuple[str, bytes]]],
        serve: Callable[[Connection], Awaitable[None]],
        received: Callable[[Connection, Message], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._stamp = stamp
        self._clock = clock
        self._greeting = greeting
        self._serve = serve
        self._received = received
        self._changed = changed
        self._executor = ThreadPoolExecutor(1, "connect")
        self._backoff = Backoff()
        self._hurry = asyncio.Event()
        self._leaving = False
        self.nonces = Nonces(clock)
        self.connection: Connection | None = None
        self.trouble: str | None = "not connected yet"
        """Why there is no connection, None while there is one."""
        self.since_s = clock.wall()
        """Wall time of the last change between connected and not."""
        self.url = settings.broker.urls[0]
        """The broker that was tried last."""

    async def run(self) -> None:
        urls = self._settings.broker.urls
        while True:
            wait_s = await self._attempt(urls[self._backoff.failures % len(urls)])
            if self._leaving:
                return
            await wait(self._clock, self._hurry, wait_s)
            self._hurry.clear()

    def hurry(self) -> None:
        """A link came up: try at once, or once more where the attempt under way fails."""
        if self.connection is None:
            self._hurry.set()

    async def publish(self, document: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish below the point's own topic; False where there is no connection to take it."""
        connection = self.connection
        if connection is None:
            return False
        try:
            await connection.publish(point(self._settings.point, document), payload, retain=retain)
        except ConnectionLost:
            return False
        return True

    async def say_status(self) -> bool:
        return await self.publish("status", self.online(), retain=True)

    def online(self) -> bytes:
        """``status`` = ``online`` with the newest nonce."""
        return self._status("online", self.nonces.current)

    async def goodbye(self) -> None:
        """Say ``offline`` and DISCONNECT, bounded; :meth:`run` ends with it."""
        self._leaving = True
        connection = self.connection
        if connection is not None:
            said = False
            try:
                async with asyncio.timeout(2):
                    said = await self.publish("status", self._status("offline"), retain=True)
            except TimeoutError:
                pass
            await connection.close(goodbye=said)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _attempt(self, url: str) -> float:
        """One connection from CONNECT to its end; returns the seconds to wait before the next."""
        self.url = url
        self._stamp.connection = new_connection()
        broker = self._settings.broker

        def received(message: Message) -> None:
            self._received(connection, message)

        try:
            connection = await Connection.open(
                Address.parse(url),
                client_id=self._settings.point,
                keepalive_s=broker.keepalive_s,
                will=Will(point(self._settings.point, "status"), self._status("lost")),
                tls=Tls(broker.ca_file, broker.cert_file, broker.key_file),
                clock=self._clock,
                executor=self._executor,
                on_message=received,
            )
        except ConnectFailed as error:
            self.trouble = str(error) or type(error).__name__
            self._changed()
            wait_s = self._backoff.failed(refused=isinstance(error, Refused))
            log.info("broker %s: %s; again in %.1f s", url, self.trouble, wait_s)
            return wait_s
        started = self._clock.monotonic()
        reason = "ended"
        try:
            reason = await self._live(connection)
        finally:
            self.connection = None
            self.trouble = reason
            self.since_s = self._clock.wall()
            self._changed()
            await connection.close()
        if self._leaving:
            return 0.0
        stable_s = self._clock.monotonic() - started
        wait_s = self._backoff.lost(stable_s, self._settings.broker.spread_s)
        log.warning("broker %s: lost after %.0f s: %s; again in %.1f s", url, stable_s, reason, wait_s)
        return wait_s

    async def _live(self, connection: Connection) -> str:
        self.nonces.renew()
        if self._settings.commands != "off":
            filters = command_filters(self._settings.point, self._settings.all_groups)
            await self._until_lost(connection, connection.subscribe(filters))
        await self._until_lost(connection, self._greet(connection))
        if not connection.lost.done():
            self.trouble = None
            self.since_s = self._clock.wall()
            self._changed()
            log.info("broker: online, connection %s", self._stamp.connection)
            async with asyncio.TaskGroup() as group:
                serving = self._until_lost(connection, self._serve(connection))
                tasks = [
                    group.create_task(serving, name="serve broker"),
                    group.create_task(self._renew_nonces(), name="renew nonces"),
                ]
                await asyncio.shield(connection.lost)  # whoever cancels this has not lost the connection
                for task in tasks:
                    task.cancel()
        return connection.lost.result()

    async def _greet(self, connection: Connection) -> None:
        """All in one go: the connection keeps the order, and nothing of anybody else's comes between."""
        if connection.lost.done():
            return
        sent = [
            connection.publish(point(self._settings.point, document), payload, retain=True)
            for document, payload in self._greeting()
        ]
        self.connection = connection
        self._hurry.clear()
        await asyncio.gather(*sent)

    async def _until_lost(self, connection: Connection, work: Awaitable[None]) -> None:
        try:
            await work
        except ConnectionLost as error:
            log.debug("broker: %s", error)
            await connection.close()

    async def _renew_nonces(self) -> None:
        while True:
            await self._clock.sleep(NONCE_PERIOD_S)
            self.nonces.renew()
            await self.say_status()

    def _status(self, status: Literal["online", "offline", "lost"], nonce: str | None = None) -> bytes:
        return encode(Status(**self._stamp.fields(Status), status=status, nonce=nonce))
