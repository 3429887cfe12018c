"""A room that only signed commands can move, what its operators send, and who counts what runs."""

from __future__ import annotations

import base64
import copy
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from command_room import NONCE, POINT, Room
from diemcau_agent.commands.dispatch import Dispatcher
from diemcau_agent.commands.refusals import Refusals
from diemcau_agent.commands.signature import Signed
from diemcau_agent.commands.verb import Call, Verb
from diemcau_agent.commands.verbs import VERBS
from diemcau_agent.keys import Keyring
from fakeclock import FakeClock, settle
from signing import key, key_list, public, signed
from steered_spool import crash

OPERATOR, VIEWER, COLLECTOR = "operator-1", "viewer-1", "collector-1"
INSTALLER, ELSEWHERE, REVOKED = "installer-1", "installer-2", "operator-9"
KEYS = (
    key(OPERATOR),
    key("operator-2"),
    key(VIEWER, "viewer"),
    key(COLLECTOR, "collector"),
    key(INSTALLER, "installer", [POINT]),
    key(ELSEWHERE, "installer", ["xp-0001"]),
    key(REVOKED),
)
ORDERS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("ping", {}),
    ("identify", {"seconds": 5}),
    ("restart", {"target": "camera"}),
    ("microphone", {"mute": True}),
    ("speaker", {"volume_percent": 40}),
    ("display", {"message": "Họp lúc 8 giờ"}),
    ("logs", {"lines": 10}),
    ("config", {"get": True}),
)
GROUP_ORDERS = tuple(order for order in ORDERS if VERBS[order[0]].group)


class Message(msgspec.Struct, frozen=True):
    topic: str
    payload: bytes
    retained: bool = False


class Tally(Refusals):
    """Also says with which code the last message was refused."""

    last: str | None = None

    def count(self, code: str) -> bool:
        self.last = code
        return super().count(code)


class Stage:
    """``ran``: how often each command's id ran, whichever verb. ``accepted``: whether the room was.
    ``lose_journal``: the next start finds no database on the card."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.folder = folder
        self.clock = clock
        self.ran: Counter[str] = Counter()
        self.accepted = True
        self.lose_journal = False
        self.nonce = NONCE
        self._numbers = itertools.count(1)
        self.keyring = Keyring(folder / "keys.json", [public("fleet-1")])
        self.verbs = {name: _counted(verb, self.ran) for name, verb in VERBS.items()}

    @classmethod
    async def open(cls, folder: Path, clock: FakeClock) -> Stage:
        stage = cls(folder, clock)
        stage.keyring.take(key_list(*KEYS, revoked=[REVOKED]))
        await stage.begin()
        return stage

    async def begin(self, boot: str = "boot-1") -> None:
        """A session of the agent on what lies on the card."""
        self.keyring = Keyring(self.folder / "keys.json", [public("fleet-1")])
        self.keyring.load()
        self.room = await Room.open(self.folder, self.clock, boot)
        self.signed = Signed(
            self.keyring,
            POINT,
            lambda: self.clock.wall() if self.room.stamp.synced else None,
            lambda: self.accepted,
        )
        self.room.dispatcher = Dispatcher(self.room.context, self.signed, self.verbs)
        self.tally = Tally(self.clock, self.room.context.event)
        self.room.dispatcher._refusals = self.tally
        self.room.nonces = {self.nonce}
        await self.room.dispatcher.resume()

    async def start_again(self, *, killed: bool = False, boot: str = "boot-1", pause_s: float = 3.0) -> None:
        """The agent ends, or is killed, and comes back; the connection and its nonce are new."""
        if killed:
            for task in set(self.room.dispatcher._running.tasks.values()):
                task.cancel()
            await settle()
            await crash(self.room.spool)
        else:
            await self.room.close()
        if self.lose_journal:
            for file in self.folder.glob("spool.sqlite*"):
                file.unlink()
            self.lose_journal = False
        await self.clock.advance(pause_s)
        self.renew()
        await self.begin(boot)

    def renew(self) -> None:
        """Another nonce, as after each connect; the one before is out of its grace."""
        self.nonce = f"nonce-{next(self._numbers)}"
        self.room.nonces = {self.nonce}

    def claims(self, verb: str, args: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Of a command that is good now; one to a group has no nonce."""
        claims = self.room.claims(verb, args, id=f"id-{next(self._numbers):08}", nonce=self.nonce, **changes)
        if str(claims["aud"]).startswith("group/") and "nonce" not in changes:
            del claims["nonce"]
        return claims

    def order(self, claims: Mapping[str, Any], by: str | None = None, topic: str | None = None) -> Message:
        """``claims`` on their topic, signed by their ``iss`` or by somebody else."""
        where = f"diemcau/v1/{claims['aud']}/command/{claims['verb']}" if topic is None else topic
        return Message(where, signed(claims, by or str(claims["iss"])))

    async def deliver(self, message: Message) -> str:
        """What came of it: the code of its refusal, ``ran``, or ``nothing`` (an answer told again)."""
        before = self.ran.total(), self.moved()
        self.tally.last = None
        await self.room.dispatcher.receive(message.topic, message.payload, message.retained)
        if self.room.dispatcher._running.tasks:
            await self.room.idle()
        await settle(2)
        if (self.ran.total(), self.moved()) != before:
            return "ran"
        return self.tally.last or "nothing"

    def moved(self) -> int:
        """How often anything in the room was touched, whoever asked for it."""
        room = self.room
        return len(room.workers.asked) + len(room.restarted) + len(room.identified) + len(room.documents)


def _counted(verb: Verb[Any], ran: Counter[str]) -> Verb[Any]:
    counted = copy.copy(verb)

    async def run(call: Call, args: Any) -> Any:
        ran[call.claims.id] += 1
        return await verb.run(call, args)

    setattr(counted, "run", run)  # noqa: B010 - a method of this one only
    return counted


def claims_of(message: Message) -> dict[str, Any]:
    """The claims inside, believed by nobody."""
    part = message.payload.split(b".")[1]
    return json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
