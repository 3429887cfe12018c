"""Which broker, when again, and what a connection begins and ends with (docs/wire.md, Presence)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any, cast

import pytest

from diemcau_agent import broker as module
from diemcau_agent.address import Address
from diemcau_agent.backoff import BACKOFF_CAP_LINE_S, STABLE_S
from diemcau_agent.broker import RETURN_CAP_S, RETURN_S, Broker
from diemcau_agent.config import check
from diemcau_agent.mqtt import Connection, ConnectionLost, LineDown, Refused, Will
from diemcau_agent.mqtt.client import CONNECT_TIMEOUT_S
from diemcau_agent.nonces import PERIOD_S
from diemcau_agent.stamp import Stamp
from fakeclock import FakeClock, settle


class Wire:
    """An open connection that keeps what is sent, and acknowledges it or not."""

    def __init__(self, will: Will, *, acknowledging: bool, subscribable: bool) -> None:
        self.will = json.loads(will.payload)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.subscribed: list[str] = []
        self.said_goodbye: bool | None = None
        self._acknowledging = acknowledging
        self._subscribable = subscribable

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        self.sent.append((topic.rpartition("/")[2], json.loads(payload)))
        acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._acknowledging:
            acked.set_result(None)
        else:
            self.lost.add_done_callback(lambda _: acked.done() or acked.set_exception(ConnectionLost()))
        return acked

    async def subscribe(self, filters: Sequence[str]) -> None:
        if not self._subscribable:
            raise ConnectionLost("subscribe refused")
        self.subscribed += filters

    async def close(self, *, goodbye: bool = False, reason: str = "closed") -> None:
        if self.said_goodbye is None:
            self.said_goodbye = goodbye
        self.end(reason)

    def end(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self.sent]


class Net:
    """Three brokers that take a connection, or fail as a test says. Every wait is the longest there is."""

    def __init__(self, clock: FakeClock, **settings: Any) -> None:
        self.clock = clock
        self.tried: list[tuple[float, str]] = []
        self.failures: dict[str, Exception] = {}
        self.attempt_s = 0.0
        """How long an attempt takes to fail, or not to."""
        self.unreachable: set[str] = set()
        self.looked_for: list[str] = []
        self.wires: list[Wire] = []
        self.acknowledging = True
        self.subscribable = True
        urls = [f"mqtt://{name}" for name in ("first", "second", "third")]
        raw = {"point": "xp-0417", "commands": "unsigned", "backends": "sim", "broker": {"urls": urls}}
        self.stamp = Stamp("xp-0417", "boot", 3, clock)
        self.broker = Broker(
            check(raw | settings), self.stamp, clock, greeting=self.greeting, serve=self.serve,
            received=lambda connection, message: None, uniform=lambda low, high: high,
        )  # fmt: skip
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.broker.run(), name="broker")

    async def open(self, address: Address, *, will: Will, **more: Any) -> Connection:
        self.tried.append((self.clock.mono_s, address.host))
        await self.clock.sleep(self.attempt_s)
        if address.host in self.failures:
            raise self.failures[address.host]
        self.wires.append(Wire(will, acknowledging=self.acknowledging, subscribable=self.subscribable))
        return cast("Connection", self.wires[-1])

    def reachable(self, host: str, port: int) -> bool:
        self.looked_for.append(host)
        return host not in self.unreachable

    def greeting(self) -> list[tuple[str, bytes]]:
        return [("birth", b"{}"), ("status", self.broker.online()), ("health", b"{}"), ("selftest", b"{}")]

    async def serve(self, connection: Connection) -> None:
        await asyncio.Event().wait()

    @property
    def hosts(self) -> list[str]:
        return [host for _, host in self.tried]

    @property
    def pauses_s(self) -> list[float]:
        moments = [moment for moment, _ in self.tried]
        return [round(after - before, 3) for before, after in pairwise(moments)]

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


@pytest.fixture
async def net(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    made = Net(clock)
    monkeypatch.setattr(module.Connection, "open", made.open)
    monkeypatch.setattr(module, "reachable", made.reachable)
    yield made
    await made.stop()


async def test_a_connection_begins_with_birth_status_health_selftest_and_nothing_between(net: Net) -> None:
    greeted = net.broker.online
    others: list[asyncio.Task[bool]] = []

    def online() -> bytes:
        # As the watch over the devices does, at the worst moment.
        others.append(asyncio.create_task(net.broker.publish("health", b'{"late": true}', retain=True)))
        return greeted()

    net.broker.online = online
    net.start()
    await net.clock.advance(1)
    (wire,) = net.wires
    assert wire.topics[:4] == ["birth", "status", "health", "selftest"]
    assert wire.sent[4:] == [("health", {"late": True})]
    status = wire.sent[1][1]
    assert (status["status"], status["nonce"]) == ("online", net.broker.nonces.current)
    assert wire.will["status"] == "lost"
    assert wire.will["connection"] == status["connection"] == net.stamp.connection


async def test_it_is_online_only_once_its_greeting_was_acknowledged(net: Net) -> None:
    net.acknowledging = False
    net.start()
    await net.clock.advance(1)
    assert net.broker.trouble is not None
    net.wires[0].end("no answer")
    net.acknowledging = True
    await net.clock.advance(10)
    assert net.broker.trouble is None


async def test_the_list_of_keys_is_asked_for_before_what_is_signed_with_them(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(clock)
    monkeypatch.setattr(module.Connection, "open", net.open)
    await net.broker.ask_again()  # nobody to ask
    net.start()
    await clock.advance(1)
    assert net.wires[0].subscribed == [
        "diemcau/v1/fleet/keys",
        "diemcau/v1/conference/+",
        "diemcau/v1/point/xp-0417/command/+",
        "diemcau/v1/group/all/command/+",
    ]
    await net.broker.ask_again()
    assert net.wires[0].subscribed[4:] == ["diemcau/v1/conference/+"]
    await net.stop()


async def test_commands_that_are_off_are_not_even_subscribed(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = Net(clock, commands="off")
    monkeypatch.setattr(module.Connection, "open", quiet.open)
    quiet.start()
    await clock.advance(1)
    assert quiet.broker.trouble is None
    assert quiet.wires[0].subscribed == []
    await quiet.stop()


async def test_a_point_that_cannot_be_commanded_does_not_say_online(net: Net) -> None:
    net.subscribable = False
    net.start()
    await net.clock.advance(1)
    assert net.wires[0].sent == []
    assert net.wires[0].said_goodbye is False


async def test_each_failure_moves_on_to_the_next_broker(net: Net) -> None:
    net.failures = {"first": LineDown("no route"), "second": Refused("not authorized")}
    net.start()
    await net.clock.advance(60)
    assert net.hosts == ["first", "second", "third"]
    assert net.pauses_s == [1, 2]


async def test_a_stable_session_lost_comes_back_to_the_first_broker_after_the_spread(net: Net) -> None:
    net.failures["first"] = LineDown("no route")
    net.start()
    await net.clock.advance(STABLE_S + 10)
    del net.failures["first"]
    net.wires[0].end("Server shutting down")
    await net.clock.advance(121)
    assert net.hosts == ["first", "second", "first"]
    assert net.pauses_s[-1] > 120


async def advance(net: Net, seconds: float) -> None:
    """In steps: the look for the first broker is done in a thread of its own."""
    for _ in range(int(seconds // 60) + 1):
        await net.clock.advance(min(60, seconds))
        await asyncio.sleep(0.002)


async def test_a_line_that_fell_silent_is_tried_within_the_minute(net: Net) -> None:
    net.start()
    await net.clock.advance(STABLE_S + 10)
    net.wires[0].end("Keep alive timeout")
    await net.clock.advance(BACKOFF_CAP_LINE_S)
    assert net.hosts == ["first", "first"]
    assert net.broker.trouble is None


@pytest.mark.parametrize("dead_s", range(60, 600, 7))
async def test_a_dead_line_is_used_within_a_minute_of_its_repair_whenever_that_is(
    net: Net, dead_s: int
) -> None:
    """The longest attempts, the longest waits; one that was under way at the repair fails all the same."""
    net.attempt_s = 2 * CONNECT_TIMEOUT_S
    net.failures = dict.fromkeys(("first", "second", "third"), LineDown("no answer in time"))
    net.start()
    await net.clock.advance(dead_s)
    failing, net.failures = net.failures, {}
    under_way = net.clock.mono_s - net.tried[-1][0] < net.attempt_s
    if under_way:
        net.failures = failing
        await net.clock.advance(net.tried[-1][0] + net.attempt_s - net.clock.mono_s)
        net.failures = {}
    net.attempt_s = 0.0
    repaired_s = 1000.0 + dead_s
    while net.broker.trouble is not None:
        await net.clock.advance(0.5)
        assert net.clock.mono_s - repaired_s <= 60
    assert net.wires


async def test_the_first_broker_is_returned_to_once_it_can_be_reached(net: Net) -> None:
    net.failures["first"] = LineDown("no route")
    net.unreachable.add("first")
    net.start()
    await advance(net, 3 * 2 * RETURN_S)
    assert net.hosts == ["first", "second"]
    assert net.looked_for.count("first") >= 2
    del net.failures["first"]
    net.unreachable.clear()
    await advance(net, 2 * RETURN_S)
    assert net.hosts == ["first", "second", "first"]
    assert net.wires[0].said_goodbye is True  # nobody is lost: no Will
    assert net.broker.trouble is None
    await advance(net, 6 * RETURN_S)
    assert len(net.tried) == 3  # and stayed with
    net.wires[1].end("Server shutting down")
    await net.clock.advance(100)
    assert len(net.tried) == 3  # its own loss is a loss as any other


async def test_a_first_broker_that_answers_and_does_not_take_us_is_tried_ever_less_often(net: Net) -> None:
    net.failures["first"] = Refused("not authorized")
    net.start()
    await advance(net, 24 * 3600)
    returns = net.hosts[1:].count("first")
    assert 3 <= returns <= 6  # after 20 min, 40 min, 80 min ...
    assert set(net.hosts) == {"first", "second"}
    assert net.broker._return_s <= RETURN_CAP_S


async def test_since_when_follows_the_clock_as_it_is_set(net: Net) -> None:
    net.start()
    await net.clock.advance(30)
    before_s = net.broker.since_s
    net.clock.wall_s += 10 * 365 * 86_400
    assert net.broker.since_s == before_s + 10 * 365 * 86_400


async def test_a_broker_that_takes_and_then_kicks_is_neither_hammered_nor_stayed_with(net: Net) -> None:
    net.start()
    for _ in range(3):
        await net.clock.advance(10)
        net.wires[-1].end("session taken over")
    assert net.hosts == ["first", "second", "third"]
    assert net.pauses_s == [10 + 1, 9 + 2]  # what it lasted, and the backoff


async def test_a_link_that_comes_up_is_used_at_once(net: Net) -> None:
    net.failures = dict.fromkeys(("first", "second", "third"), LineDown("no route"))
    net.start()
    await net.clock.advance(200)
    tries = len(net.tried)
    net.failures.clear()
    net.broker.hurry()
    await settle()
    assert len(net.tried) == tries + 1
    assert net.broker.trouble is None


async def test_a_link_that_flaps_under_a_live_session_does_not_cost_the_spread_later(net: Net) -> None:
    net.start()
    await net.clock.advance(STABLE_S + 10)
    net.broker.hurry()
    net.wires[0].end("Server shutting down")
    await net.clock.advance(100)
    assert len(net.tried) == 1


async def test_the_nonce_is_new_at_each_connection_and_every_ten_minutes(net: Net) -> None:
    net.start()
    await net.clock.advance(PERIOD_S * 2 + 1)
    nonces = [document["nonce"] for topic, document in net.wires[0].sent if topic == "status"]
    net.wires[0].end("keep-alive")
    await net.clock.advance(121)
    nonces += [document["nonce"] for topic, document in net.wires[1].sent if topic == "status"]
    assert len(nonces) == len(set(nonces)) == 4
    assert net.broker.nonces.valid(nonces[-1])


async def test_an_orderly_stop_says_offline_and_goodbye(net: Net) -> None:
    net.start()
    await net.clock.advance(1)
    await net.broker.goodbye()
    await settle()
    assert net.wires[0].sent[-1][1]["status"] == "offline"
    assert net.wires[0].said_goodbye is True
    assert net.task is not None
    assert net.task.done()


async def test_an_agent_that_ends_unexpectedly_leaves_its_will_to_be_sent(net: Net) -> None:
    net.start()
    await net.clock.advance(1)
    await net.stop()
    assert net.wires[0].said_goodbye is False
    assert not net.wires[0].lost.cancelled()
