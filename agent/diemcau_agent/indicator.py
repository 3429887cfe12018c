"""Readiness -> light pattern, and the words on the room's screen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from diemcau_drivers.contract import DeviceError

from .clock import Clock, wait
from .model import Readiness, Reading
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
"""How long a light or screen that could not be set stays as it was."""
PICTURE = "A picture of this room is being taken"
SEEN_S = 2.0
"""A light or screen that has not told of a picture by then tells nobody."""
PICTURE_S = 3.0
"""Long enough for whoever looks up."""


class Sign:
    """One thing that shows one text: what is ``wanted`` now, and again where that failed."""

    def __init__(
        self,
        clock: Clock,
        wanted: Callable[[], str],
        show: Callable[[str], Awaitable[object]],
        shown: str | None = None,
        news: Callable[[], None] = lambda: None,
    ) -> None:
        """``show`` raises DeviceError. ``shown``: what it shows at the start, None where not known.
        ``news()``: it shows something else now."""
        self._clock = clock
        self._wanted = wanted
        self._show = show
        self._news = news
        self.shown = shown
        self._changed = asyncio.Event()

    def refresh(self) -> None:
        self._changed.set()

    def forget(self) -> None:
        """What it shows is not known any more."""
        self.shown = None
        self._changed.set()

    async def run(self) -> None:
        told = None
        while True:
            wanted = self._wanted()
            if wanted != self.shown:
                try:
                    await self._show(wanted)
                    self.shown, told = wanted, None
                    self._news()
                except DeviceError as error:
                    trouble = (wanted, str(error))
                    if trouble != told:  # once, not at every try
                        log.info("%r not shown: %s", *trouble)
                    told = trouble
            await wait(self._clock, self._changed, RETRY_S if self._wanted() != self.shown else None)
            self._changed.clear()


class Indicator:
    """Shows the most urgent of: a picture taken, identify, testing, help, enrolling, no broker, readiness.

    Nobody waits for it, so a dead light or screen never stops anything: what cannot be shown is logged
    and tried again. Whoever changes what decides calls :meth:`refresh`.
    """

    def __init__(
        self,
        ask: Ask,
        clock: Clock,
        language: str,
        *,
        lights: bool,
        screen: bool,
        screen_seen: Callable[[], bool] = lambda: True,
    ) -> None:
        """``screen_seen()``: the screen is known to be on, and to show us."""
        self._ask = ask
        self._clock = clock
        self._language = language
        self._told = asyncio.Event()
        self._screen_seen = screen_seen
        self._light = (
            Sign(clock, lambda: self.pattern, self._set_light, news=self._told.set) if lights else None
        )
        self._words = (
            Sign(clock, lambda: self.words, self._set_words, shown="", news=self._told.set)
            if screen
            else None
        )
        self.readiness: Readiness = "unknown"
        self.online = False
        self.enrolled = True
        self.testing = False
        self.help = False
        self.identifying = 0
        self.pictures = 0
        self.message = ""
        """English, shown in the room's language."""

    @property
    def pattern(self) -> str:
        if self.pictures:
            return "picture"
        if self.identifying:
            return "identify"
        if self.testing:
            return "testing"
        if self.help:
            return "help"
        if not self.online:
            return "no_broker" if self.enrolled else "enrolling"
        return PATTERNS[self.readiness]

    @property
    def words(self) -> str:
        if self.pictures:
            return translate(PICTURE, self._language)
        if self.identifying:
            return translate("Here", self._language)
        if self.message:
            return translate(self.message, self._language)
        return "" if self.enrolled else translate("This kit is not enrolled yet.", self._language)

    def refresh(self) -> None:
        """Something that decides the pattern or the words has changed."""
        for sign in (self._light, self._words):
            if sign is not None:
                sign.refresh()

    def say(self, message: str) -> None:
        """Words on the room's screen; "" takes them away."""
        self.message = message
        self.refresh()

    def forget_light(self) -> None:
        """The panel's process is new: what the light shows is not known."""
        if self._light is not None:
            self._light.forget()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            if self._light is not None:
                group.create_task(self._light.run(), name="light")
            if self._words is not None:
                group.create_task(self._words.run(), name="words")

    async def identify(self, seconds: float) -> None:
        """Lights and screen call out "here"."""
        self.identifying += 1
        self.refresh()
        try:
            await self._clock.sleep(seconds)
        finally:
            self.identifying -= 1
            self.refresh()

    @asynccontextmanager
    async def picture(self) -> AsyncGenerator[bool]:
        """While in it, light and screen tell that a picture is taken; yields whether one of them does. What
        is told is told for :data:`PICTURE_S` at least."""
        self.pictures += 1
        self.refresh()
        try:
            told = await self._picture_told()
            since_s = self._clock.monotonic()
            yield told
            if told:
                await self._clock.sleep(since_s + PICTURE_S - self._clock.monotonic())
        finally:
            self.pictures -= 1
            self.refresh()

    async def _picture_told(self) -> bool:
        """Within SEEN_S."""
        ends_s = self._clock.monotonic() + SEEN_S
        while not self._telling():
            self._told.clear()
            left_s = ends_s - self._clock.monotonic()
            if left_s <= 0 or not await wait(self._clock, self._told, left_s):
                return self._telling()
        return True

    def _telling(self) -> bool:
        light = self._light is not None and self._light.shown == "picture"
        words = self._words is not None and self._words.shown == self.words and self._screen_seen()
        return light or words

    async def _set_light(self, pattern: str) -> None:
        await self._ask("panel", "lights", {"pattern": pattern})

    async def _set_words(self, words: str) -> None:
        await self._ask("display", "set", {"message": words})


def seen(screen: Mapping[str, Reading]) -> bool:
    """Whether people see what we put on it, as far as it told: not known is not seen."""
    return screen.get("power") == "on" and screen.get("active_input") is True
