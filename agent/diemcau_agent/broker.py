"""The MQTT session: presence, fencing, reconnecting (docs/wire.md, Presence)."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from .address import Address
from .backoff import STABLE_S, Backoff
from .clock import Clock, wait
from .config import Settings
from .model import Status, encode
from .mqtt import ConnectFailed, Connection, ConnectionLost, Message, NotEnrolled, Refused, Will, silent
from .nonces import PERIOD_S, Nonces
from .stamp import Stamp, new_connection
from .topics import CONFERENCE_FILTER, NOTICE_FILTERS, command_filters, point

log = logging.getLogger(__name__)

RETURN_S = 600.0
"""Whoever is not with the first broker looks for it again after uniform(1, 2) times this; twice as long after
each return that failed, up to :data:`RETURN_CAP_S`."""
RETURN_CAP_S = 6 * 3600.0
REACH_S = 5.0
MOVED = "left for the first broker"


class Broker:
    """Keeps one connection to the first broker of the list that takes it, for ever; each failure moves
    on to the next, and the end of a stable session back to the first. A session with another is left
    for the first once that can be reached again.

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
        reboot_nonce: Callable[[], str | None] = lambda: None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._stamp = stamp
        self._clock = clock
        self._greeting = greeting
        self._serve = serve
        self._received = received
        self._changed = changed
        self._reboot_nonce = reboot_nonce
        self._executor = ThreadPoolExecutor(1, "connect")
        self._uniform = uniform
        self._backoff = Backoff(uniform)
        self._return_s = RETURN_S
        self._moved = False
        """The last session was left for the first broker."""
        self._hurry = asyncio.Event()
        self._leaving = False
        self.nonces = Nonces(clock)
        self.connection: Connection | None = None
        self.trouble: str | None = "not connected yet"
        """Why there is no connection, None while there is one."""
        self.enrolled = True
        """False where the last try found no certificate of ours; each try looks for it again."""
        self._changed_s = clock.monotonic()
        self.url = settings.broker.urls[0]
        """The broker that was tried last."""

    @property
    def since_s(self) -> float:
        """Wall time of the last change between connected and not, by the clock as it is set now."""
        return self._clock.wall() - (self._clock.monotonic() - self._changed_s)

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

    async def ask_again(self) -> None:
        """For the conferences: a broker sends what is retained at each subscription."""
        if self.connection is not None:
            await self._until_lost(self.connection, self.connection.subscribe((CONFERENCE_FILTER,)))

    async def say_status(self) -> bool:
        return await self.publish("status", self.online(), retain=True)

    def online(self) -> bytes:
        """``status`` = ``online`` with the newest nonces."""
        return self._status("online", self.nonces.current, self._reboot_nonce())

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

        try:
            connection = await Connection.open(
                Address.parse(url),
                client_id=self._settings.point,
                keepalive_s=broker.keepalive_s,
                will=Will(point(self._settings.point, "status"), self._status("lost")),
                tls=self._settings.tls,
                clock=self._clock,
                executor=self._executor,
                on_message=self._received,
            )
        except ConnectFailed as error:
            self.enrolled = not isinstance(error, NotEnrolled)
            self.trouble = str(error) or type(error).__name__
            self._changed()
            wait_s = self._backoff.failed(refused=isinstance(error, Refused))
            log.info("broker %s: %s; again in %.1f s", url, self.trouble, wait_s)
            return wait_s
        self.enrolled = True
        started = self._clock.monotonic()
        reason = "ended"
        try:
            reason = await self._live(connection)
        finally:
            self.connection = None
            self.trouble = reason
            self._changed_s = self._clock.monotonic()
            self._changed()
            await connection.close()
        if self._leaving:
            return 0.0
        stable_s = self._clock.monotonic() - started
        if reason == MOVED:
            self._moved = True
            log.info("broker %s: left for the first", url)
            return self._backoff.moved()
        spread_s = self._settings.broker.spread_s
        wait_s = self._backoff.lost(stable_s, spread_s, silent=silent(reason))
        log.warning("broker %s: lost after %.0f s: %s; again in %.1f s", url, stable_s, reason, wait_s)
        return wait_s

    async def _live(self, connection: Connection) -> str:
        self.nonces.renew()
        if self._settings.commands != "off":
            filters = command_filters(self._settings.point, self._settings.all_groups)
            await self._until_lost(connection, connection.subscribe((*NOTICE_FILTERS, *filters)))
        await self._until_lost(connection, self._greet(connection))
        if not connection.lost.done():
            self.trouble = None
            self._changed_s = self._clock.monotonic()
            self._changed()
            log.info("broker: online, connection %s", self._stamp.connection)
            async with asyncio.TaskGroup() as group:
                serving = self._until_lost(connection, self._serve(connection))
                tasks = [
                    group.create_task(serving, name="serve broker"),
                    group.create_task(self._renew_nonces(), name="renew nonces"),
                    group.create_task(self._return(connection), name="return to the first broker"),
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
            await self._clock.sleep(PERIOD_S)
            self.nonces.renew()
            await self.say_status()

    async def _return(self, connection: Connection) -> None:
        """Leave for the first broker once it can be reached, unless this is it."""
        moved, self._moved = self._moved, False
        first = self._settings.broker.urls[0]
        if self.url == first:
            await self._clock.sleep(STABLE_S)
            self._return_s = RETURN_S
            return
        if moved:  # it let us come, and did not take us
            self._return_s = min(RETURN_CAP_S, 2 * self._return_s)
        address = Address.parse(first)
        while True:
            await self._clock.sleep(self._uniform(self._return_s, 2 * self._return_s))
            loop = asyncio.get_running_loop()
            if await loop.run_in_executor(self._executor, reachable, address.host, address.port):
                break
        await connection.close(goodbye=True, reason=MOVED)

    def _status(
        self,
        status: Literal["online", "offline", "lost"],
        nonce: str | None = None,
        reboot_nonce: str | None = None,
    ) -> bytes:
        fields = self._stamp.fields(Status)
        return encode(Status(**fields, status=status, nonce=nonce, reboot_nonce=reboot_nonce))


def reachable(host: str, port: int) -> bool:
    """Whether something listens there. Blocks for 5 s and a look-up."""
    try:
        socket.create_connection((host, port), REACH_S).close()
    except OSError:
        return False
    return True
