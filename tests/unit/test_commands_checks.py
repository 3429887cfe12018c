"""Every refusal of docs/wire.md has its code and no effect; what cannot be answered is counted only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_room import ISS, NONCE, POINT, Room, settings
from diemcau_agent.commands.claims import ANSWERABLE_BYTES, MAX_BYTES, Letter, claims, read
from diemcau_agent.commands.outcome import Refusal, Refused, Unanswerable
from diemcau_agent.commands.signature import Signed, Unsigned, verifier
from diemcau_agent.config import ConfigError
from diemcau_agent.keys import Keyring
from diemcau_agent.model import Claims
from fakeclock import FakeClock
from signing import public


def resend(spool: str, **changes: object) -> dict[str, object]:
    return {"spool": spool, "stream": "event", "from": 2, "to": 3, **changes}


TOPIC = f"diemcau/v1/point/{POINT}/command/ping"


def now(room: Room) -> int:
    return int(room.clock.wall())


@pytest.fixture
async def room(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Room]:
    room = await Room.open(tmp_path, clock)
    yield room
    await room.close()


async def not_of_the_role(room: Room) -> None:
    class Nobody(Unsigned):
        def permits(self, iss: str, verb: str) -> bool:
            return False

    room.rewire(Nobody())
    await room.send()


async def busy(room: Room) -> None:
    gate = asyncio.Event()

    async def wait(_: Any) -> dict[str, Any]:
        await gate.wait()
        return {}

    room.workers.answers["camera", "set"] = wait
    await room.send("camera", {"zoom": 2}, id="first-zoom")
    await room.send("camera", {"zoom": 3})
    await room.replied()
    gate.set()


async def frozen(room: Room) -> None:
    room.conference = True
    await room.send("restart", {"target": "camera"})


async def too_often(room: Room) -> None:
    for _ in range(3):
        await room.dispatcher._journal.note_restart("host", room.clock.wall())
    await room.send("restart", {"target": "host"})


async def unsynced(room: Room) -> None:
    room.clock.is_synced = False
    await room.send(aud="group/all", nonce=None)


Act = Callable[[Room], Awaitable[None]]
REFUSED: list[tuple[str, str, Act]] = [
    ("bad_nonce", "an old nonce", lambda room: room.send(nonce="old")),
    ("bad_nonce", "none", lambda room: room.send(nonce=None)),
    ("expired", "exp is past", lambda room: room.send(iat=now(room) - 90, exp=now(room))),
    ("expired", "exp 121 s after iat", lambda room: room.send(exp=now(room) + 121)),
    ("expired", "exp before iat", lambda room: room.send(exp=now(room) - 1)),
    ("expired", "iat far ahead", lambda room: room.send(iat=now(room) + 500, exp=now(room) + 560)),
    ("clock_unsynced", "a group's", unsynced),
    ("wrong_audience", "another point", lambda room: room.send(aud="point/xp-0001", topic=TOPIC)),
    (
        "wrong_audience",
        "a group not ours",
        lambda room: room.send(aud="group/district-8", topic=TOPIC),
    ),
    ("wrong_audience", "the topic's is another", lambda room: room.send(aud="group/all", topic=TOPIC)),
    ("wrong_audience", "the topic's verb is another", lambda room: room.send("identify", topic=TOPIC)),
    ("wrong_audience", "no command's topic", lambda room: room.send(topic="diemcau/v1/fleet/keys")),
    ("not_permitted", "role", not_of_the_role),
    ("not_permitted", "policy: camera on", lambda room: room.send("camera", {"power": True})),
    ("not_permitted", "policy: snapshot", lambda room: room.send("camera", {"snapshot": True})),
    ("not_permitted", "policy: unmute", lambda room: room.send("microphone", {"mute": False})),
    ("not_permitted", "to a group", lambda room: room.send("logs", aud="group/all", nonce=None)),
    (
        "not_permitted",
        "no release key",
        lambda room: room.send("update", {"version": "1.0", "url": "https://x/y", "sha256": "0" * 64}),
    ),
    ("retained", "", lambda room: room.send(retained=True)),
    ("unknown_verb", "no verb at all", lambda room: room.send("explode")),
    ("bad_args", "unknown key", lambda room: room.send(args={"volume": 3})),
    ("bad_args", "wrong type", lambda room: room.send("identify", {"seconds": "ten"})),
    ("bad_args", "out of range", lambda room: room.send("logs", {"lines": 2001})),
    ("bad_args", "missing", lambda room: room.send("restart")),
    ("bad_args", "nothing asked for", lambda room: room.send("display")),
    ("bad_args", "claims: unknown field", lambda room: room.send(more=1)),
    ("bad_args", "claims: exp is text", lambda room: room.send(exp="soon")),
    ("bad_args", "no spool's UUID", lambda room: room.send("resend", resend("x"))),
    ("bad_args", "no stream", lambda room: room.send("resend", resend(room.spool.uuid, stream="audit"))),
    ("bad_args", "from nothing", lambda room: room.send("resend", resend(room.spool.uuid, **{"from": 0}))),
    ("bad_args", "from behind to", lambda room: room.send("resend", resend(room.spool.uuid, to=1))),
    ("bad_args", "of another spool", lambda room: room.send("resend", resend(str(UUID(int=7))))),
    ("bad_args", "no unit's name", lambda room: room.send("logs", {"unit": "-f"})),
    (
        "bad_args",
        "not for afar",
        lambda room: room.send("config", {"set": {"point": "abc"}}),
    ),
    ("busy", "another command has the device", busy),
    ("frozen", "", frozen),
    ("too_often", "", too_often),
    ("too_large", "", lambda room: room.send(args={"x": "y" * MAX_BYTES})),
]


def test_the_table_has_every_code_of_the_wire() -> None:
    assert {code for code, _, _ in REFUSED} == set(get_args(Refusal))


@pytest.mark.parametrize(("code", "act"), [pytest.param(c, a, id=f"{c} {n}".strip()) for c, n, a in REFUSED])
async def test_a_refusal_is_answered_with_its_code_and_does_nothing(room: Room, code: str, act: Act) -> None:
    await act(room)
    await room.replied()
    refusals = [reply for reply in room.answers if reply.state == "refused"]
    assert [reply.code for reply in refusals] == [code]
    assert refusals[0].detail
    assert {iss for iss, _ in room.replies} == {ISS}
    await room.idle()
    assert room.restarted == room.identified == []
    assert all(asked == ("camera", "set", {"zoom": 2}) for asked in room.workers.asked)
    assert await room.dispatcher._journal.find(refusals[0].id) is None
    assert (await room.refused())[code] == 1


async def test_bad_args_name_the_field_what_came_and_what_was_expected(room: Room) -> None:
    reply = await room.order("identify", {"seconds": 999, "colour": 1})
    assert reply.detail is not None
    assert "args.seconds: got 999, expected a number >= 1 and <= 300" in reply.detail
    assert "args.colour: unknown key" in reply.detail


def raw(**changes: Any) -> bytes:
    return json.dumps({"id": "command-1", "iss": ISS, **changes}).encode()


UNANSWERABLE = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"id": "command-1", "iss": "operator-1", "verb": "\xff\xfe"}',
    "an array": b"[]",
    "a number": b"7",
    "nested for ever": b"[" * 8000,
    "nested args": b'{"id": "command-1", "iss": "operator-1", "args": {"a":'
    + b"[" * 8000
    + b"]" * 8000
    + b"}}",
    "huge number": b'{"id": "command-1", "iss": "operator-1", "iat": 1e999}',
    "no id": raw(id=None),
    "an id with a line end": raw(id="command-1\n"),
    "an iss that is no id": raw(iss="+/#"),
    "an iss with a line end": raw(iss="operator-1\n"),
    "an iss that is a topic": raw(iss="a/../b"),
    "lone surrogate": b'{"id": "command-1", "iss": "operator-1", "aud": "\\ud800x"}',
}


@pytest.mark.parametrize("payload", [pytest.param(value, id=key) for key, value in UNANSWERABLE.items()])
async def test_what_names_no_sender_is_counted_and_not_answered(room: Room, payload: bytes) -> None:
    await room.dispatcher.receive(TOPIC, payload, False)
    await room.replied()
    assert room.replies == []
    assert await room.refused() == {"malformed": 1}


async def test_a_bad_signature_is_counted_and_not_answered(room: Room) -> None:
    class Strict(Unsigned):
        def open(self, payload: bytes) -> bytes:
            raise Unanswerable("bad_signature")

    room.rewire(Strict())
    await room.send()
    assert room.replies == []
    assert await room.refused() == {"bad_signature": 1}


async def test_what_is_far_too_large_is_not_even_opened(room: Room) -> None:
    await room.send(args={"x": "y" * ANSWERABLE_BYTES})
    assert room.replies == []
    assert await room.refused() == {"too_large": 1}


async def test_sixteen_kibibytes_are_enough_and_one_more_is_not(room: Room) -> None:
    payload = json.dumps(room.claims()).encode()
    await room.dispatcher.receive(TOPIC, payload + b" " * (MAX_BYTES - len(payload)), False)
    await room.idle()
    assert room.last.state == "done"
    await room.dispatcher.receive(TOPIC, payload + b" " * (MAX_BYTES + 1 - len(payload)), False)
    await room.idle()
    assert room.last.code == "too_large"


async def test_refusals_are_one_counted_event_a_minute(room: Room) -> None:
    for number in range(500):
        await room.send(nonce="old", id=f"command-{number:04}")
    await room.dispatcher.receive(TOPIC, b"{", False)
    await room.refused()
    (event,) = [event for event in room.events if event["kind"] == "command_refused"]
    assert event["data"] == {"window_s": 60, "counts": {"bad_nonce": 500, "malformed": 1}}
    await room.clock.advance(600)
    assert len([event for event in room.events if event["kind"] == "command_refused"]) == 1


async def test_a_flood_of_refusals_fills_no_memory(room: Room) -> None:
    never = asyncio.Event()

    async def hang(iss: str, payload: bytes) -> None:
        await never.wait()

    room.rewire(publish_reply=hang)
    for number in range(300):
        await room.send(nonce="old", id=f"command-{number:04}")
    assert len(room.dispatcher._replies._sending) == 64
    never.set()


async def test_an_orderly_stop_tells_what_was_counted(room: Room) -> None:
    await room.send(nonce="old")
    await room.dispatcher.aclose()
    assert [event["data"]["counts"] for event in room.events] == [{"bad_nonce": 1}]


async def test_expiry_needs_a_clock_but_a_commands_lifetime_does_not(room: Room) -> None:
    room.clock.is_synced = False
    now = int(room.clock.wall())
    assert (await room.order("ping", iat=now - 9_000, exp=now - 8_900)).state == "done"
    assert (await room.order("ping", id="command-2", iat=0, exp=9_000)).code == "expired"


async def test_commands_that_are_off_are_counted_and_nothing_more(room: Room) -> None:
    room.dispatcher._checks._verifier = None
    await room.send()
    assert room.replies == []
    assert await room.refused() == {"not_a_command": 1}


def test_only_a_simulated_room_believes_unsigned_commands() -> None:
    def signed() -> Signed:
        return Signed(Keyring(Path("keys.json"), ()), POINT, lambda: None, lambda: False)

    assert isinstance(verifier(settings(), signed), Unsigned)
    assert verifier(settings(commands="off"), signed) is None
    assert isinstance(verifier(settings(commands="signed", fleet_keys=[public("fleet-1")]), signed), Signed)
    with pytest.raises(ConfigError, match="unsigned commands are for simulation only"):
        settings(backends={"camera": "v4l2"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("command-1") | JSON,
        "aud": st.just(f"point/{POINT}") | JSON,
        "verb": st.just("ping") | JSON,
        "iss": st.just(ISS) | JSON,
        "iat": st.integers() | JSON,
        "exp": st.integers() | JSON,
        "args": st.dictionaries(st.text(), JSON) | JSON,
        "nonce": st.just(NONCE) | JSON,
        "more": JSON,
    },
)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.too_slow])  # by a machine that is busy
@given(st.binary(max_size=400) | CLAIMS.map(lambda data: json.dumps(data).encode()))
def test_nothing_from_the_wire_raises_anything_but_our_own(payload: bytes) -> None:
    try:
        letter = read(payload)
    except Unanswerable:
        return
    assert isinstance(letter, Letter)
    try:
        assert isinstance(claims(letter), Claims)
    except Refused as error:
        refusal = error
    else:
        return
    assert refusal.code == "bad_args"
    assert refusal.detail
