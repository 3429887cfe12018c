"""What one part finds, told to all the others whom it concerns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from .audit.identity import Identity
from .audit.switches import Switches
from .book import HealthBook, differs
from .broker import Broker
from .health import DeviceHealth
from .indicator import Indicator
from .line.line import Line
from .notify import Notifier
from .outage import Outages
from .outbox import Heartbeat, Outbox
from .room import Room

log = logging.getLogger(__name__)


class News:
    """One method for each that has something to tell: a look, the broker's session, a device's process."""

    def __init__(
        self,
        book: HealthBook,
        broker: Broker,
        line: Line,
        outages: Outages,
        outbox: Outbox,
        heartbeat: Heartbeat,
        indicator: Indicator,
        notifier: Notifier,
        room: Room,
        switches: Switches,
        identity: Identity,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self._book = book
        self._broker = broker
        self._line = line
        self._outages = outages
        self._outbox = outbox
        self._heartbeat = heartbeat
        self._indicator = indicator
        self._notifier = notifier
        self._room = room
        self._switches = switches
        self._identity = identity
        self._spawn = spawn

    def looked(self, part: str, before: DeviceHealth, after: DeviceHealth) -> None:
        self._switches.looked(part, after.readings)
        if (before.state, before.code) != (after.state, after.code):
            log.info(
                "%s: %s %s -> %s %s", part, before.state, before.code or "", after.state, after.code or ""
            )
            self._outbox.tell(
                "state", device=part, code=after.code or before.code, from_=before.state, to=after.state
            )
        if differs(before, after):
            was, (readiness, reasons) = self._indicator.readiness, self._book.readiness()
            if was != readiness:
                self._outbox.tell("readiness", from_=was, to=readiness, data={"reasons": list(reasons)})
                self._indicator.readiness = readiness
                self._indicator.refresh()
            self._notifier.status(f"{readiness} {' '.join(reasons)}".strip())
            self._heartbeat.changed()
        self._room.changed()

    def connection_changed(self) -> None:
        if self._broker.trouble is None:
            self._spawn(self._identity.connected(), "identity")
        self._indicator.online = self._broker.trouble is None
        self._indicator.enrolled = self._broker.enrolled
        self._outages.changed(self._broker.trouble)
        self._line.trouble()
        self._indicator.refresh()
        self._room.changed()

    def told(self, event: str, data: Mapping[str, Any]) -> None:
        """By a device's process, unasked: the button, or that it is new."""
        if event in ("spawned", "reopened"):
            if event == "spawned":
                self._book.confined[data["process"]] = data["confined"]
            if data["process"] == "panel":
                self._indicator.forget_light()  # one just opened has its light off
            return
        self._room.panel(event, data)
        self._outbox.tell("button", device="panel", data={"event": event, **data})
