"""Whatever a taken-over broker makes of what operators signed, and whatever befalls the agent and its clock
in between: nothing runs twice, nothing of a dead nonce, nothing of a revoked key."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from attacks import ATTACKS
from command_room import POINT
from fakeclock import FakeClock
from loot import Loot
from signing import key_list
from stage import KEYS, OPERATOR, ORDERS, REVOKED, Message, Stage, claims_of

ISSUERS = (OPERATOR, "operator-2")
TRUE_TIME_S = 1_795_332_600.0


class Hostile(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.stage: Stage = self.do(Stage.open(Path(self.folder.name), self.clock))
        self.sent: list[Message] = []
        self.revision = 1
        self.revoked: set[str] = set()
        self.boots = 0
        self.lost = False

    def teardown(self) -> None:
        self.do(self.stage.room.close())
        self.runner.close()
        self.folder.cleanup()

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def deliver(self, message: Message) -> None:
        claims = claims_of(message)
        before = self.stage.ran[claims["id"]]
        code = self.do(self.stage.deliver(message))
        if code == "ran":
            assert before == 0, "it ran before"
            assert not message.retained
            assert claims["iss"] not in self.revoked, "its key is revoked"
            to_group = claims["aud"].startswith("group/")
            assert to_group or claims["nonce"] == self.stage.nonce, "its nonce is dead"
            assert not to_group or self.stage.room.stamp.synced, "a group's, by a clock that nobody trusts"

    @initialize()
    def there_are_good_ones(self) -> None:
        for group, held in ((False, False), (False, True), (True, False), (True, True)):
            self.an_operator_orders(("identify", {}), OPERATOR, group, held)

    @rule(
        order=st.sampled_from(ORDERS), iss=st.sampled_from(ISSUERS), group=st.booleans(), held=st.booleans()
    )
    def an_operator_orders(self, order: Any, iss: str, group: bool, held: bool) -> None:
        verb, args = order
        to_group = group and verb in ("ping", "identify", "display", "speaker", "microphone")
        aud = "group/all" if to_group else f"point/{POINT}"
        message = self.stage.order(self.stage.claims(verb, args, iss=iss, aud=aud))
        self.sent.append(message)
        if not held:
            self.deliver(message)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), retained=st.booleans(), times=st.integers(1, 3))
    def the_broker_sends_again(self, data: st.DataObject, retained: bool, times: int) -> None:
        message = data.draw(st.sampled_from(self.sent))
        for _ in range(times):
            self.deliver(Message(message.topic, message.payload, retained))

    @precondition(lambda self: self.sent)
    @rule(kind=st.sampled_from(ATTACKS), seed=st.integers(0, 999))
    def the_broker_forges(self, kind: Any, seed: int) -> None:
        rng = random.Random(seed)
        held = self.stage.order(self.stage.claims("identify", {}, iss=OPERATOR))
        message = kind(Loot(self.stage, rng, self.sent, held))
        code = self.do(self.stage.deliver(message))
        assert code != "ran" or message in self.sent, kind.__name__

    @rule(seconds=st.sampled_from([1, 10, 119, 700]))
    def time_passes(self, seconds: int) -> None:
        self.do(self.clock.advance(seconds))

    @precondition(lambda self: not self.lost)
    @rule(to=st.sampled_from(["1970", "back", "ahead", "true"]), synced=st.booleans())
    def the_clock_jumps(self, to: str, synced: bool) -> None:
        self.jump(to, synced=synced)

    def jump(self, to: str, *, synced: bool) -> None:
        now_s = TRUE_TIME_S + self.clock.monotonic() - 1000.0
        self.clock.wall_s = {"1970": 30.0, "back": now_s - 600, "ahead": now_s + 600, "true": now_s}[to]
        self.clock.is_synced = synced
        _ = self.stage.room.stamp.synced  # every document asks

    @rule()
    def the_connection_is_new(self) -> None:
        self.stage.renew()

    @rule(killed=st.booleans(), rebooted=st.booleans(), pause_s=st.sampled_from([1, 40]))
    def the_agent_starts_again(self, killed: bool, rebooted: bool, pause_s: int) -> None:
        self.boots += rebooted
        self.do(self.stage.start_again(killed=killed, boot=f"boot-{self.boots}", pause_s=pause_s))

    @rule(killed=st.booleans())
    def the_journal_is_lost(self, killed: bool) -> None:
        """With the card's database. The clock is the true one from then on: who holds both time and card
        holds the kit."""
        self.jump("true", synced=self.clock.is_synced)
        self.lost = self.stage.lose_journal = True
        self.do(self.stage.start_again(killed=killed, pause_s=6))

    @rule(iss=st.sampled_from(ISSUERS))
    def a_key_is_revoked(self, iss: str) -> None:
        self.revision += 1
        self.revoked.add(iss)
        self.stage.keyring.take(key_list(*KEYS, revision=self.revision, revoked=[REVOKED, *self.revoked]))

    @invariant()
    def nothing_ran_twice(self) -> None:
        assert all(count == 1 for count in self.stage.ran.values()), self.stage.ran


TestHostile = Hostile.TestCase
TestHostile.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
