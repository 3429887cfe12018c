"""The composition root: one TaskGroup of named tasks, all the wiring, nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from . import documents, logs, memory, signs
from .audit.chain import IDENTITY, digest
from .audit.record import Audit
from .audit.switches import Switches
from .book import HealthBook, differs
from .broker import Broker
from .clock import Clock, SystemClock, boot_id
from .commands.context import Context
from .commands.dispatch import Dispatcher
from .commands.inbox import Inbox
from .commands.journal import Journal
from .commands.remote import RemoteSettings, merge, value_of
from .commands.signature import Signed, verifier
from .conference import Conferences
from .config import ConfigError, Settings
from .control import Control, Refused, SocketTaken
from .database import DatabaseError
from .exits import NOT
from .healing import Healer
from .health import DeviceHealth
from .indicator import Indicator
from .keys import Keyring
from .line.line import Line
from .line.stamping import Stamping
from .liveness import Progress, Watchdog
from .machine import Machine
from .model import Scope, Selftest, Trigger, encode
from .monitor import Monitor
from .mqtt import Connection
from .notices import Notices
from .notify import Notifier
from .outage import Outages, absence, ordered_restarts
from .outbox import Heartbeat, Outbox
from .processes import device_workers
from .reboot.client import SOCKET, RebootClient
from .room import Room
from .selftest.runner import Runner
from .signs import AliveMark
from .spool import Spool
from .stamp import Stamp
from .telemetry import Window
from .thresholds import DEFAULTS, Thresholds
from .update.client import SOCKET as UPDATER
from .update.client import UpdateClient
from .usb import Usb
from .worker import Busy, Workers

log = logging.getLogger(__name__)

EXIT_RESTART = 75
"""EX_TEMPFAIL: an ordered restart; whoever supervises starts the agent again."""
STOP_S = 5.0
SETTLED_S = 15.0
"""After a start everything has been looked at once, and what was needed for it can be given back."""
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
"""The first of a PEM file: the kit's own."""
LIVE_SETTINGS = ("name", "place", "level", "probe.period_s")
"""What a running agent takes into force; the rest comes with its next start."""


def main(settings: Settings) -> int:
    """Run until stopped; the exit code."""
    memory.one_arena()
    ring = logs.begin()
    try:
        for folder in (settings.state_dir, settings.runtime_dir):
            Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        log.critical("%s", error)
        return NOT
    return asyncio.run(run(settings, ring, SystemClock()))


async def run(settings: Settings, ring: logs.Ring, clock: Clock) -> int:
    """One session on its spool. What keeps the agent from starting is one line of the log."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "files"))
    path = Path(settings.state_dir) / "spool.sqlite3"
    try:
        spool = await Spool.open(path)
    except DatabaseError as error:
        log.critical("%s cannot be opened: %s", path, error)
        return NOT
    code = NOT
    try:
        app = App(settings, ring, clock, spool, await spool.next_session())
        code = await app.run()
    except* DatabaseError as group:
        log.critical("%s cannot be used: %s", path, group.exceptions[0])
    except* SocketTaken as group:
        log.critical("%s", group.exceptions[0])
    finally:
        try:
            await spool.close()
        except DatabaseError as error:
            log.error("%s: what waited is lost: %s", path, error)
    return code


class App:
    def __init__(self, settings: Settings, ring: logs.Ring, clock: Clock, spool: Spool, session: int) -> None:
        self.remote = RemoteSettings(Path(settings.state_dir) / "remote.json")
        try:
            settings = self.remote.over(settings)
        except ConfigError as error:
            log.error("what was set from afar is not taken: %s", error)
        self.settings = settings
        self.clock = clock
        self.spool = spool
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
        self._identity: str | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        self.stamp = Stamp(settings.point, boot_id(), session, clock, self._synced)
        self.book = HealthBook(documents.expected_devices(settings), clock)
        self.window = Window()
        self.audit = Audit(Path(settings.state_dir), self.stamp, clock)
        self.switches = Switches(self.audit.note)
        self.outbox = Outbox(spool, self.stamp, clock, self.window, self._conference_on, self.audit)
        self.workers = Workers(device_workers(settings, clock, self._told))
        self.reboots = self._reboots()
        self.broker = Broker(
            settings,
            self.stamp,
            clock,
            greeting=self._greeting,
            serve=self._serve,
            received=lambda connection, message: self.inbox.put(connection, message),
            changed=self._connection_changed,
            reboot_nonce=lambda: None if self.reboots is None else self.reboots.nonce,
        )
        self.machine = Machine(settings, clock, self.workers)
        reflector = settings.line.reflector
        self.stamping = (
            None if reflector is None else Stamping(reflector, settings.line.dscp, clock, self._synced)
        )
        self.line = Line(
            settings.line,
            clock,
            self.broker,
            interface=self.machine.interface,
            survey=self.machine.survey,
            measure=self.stamping,
            uplinks=self.machine.uplinks,
            busy=lambda: self.room.testing or self._conference_on(),
            conference=self._conference_on,
            sampled=self.window.add,
            tell=self.outbox.tell,
        )
        self.outages = Outages(clock, self.outbox.tell)
        self.usb = Usb()
        self.healer = Healer(
            clock,
            self.book,
            self.workers,
            self.usb.rebind,
            lambda device: self.monitor.looks[device].identity if device in self.monitor.looks else {},
            self.outbox.tell,
            self._frozen,
        )
        self.monitor = Monitor(
            settings,
            clock,
            self.book,
            self.workers.ask,
            host=self.machine.probe,
            line=self._line,
            limits=self._limits,
            baseline=lambda: self.room.baseline_now,
            progress=lambda: self.progress.advance("monitor"),
            judged=self.window.add,
            identified=lambda: self.births.changed(),
            heal=self.healer.tend,
        )
        expected = dict.fromkeys(self.book.devices, True)
        self.runner = Runner(
            self.workers.ask,
            self.machine.probe,
            self.line.test,
            clock,
            lambda: self.room.baseline_now,
            expected,
            self._limits,
        )
        self.indicator = Indicator(
            self.workers.ask,
            clock,
            settings.language,
            lights=settings.expected.panel,
            screen=settings.expected.display,
            screen_seen=self._screen_seen,
        )
        self.room = Room(
            settings, self.stamp, clock, spool, self.book, self.broker, self.outbox, self.monitor,
            self.runner, self.indicator, self.workers.ask, self.line.now, self._spawn,
            conference=lambda: self.conferences.summary(self.clock.wall()),
        )  # fmt: skip
        self.births = Heartbeat("birth", self.broker, clock, self._birth)
        self.heartbeat = Heartbeat("health", self.broker, clock, self._health, settings.probe.health_s)
        self.control = Control(Path(settings.runtime_dir) / "control.sock", self.room)
        believed = verifier(settings, self._signed)
        self.dispatcher = Dispatcher(self._context(ring), believed)
        self.notices = Notices(
            self.keyring,
            self.conferences,
            believed,
            clock,
            self.outbox.tell,
            now=self._true_now_s,
            again=lambda: self._spawn(self.broker.ask_again(), "conferences once more"),
            changed=self.room.changed,
        )
        if self.reboots is not None:
            self.reboots.offer_keys(self.keyring.text)
            self.notices.listeners.append(self.reboots.offer_keys)
        self.inbox = Inbox(self._receive, clock, lambda: self.progress.advance("dispatcher"))
        self.book.listen(self._looked)
        self.outbox.listeners.append(self.room.changed)

    async def run(self) -> int:
        """All the tasks until one ends the agent; an unexpected exception ends it too."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, 0)
        await self.room.load()
        await self._tell_absence()
        self.outbox.tell("agent_started", data={"session": self.stamp.session})
        try:
            return await self._tasks()
        finally:
            for task in self._passing:
                task.cancel()
            await asyncio.gather(*self._passing, return_exceptions=True)
            self.machine.close()
            self.usb.close()
            if self.stamping is not None:
                self.stamping.close()
            await self.workers.close()
            await self.audit.aclose()

    async def _tasks(self) -> int:
        async with asyncio.TaskGroup() as group:
            if self.reboots is not None:
                self._spawn(self.reboots.run(), "reboots")
            tasks = [
                group.create_task(work, name=name)
                for name, work in (
                    ("broker", self.broker.run()),
                    ("monitor", self.monitor.run()),
                    ("commands", self.inbox.run()),
                    ("events", self.outbox.run()),
                    ("audit", self.audit.run()),
                    ("telemetry", self.outbox.measure()),
                    ("births", self.births.run()),
                    ("heartbeat", self.heartbeat.run()),
                    ("indicator", self.indicator.run()),
                    ("button", self.room.run()),
                    ("line", self.line.run()),
                    ("control", self.control.serve()),
                    ("watchdog", self.watchdog.run()),
                    ("memory", self._give_back()),
                )
            ]
            await self.control.listening.wait()
            self.notifier.ready()
            code = await self._stop
            self.notifier.stopping()
            await self._goodbye(ordered=code == EXIT_RESTART)
            for task in tasks:
                task.cancel()
        return code

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that comes and goes, and ends with the agent at the latest."""
        task = asyncio.create_task(work, name=name)
        self._passing.add(task)
        task.add_done_callback(self._passed)
        return task

    def _passed(self, task: asyncio.Task[None]) -> None:
        """What nobody expected ends the process, as in any other task; it is started again."""
        self._passing.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._stop.done():
            log.error("%s: failed while stopping", task.get_name(), exc_info=error)
        else:
            self._stop.set_exception(error)

    def stop(self, code: int) -> None:
        if not self._stop.done():
            self._stop.set_result(code)

    async def _goodbye(self, *, ordered: bool) -> None:
        self.outbox.tell(signs.STOPPING, data={"ordered": ordered})
        self.mark.write(signs.now(self.stamp, stopping=True))
        await self.dispatcher.aclose()
        await self.notices.aclose()
        await self.outbox.settle(STOP_S)
        await self.broker.goodbye()

    # --- What flows between the parts

    def _looked(self, part: str, before: DeviceHealth, after: DeviceHealth) -> None:
        self.switches.looked(part, after.readings)
        if (before.state, before.code) != (after.state, after.code):
            log.info(
                "%s: %s %s -> %s %s", part, before.state, before.code or "", after.state, after.code or ""
            )
            self.outbox.tell(
                "state", device=part, code=after.code or before.code, from_=before.state, to=after.state
            )
        if differs(before, after):
            was, (readiness, reasons) = self.indicator.readiness, self.book.readiness()
            if was != readiness:
                self.outbox.tell("readiness", from_=was, to=readiness, data={"reasons": list(reasons)})
                self.indicator.readiness = readiness
                self.indicator.refresh()
            self.notifier.status(f"{readiness} {' '.join(reasons)}".strip())
            self.heartbeat.changed()
        self.room.changed()

    def _greeting(self) -> list[tuple[str, bytes]]:
        """After each connect: birth, status, health, selftest, in this order and built afresh."""
        documents = [("birth", self._birth()), ("status", self.broker.online()), ("health", self._health())]
        if self.room.last is not None:
            last = msgspec.structs.replace(self.room.last, connection=self.stamp.connection)
            documents.append(("selftest", encode(last)))
        return documents

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

    def _connection_changed(self) -> None:
        if self.broker.trouble is None:
            self._spawn(self._note_identity(), "identity")
        self.indicator.online = self.broker.trouble is None
        self.indicator.enrolled = self.broker.enrolled
        self.outages.changed(self.broker.trouble)
        self.line.trouble()
        self.indicator.refresh()
        self.room.changed()

    async def _note_identity(self) -> None:
        """With which certificate we are connected, where it is another than before."""
        path = self.settings.tls.cert_file
        try:
            text = b"" if path is None else await asyncio.to_thread(Path(path).read_bytes)
        except OSError as error:
            log.warning("%s: %s", path, error)
            return
        found = CERTIFICATE.search(text)  # the key is in the same file: nothing of it
        identity = None if found is None else digest(found[0])
        if identity != self._identity:
            self._identity = identity
            self.audit.note(IDENTITY, {"certificate_sha256": identity})

    def _told(self, event: str, data: Mapping[str, Any]) -> None:
        """What a device's process tells unasked: the button, or that it is new."""
        if event in ("spawned", "reopened"):
            if event == "spawned":
                self.book.confined[data["process"]] = data["confined"]
            if data["process"] == "panel":
                self.indicator.forget_light()  # one just opened has its light off
            return
        self.room.panel(event, data)
        self.outbox.tell("button", device="panel", data={"event": event, **data})

    # --- What the parts ask for

    def _birth(self) -> bytes:
        return encode(documents.birth(self.settings, self.stamp, self.monitor.looks))

    def _health(self) -> bytes:
        return encode(documents.health(self.stamp, self.book))

    def _synced(self) -> bool:
        """Now, not as of the last look at the host: the kernel takes its word back once its clock is set. In
        simulation the host's is the room's, the kernel's is not."""
        synced = self.book.parts["host"].readings.get("clock_synced") if self.settings.simulated else None
        return self.clock.synced() if synced is None else bool(synced)

    async def _line(self) -> Mapping[str, Any]:
        readings = await self.line.read()
        self.outages.found(self.line.cause)
        return readings

    def _signed(self) -> Signed:
        return Signed(
            self.keyring,
            self.settings.point,
            now=self._true_now_s,
            accepted=lambda: self.room.baseline_now is not None,
        )

    def _screen_seen(self) -> bool:
        """Whether people see what we put on it, as far as it told: not known is not seen."""
        screen = self.book.parts["display"].readings
        return screen.get("power") == "on" and screen.get("active_input") is True

    def _reboots(self) -> RebootClient | None:
        """None in a simulated room that nobody can start again."""
        place = os.environ.get("DIEMCAU_REBOOT") if self.settings.simulated else str(SOCKET)
        if place is None or self.settings.commands == "off":
            return None
        return RebootClient(Path(place), self.clock, self._nonces_changed)

    def _updates(self) -> UpdateClient | None:
        """None without a release key, and in a simulated room that nobody can update."""
        place = os.environ.get("DIEMCAU_UPDATE") if self.settings.simulated else str(UPDATER)
        if place is None or not self.settings.release_keys or self.settings.commands == "off":
            return None
        return UpdateClient(Path(place), lambda: self.settings, lambda: self.keyring.text)

    def _nonces_changed(self) -> None:
        self._spawn(self._say_status(), "status")

    async def _say_status(self) -> None:
        await self.broker.say_status()

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

    async def _tell_absence(self) -> None:
        """Since the session before: what it was of, and since when, as far as anything was kept."""
        kept: list[signs.Sign | None] = [self.mark.read()]
        ordered: frozenset[str] = frozenset()
        try:
            kept += await signs.committed(self.spool)
            ordered = ordered_restarts(await Journal(self.spool).unfinished(), self.stamp.session - 1)
        except DatabaseError as error:
            log.error("the last session's end is not known from the spool: %s", error)
        now = signs.now(self.stamp)
        last = signs.newest(kept, now.session)
        if last is not None or now.session > 1:
            self.outbox.tell("outage", device="host", data=absence(last, now, ordered))
        self.mark.renew(self.stamp)

    async def _give_back(self) -> None:
        await self.clock.sleep(SETTLED_S)
        memory.give_back()

    def _context(self, ring: logs.Ring) -> Context:
        return Context(
            settings=lambda: self.settings,
            clock=self.clock,
            stamp=self.stamp,
            started_s=self.clock.monotonic(),
            spool=self.spool,
            workers=self.workers,
            look=self.monitor.look,
            judged=self.book.judged,
            selftest=self._selftest,
            identify=self._identify,
            restart_agent=lambda: self.stop(EXIT_RESTART),
            publish_reply=lambda iss, payload: self.broker.publish(f"reply/{iss}", payload),
            publish=self.broker.publish,
            event=self.outbox.tell,
            settle=self.outbox.settle,
            note=self.audit.note,
            noted=self.audit.settle,
            picture_told=self.indicator.picture,
            journal_lines=lambda unit, count: logs.journal_lines(ring, unit, count),
            nonce_valid=self.broker.nonces.valid,
            conference_on=self._frozen,
            remote=self.remote,
            adopt=self._adopt,
            rehearse=None if self.stamping is None else self.line.rehearse,
            restart_host=None if self.reboots is None else self.reboots.restart,
            update=self._updates(),
        )

    async def _selftest(self, scope: Scope, trigger: Trigger, progress: Any) -> Selftest:
        try:
            return await self.room.test(scope, trigger, progress)
        except Refused as error:
            raise Busy(error.detail, in_use_by="diemcau") from error

    async def _identify(self, seconds: float) -> None:
        self._spawn(self.indicator.identify(seconds), "identify")

    def _adopt(self, settings: Settings) -> frozenset[str]:
        live = {name: value_of(settings, name) for name in LIVE_SETTINGS}
        self.settings = self.room.settings = self.monitor.settings = merge(self.settings, live)
        self.births.changed()
        return frozenset(LIVE_SETTINGS)
