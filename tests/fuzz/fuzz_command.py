"""Any message on a command's topic, and any claims under an operator's or a viewer's true signature, through
the whole dispatcher to the journal and the scripted devices. The first byte chooses."""

from __future__ import annotations

import asyncio
import atexit
import tempfile
from functools import cache
from pathlib import Path

import msgspec

from command_room import POINT
from diemcau_agent import jws
from diemcau_agent.topics import is_id
from fakeclock import FakeClock
from signing import seed, signed
from stage import OPERATOR, ORDERS, VIEWER, Message, Stage


@cache
def room() -> tuple[asyncio.Runner, Stage]:
    runner, folder = asyncio.Runner(), tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    atexit.register(runner.close)  # before: a minute of refusals is always being counted
    stage = runner.run(Stage.open(Path(folder.name), FakeClock()))
    checks = stage.room.dispatcher._checks
    # Nobody moves this clock: a group's points, which spread themselves, all come first.
    checks._context = msgspec.structs.replace(checks._context, uniform=min)
    return runner, stage


def seeds() -> list[bytes]:
    claims = [
        {
            "id": f"seed-{verb}",
            "aud": aud,
            "verb": verb,
            "iss": iss,
            "iat": 1_795_332_600,
            "exp": 1_795_332_660,
        }
        | ({"nonce": "0123456789abcdef"} if aud == f"point/{POINT}" else {})
        | {"args": {**args, **more}}
        for verb, args in ORDERS
        for aud, iss, more in ((f"point/{POINT}", OPERATOR, {}), ("group/all", VIEWER, {"spread_s": 0.0}))
    ]
    texts = [msgspec.json.encode(each) for each in claims]
    other = (
        b'{"set":{"probe":{"period_s":300},"place":["a"]}}',
        b'{"volume_percent":1e300}',
        b'{"zoom":2,"snapshot":true}',
    )
    texts += [
        texts[0].replace(b"{}", each).replace(b"ping", verb)
        for each, verb in zip(other, (b"config", b"speaker", b"camera"), strict=True)
    ]
    return [
        b"\0" + signed(claims[0] | {"nonce": "old"}, OPERATOR),
        *(bytes([1 + 2 * (index % 2)]) + text for index, text in enumerate(texts)),
    ]


def fuzz(data: bytes) -> None:
    runner, stage = room()
    kind, payload = (data[0] & 3 if data else 0), data[1:]
    name = VIEWER if kind == 3 else OPERATOR
    if kind & 1:
        payload = jws.sign(payload, seed(name))
    verb, aud = _verb(payload if not kind & 1 else data[1:])
    code = runner.run(stage.deliver(Message(f"diemcau/v1/{aud}/command/{verb}", payload)))
    assert code != "ran" or kind & 1, "it ran, signed by nobody"
    assert all(times == 1 for times in stage.ran.values()), stage.ran
    if len(stage.ran) > 500:
        stage.ran.clear()
    stage.room.replies.clear()
    stage.room.events.clear()
    stage.room.workers.asked.clear()


class _Says(msgspec.Struct):
    verb: str = "ping"
    aud: str = f"point/{POINT}"


def _verb(text: bytes) -> tuple[str, str]:
    """The topic that fits, so that the address is not all that is looked at."""
    try:
        says = msgspec.json.decode(text, type=_Says)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "ping", f"point/{POINT}"
    return says.verb, says.aud if is_id(says.aud.rpartition("/")[2]) else f"point/{POINT}"
