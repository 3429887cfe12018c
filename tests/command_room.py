"""A room for the commands: a real journal, a clock that stands still, devices that do as told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from diemcau_agent import config
from diemcau_agent.commands.context import Context
from diemcau_agent.commands.dispatch import Dispatcher
from diemcau_agent.commands.outcome import CommandError
from diemcau_agent.commands.remote import RemoteSettings
from diemcau_agent.commands.signature import Unsigned, Verifier
from diemcau_agent.commands.verbs import VERBS
from diemcau_agent.config import Settings
from diemcau_agent.model import Judged, Reply, Scope, Selftest, Trigger
from diemcau_agent.spool import Spool
from diemcau_agent.stamp import Stamp
from fakeclock import FakeClock, settle

POINT = "xp-0417"
ISS = "operator-1"
NONCE = "0123456789abcdef"

Answer = Mapping[str, Any] | BaseException | Callable[[Mapping[str, Any]], Any]


def settings(**changes: Any) -> Settings:
    return config.check(
        {
            "point": POINT,
            "broker": {"urls": ["mqtt://127.0.0.1:1883"]},
            "backends": "sim",
            "commands": "unsigned",
            "groups": ["district-7"],
            **changes,
        }
    )


class ScriptedWorkers:
    """``answers``: (process, do) -> what comes of it; a callable may wait or raise."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.pids = {"camera": 100, "audio": 200, "display": 300, "panel": 400}
        self.restart_error: BaseException | None = None

    async def ask(
        self,
        process: str,
        do: str,
        args: Mapping[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        self.asked.append((process, do, dict(args or {})))
        answer = self.answers.get((process, do), {})
        if callable(answer) and not isinstance(answer, BaseException):
            answer = await answer(args or {})
        if isinstance(answer, BaseException):
            raise answer
        return dict(cast("Mapping[str, Any]", answer))

    async def restart(self, process: str) -> int:
        if self.restart_error is not None:
            raise self.restart_error
        self.pids[process] += 1
        return self.pids[process]

    def pid(self, process: str) -> int | None:
        return self.pids.get(process)


class Room:
    """One session of an agent; :meth:`open` again on the same folder for the next one."""

    def __init__(self, spool: Spool, folder: Path, clock: FakeClock, session: int, boot: str) -> None:
        self.clock = clock
        self.spool = spool
        self.settings = settings()
        self.workers = ScriptedWorkers()
        self.replies: list[tuple[str, bytes]] = []
        self.events: list[dict[str, Any]] = []
        self.documents: list[tuple[str, bytes]] = []
        """What was published once more, (stream, payload)."""
        self.notes: list[tuple[str, dict[str, Any]]] = []
        """The audit."""
        self.card_good = True
        self.sign_seen = True
        self.told_of_pictures = 0
        self.online = True
        self.nonces = {NONCE}
        self.conference = False
        """Whether one is on; :attr:`freezes`: and wants the room left alone."""
        self.freezes = True
        self.judged_parts: dict[str, Judged] = {}
        self.looked: list[str] = []
        self.on_look: Callable[[int], None] | None = None
        self.restarted: list[str] = []
        self.handed_on: list[bytes] = []
        """The commands that were to restart the host, as they came."""
        self.restart_error: CommandError | None = None
        self.identified: list[float] = []
        self.lines: Sequence[str] | OSError = ["one", "two"]
        self.adopts: frozenset[str] = frozenset()
        self.selftest_answer: Selftest | BaseException = BaseException()
        self.progress: list[Any] = []
        self.stamp = Stamp(POINT, boot, session, clock)
        self.remote = RemoteSettings(folder / "remote.json")
        self.context = Context(
            settings=lambda: self.settings,
            clock=clock,
            stamp=self.stamp,
            started_s=clock.monotonic() - 5,
            spool=spool,
            workers=self.workers,
            ask=self.workers.ask,
            look=self._look,
            judged=lambda: self.judged_parts,
            selftest=self._selftest,
            identify=self._identify,
            restart_agent=lambda: self.restarted.append("agent"),
            publish_reply=self._publish,
            publish=self._publish_document,
            event=self._event,
            settle=self._settle,
            note=self._note,
            noted=self._noted,
            picture_told=self._picture_told,
            journal_lines=self._journal_lines,
            nonce_valid=lambda nonce: nonce in self.nonces,
            conference_on=lambda: self.conference,
            frozen=lambda: self.conference and self.freezes,
            remote=self.remote,
            adopt=self._adopt,
            restart_host=self._restart_host,
            uniform=lambda low, high: (low + high) / 2,
        )
        self.dispatcher = Dispatcher(self.context, Unsigned())

    @classmethod
    async def open(cls, folder: Path, clock: FakeClock, boot: str = "boot-1") -> Room:
        spool = await Spool.open(folder / "spool.sqlite")
        return cls(spool, folder, clock, await spool.next_session(), boot)

    def rewire(self, verifier: Verifier | None = None, **changes: Any) -> None:
        """Another dispatcher on a context with ``changes``."""
        self.context = _replace(self.context, changes)
        self.dispatcher = Dispatcher(self.context, verifier or Unsigned(), VERBS)

    async def _settle(self, timeout_s: float) -> None:
        """Every event here is in memory: there is nothing to wait for."""

    async def close(self) -> None:
        await self.dispatcher.aclose()
        await self.spool.close()

    def claims(
        self, verb: str = "ping", args: Mapping[str, Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        now = int(self.clock.wall())
        return {
            "id": f"command-{verb}",
            "aud": f"point/{POINT}",
            "verb": verb,
            "iss": ISS,
            "iat": now,
            "exp": now + 60,
            "args": dict(args or {}),
            "nonce": NONCE,
            **changes,
        }

    async def send(
        self,
        verb: str = "ping",
        args: Mapping[str, Any] | None = None,
        *,
        retained: bool = False,
        topic: str | None = None,
        **changes: Any,
    ) -> None:
        claims = self.claims(verb, args, **changes)
        where = topic or f"diemcau/v1/{claims['aud']}/command/{claims['verb']}"
        await self.dispatcher.receive(where, json.dumps(claims).encode(), retained)

    async def order(self, verb: str, args: Mapping[str, Any] | None = None, **changes: Any) -> Reply:
        """Send, wait for the end, and return the last reply."""
        await self.send(verb, args, **changes)
        await self.idle()
        return self.last

    async def idle(self) -> None:
        """Until no command runs and every reply has left; 10 s at most."""
        await until(lambda: not self.dispatcher._running.tasks)
        await self.dispatcher._replies.told()

    async def replied(self) -> None:
        """Until what was accepted has begun, and every reply has left."""
        await settle()
        await self.dispatcher._replies.told()

    @property
    def answers(self) -> list[Reply]:
        return [msgspec.json.decode(payload, type=Reply) for _, payload in self.replies]

    @property
    def last(self) -> Reply:
        return self.answers[-1]

    @property
    def states(self) -> list[tuple[str, str | None]]:
        return [(reply.state, reply.code) for reply in self.answers]

    async def refused(self) -> Counter[str]:
        """What the minute's event counts, a minute later."""
        await self.clock.advance(60)
        await settle()
        counts: Counter[str] = Counter()
        for event in self.events:
            if event["kind"] == "command_refused":
                counts.update(event["data"]["counts"])
        return counts

    async def _look(self, process: str) -> None:
        self.looked.append(process)
        if self.on_look is not None:
            self.on_look(len(self.looked))

    async def _selftest(self, scope: Scope, trigger: Trigger, progress: Callable[[Any], None]) -> Selftest:
        for data in self.progress:
            progress(data)
        if isinstance(self.selftest_answer, BaseException):
            raise self.selftest_answer
        return self.selftest_answer

    async def _identify(self, seconds: float) -> None:
        self.identified.append(seconds)

    async def _restart_host(self, command: bytes) -> None:
        if self.restart_error is not None:
            raise self.restart_error
        self.restarted.append("host")
        self.handed_on.append(command)

    async def _publish(self, iss: str, payload: bytes) -> None:
        self.replies.append((iss, payload))

    async def _publish_document(self, stream: str, payload: bytes) -> bool:
        if self.online:
            self.documents.append((stream, payload))
        return self.online

    def _event(self, kind: str, **fields: Any) -> None:
        self.events.append({"kind": kind, **fields})

    def _note(self, kind: str, data: Mapping[str, Any]) -> None:
        self.notes.append((kind, dict(data)))

    async def _noted(self, timeout_s: float) -> bool:
        return self.card_good

    @asynccontextmanager
    async def _picture_told(self) -> AsyncGenerator[bool]:
        self.told_of_pictures += 1
        yield self.sign_seen

    async def _journal_lines(self, unit: str | None, count: int) -> Sequence[str]:
        if isinstance(self.lines, OSError):
            raise self.lines
        return self.lines[-count:]

    def _adopt(self, changed: Settings) -> frozenset[str]:
        if self.adopts:
            self.settings = changed
        return self.adopts


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads have a part in; 10 s at most."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to that")


def judged(state: Any, code: str | None = None) -> Judged:
    return Judged(state=state, code=code, since="", checked=None)


def _replace(context: Context, changes: Mapping[str, Any]) -> Context:
    fields = {name: getattr(context, name) for name in Context.__struct_fields__}
    return Context(**(fields | dict(changes)))
