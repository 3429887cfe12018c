"""Readiness -> light pattern, and the words on the room's screen."""

from __future__ import annotations

import asyncio
import logging

from diemcau_drivers.contract import DeviceError

from .clock import Clock, wait
from .model import Readiness
from .text import translate
from .worker import Ask

log = logging.getLogger(__name__)

PATTERNS: dict[Readiness, str] = {
    "ready": "ready",
    "degraded": "degraded",
    "unknown": "degraded",  # not known is never shown as good
    "not_ready": "not_ready",
}
RETRY_S = 30.0
"""How long a light that could not be set stays as it was."""


class Indicator:
    """Shows the most urgent of: identify, testing, help, no broker, readiness.

    A dead light or screen never stops anything: what cannot be shown is logged and tried again.
    """

    def __init__(self, ask: Ask, clock: Clock, language: str, *, lights: bool, screen: bool) -> None:
        self._ask = ask
        self._clock = clock
        self._language = language
        self._lights = lights
        self._screen = screen
        self._changed = asyncio.Event()
        self._shown: str | None = None
        self.readiness: Readiness = "unknown"
        self.online = False
        self.testing = False
        self.help = False
        self.identifying = 0

    @property
    def pattern(self) -> str:
        if self.identifying:
            return "identify"
        if self.testing:
            return "testing"
        if self.help:
            return "help"
        if not self.online:
            return "no_broker"
        return PATTERNS[self.readiness]

    def refresh(self) -> None:
        """Something that decides the pattern has changed."""
        self._changed.set()

    def forget(self) -> None:
        """The panel's process is new: what the light shows is not known."""
        self._shown = None
        self._changed.set()

    async def run(self) -> None:
        while self._lights:
            if self.pattern != self._shown:
                await self._light(self.pattern)
            await wait(self._clock, self._changed, RETRY_S if self.pattern != self._shown else None)
            self._changed.clear()
        await asyncio.Event().wait()

    async def say(self, message: str) -> None:
        """Words on the room's screen, in the room's language; "" takes them away."""
        if not self._screen:
            return
        words = translate(message, self._language) if message else ""
        try:
            await self._ask("display", "set", {"message": words})
        except DeviceError as error:
            log.info("screen: %s", error)

    async def identify(self, seconds: float) -> None:
        """Lights and screen call out "here"."""
        self.identifying += 1
        self.refresh()
        try:
            await self.say("Here")
            await self._clock.sleep(seconds)
        finally:
            self.identifying -= 1
            self.refresh()
            await self.say("")

    async def _light(self, pattern: str) -> None:
        try:
            await self._ask("panel", "lights", {"pattern": pattern})
            self._shown = pattern
        except DeviceError as error:
            log.info("lights: %s", error)
