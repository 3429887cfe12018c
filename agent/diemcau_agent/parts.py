"""Every part of the agent, and what each is given of the others: all the wiring, nothing else.

What runs of it: :mod:`.app`. What a part has found reaches the others through :mod:`.news`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from . import logs
from .audit.identity import Identity
from .audit.record import Audit
from .audit.switches import Switches
from .book import HealthBook
from .broker import Broker
from .clock import Clock, boot_id
from .commands.context import Context
from .commands.dispatch import Dispatcher
from .commands.inbox import Inbox
from .commands.remote import LIVE, RemoteSettings, taken
from .commands.signature import Signed, verifier
from .conference import Conferences
from .config import ConfigError, Settings
from .control import Control, Refused
from .database import DatabaseError
from .documents import Retained, expected_devices
from .healing import Healer
from .indicator import Indicator, seen
from .keys import Keyring
from .line.line import Line
from .line.stamping import Stamping
from .liveness import Progress, Watchdog
from .machine import Machine
from .model import Scope, Selftest, Trigger
from .monitor import Monitor
from .mqtt import Connection
from .news import News
from .notices import Notices
from .notify import Notifier
from .outage import Outages
from .outbox import Heartbeat, Outbox
from .processes import device_workers
from .reboot.client import reboot_client
from .room import Room
from .selftest.runner import Runner
from .selftests import Selftests
from .signs import AliveMark
from .spool import Spool
from .stamp import Stamp
from .tasks import Tasks
from .telemetry import Window
from .thresholds import DEFAULTS, Thresholds
from .update.client import update_client
from .usb import Usb
from .worker import Busy, Workers

log = logging.getLogger(__name__)

EXIT_RESTART = 75
"""EX_TEMPFAIL: an ordered restart; whoever supervises starts the agent again."""


class Parts:
    def __init__(self, settings: Settings, ring: logs.Ring, clock: Clock, spool: Spool, session: int) -> None:
        self.remote = RemoteSettings(Path(settings.state_dir) / "remote.json")
        try:
            settings = self.remote.over(settings)
        except ConfigError as error:
            log.error("what was set from afar is not taken: %s", error)
        self.settings = settings
        self.clock = clock
        self.spool = spool
        self.tasks = Tasks()
        self.notifier = Notifier()
        self.progress = Progress("monitor", "dispatcher", "spool")
        self.mark = AliveMark(Path(settings.runtime_dir))
        self.watchdog = Watchdog(
            self.notifier,
            clock,
            self.progress,
            {
                "spool": lambda: spool.alive,
                "dispatcher": lambda: (
                    self.inbox.busy and (spool.busy_since_s is not None or self.notices.writing)
                ),
            },
            lambda: self.mark.renew(self.stamp),
        )
        self.keyring = Keyring(Path(settings.state_dir) / "keys.json", settings.fleet_keys)
        self.keyring.load()
        self.conferences = Conferences(
            Path(settings.state_dir) / "conferences.json",
            lambda: self.settings.all_groups,
            self.keyring.revoked,
        )
        self.conferences.load()
        self._resumed = False
        self.stamp = Stamp(settings.point, boot_id(), session, clock, self._synced)
        self.book = HealthBook(expected_devices(settings), clock)
        self.window = Window()
        self.audit = Audit(Path(settings.state_dir), self.stamp, clock)
        self.outbox = Outbox(spool, self.stamp, clock, self.window, self._conference_on, self.audit)
        self.workers = Workers(
            device_workers(settings, clock, lambda event, data: self.news.told(event, data))
        )
        self.reboots = reboot_client(
            settings, clock, lambda: self.tasks.spawn(self.broker.say_status(), "status")
        )
        self.broker = Broker(
            settings,
            self.stamp,
            clock,
            greeting=lambda: self.retained.greeting(self.selftests.last),
            serve=self._serve,
            received=lambda connection, message: self.inbox.put(connection, message),
            changed=lambda: self.news.connection_changed(),
            reboot_nonce=lambda: None if self.reboots is None else self.reboots.nonce,
        )
        self.machine = Machine(settings, clock, self.workers)
        reflector = settings.line.reflector
        self.stamping = (
            None if reflector is None else Stamping(reflector, settings.line.dscp, clock, self._synced)
        )
        self.line = Line(
            settings.line, clock, self.broker, interface=self.machine.interface, survey=self.machine.survey,
            measure=self.stamping, uplinks=self.machine.uplinks,
            busy=lambda: self.selftests.running is not None or self._conference_on(),
            conference=self._conference_on, sampled=self.window.add, tell=self.outbox.tell,
        )  # fmt: skip
        self.outages = Outages(clock, self.outbox.tell)
        self.usb = Usb()
        self.healer = Healer(
            clock, self.book, self.workers, self.usb.rebind,
            lambda device: self.monitor.looks[device].identity if device in self.monitor.looks else {},
            self.outbox.tell, self._frozen,
        )  # fmt: skip
        self.monitor = Monitor(
            settings, clock, self.book, self.workers.ask, host=self.machine.probe, line=self._line,
            limits=self._limits, baseline=lambda: self.room.baseline_now,
            progress=lambda: self.progress.advance("monitor"), judged=self.window.add,
            identified=lambda: self.births.changed(), heal=self.healer.tend,
        )  # fmt: skip
        self.runner = Runner(
            self.workers.ask, self.machine.probe, self.line.test, clock, lambda: self.room.baseline_now,
            dict.fromkeys(self.book.devices, True), self._limits,
        )  # fmt: skip
        self.indicator = Indicator(
            self.monitor.ask,
            clock,
            settings.language,
            lights=settings.expected.panel,
            screen=settings.expected.display,
            screen_seen=lambda: seen(self.book.parts["display"].readings),
        )
        self.selftests = Selftests(
            self.stamp, clock, spool, self.book, self.broker, self.outbox, self.monitor, self.runner,
            self.indicator, self.tasks.spawn, changed=lambda: self.room.changed(),
        )  # fmt: skip
        self.room = Room(
            settings, self.stamp, clock, spool, self.book, self.broker, self.outbox, self.monitor,
            self.selftests, self.indicator, self.monitor.ask, self.line.now,
            conference=lambda: self.conferences.summary(self.clock.wall()),
        )  # fmt: skip
        self.retained = Retained(
            lambda: self.settings, self.stamp, self.book, self.monitor.looks, self.broker.online
        )
        self.births = Heartbeat("birth", self.broker, clock, self.retained.birth)
        self.heartbeat = Heartbeat(
            "health", self.broker, clock, self.retained.health, settings.probe.health_s
        )
        self.control = Control(Path(settings.runtime_dir) / "control.sock", self.room)
        believed = verifier(
            settings,
            lambda: Signed(
                self.keyring, settings.point, self._true_now_s, lambda: self.room.baseline_now is not None
            ),
        )
        self.dispatcher = Dispatcher(self._context(ring), believed)
        self.notices = Notices(
            self.keyring, self.conferences, believed, clock, self.outbox.tell, now=self._true_now_s,
            again=lambda: self.tasks.spawn(self.broker.ask_again(), "conferences once more"),
            changed=self.room.changed,
        )  # fmt: skip
        if self.reboots is not None:
            self.reboots.offer_keys(self.keyring.text)
            self.notices.listeners.append(self.reboots.offer_keys)
        self.inbox = Inbox(self._receive, clock, lambda: self.progress.advance("dispatcher"))
        self.news = News(
            self.book, self.broker, self.line, self.outages, self.outbox, self.heartbeat, self.indicator,
            self.notifier, self.room, Switches(self.audit.note),
            Identity(settings.tls.cert_file, self.audit.note), self.tasks.spawn,
        )  # fmt: skip
        self.book.listen(self.news.looked)
        self.outbox.listeners.append(self.room.changed)

    async def aclose(self) -> None:
        """What is open in other processes, on the card, or under way."""
        await self.tasks.aclose()
        self.machine.close()
        self.usb.close()
        if self.stamping is not None:
            self.stamping.close()
        await self.workers.close()
        await self.audit.aclose()

    # --- What flows between them

    async def _receive(self, topic: str, payload: bytes, retained: bool) -> None:
        if not await self.notices.receive(topic, payload):
            await self.dispatcher.receive(topic, payload, retained)

    async def _serve(self, connection: Connection) -> None:
        if not self._resumed:
            try:
                await self.dispatcher.resume()
                self._resumed = True
            except DatabaseError as error:
                log.error("what the last session left is not answered yet: %s", error)
        await self.outbox.drain(connection)

    # --- What the parts ask for

    def _synced(self) -> bool:
        """Now, not as of the last look at the host: the kernel takes its word back once its clock is set. In
        simulation the host's is the room's, the kernel's is not."""
        synced = self.book.parts["host"].readings.get("clock_synced") if self.settings.simulated else None
        return self.clock.synced() if synced is None else bool(synced)

    async def _line(self) -> Mapping[str, Any]:
        readings = await self.line.read()
        self.outages.found(self.line.cause)
        return readings

    # By the clock as it stands: a wrong one freezes what can be forced, or not what somebody has signed for.
    def _conference_on(self) -> bool:
        return self.conferences.on(self.clock.wall()) is not None

    def _frozen(self) -> bool:
        return self.conferences.frozen(self.clock.wall())

    def _limits(self) -> Thresholds:
        usual = msgspec.structs.replace(DEFAULTS, button_stuck_s=self.settings.panel.stuck_s)
        return self.conferences.limits(self.clock.wall(), usual)

    def _true_now_s(self) -> float | None:
        return self.clock.wall() if self.stamp.synced else None

    def _context(self, ring: logs.Ring) -> Context:
        return Context(
            settings=lambda: self.settings,
            clock=self.clock,
            stamp=self.stamp,
            started_s=self.clock.monotonic(),
            spool=self.spool,
            workers=self.workers,
            ask=self.monitor.ask,
            look=self.monitor.look,
            judged=self.book.judged,
            selftest=self._selftest,
            identify=self._identify,
            restart_agent=lambda: self.tasks.stop(EXIT_RESTART),
            publish_reply=lambda iss, payload: self.broker.publish(f"reply/{iss}", payload),
            publish=self.broker.publish,
            event=self.outbox.tell,
            settle=self.outbox.settle,
            note=self.audit.note,
            noted=self.audit.settle,
            picture_told=self.indicator.picture,
            journal_lines=lambda unit, count: logs.journal_lines(ring, unit, count),
            nonce_valid=self.broker.nonces.valid,
            conference_on=self._conference_on,
            frozen=self._frozen,
            remote=self.remote,
            adopt=self._adopt,
            rehearse=None if self.stamping is None else self.line.rehearse,
            restart_host=None if self.reboots is None else self.reboots.restart,
            update=update_client(lambda: self.settings, lambda: self.keyring.text),
        )

    async def _selftest(self, scope: Scope, trigger: Trigger, progress: Any) -> Selftest:
        try:
            return await self.selftests.test(scope, trigger, progress)
        except Refused as error:
            raise Busy(error.detail, in_use_by="diemcau") from error

    async def _identify(self, seconds: float) -> None:
        self.tasks.spawn(self.indicator.identify(seconds), "identify")

    def _adopt(self, settings: Settings) -> frozenset[str]:
        self.settings = self.room.settings = self.monitor.settings = taken(self.settings, settings)
        self.births.changed()
        return LIVE
