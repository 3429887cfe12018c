"""Any conference, unsigned and under an operator's true signature: in the book of conferences, or refused."""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from command_room import POINT
from diemcau_agent import jws
from diemcau_agent.commands.signature import Signed
from diemcau_agent.conference import Conferences
from diemcau_agent.keys import Keyring
from diemcau_agent.notices import Notices
from fakeclock import FakeClock
from signing import key_list, public, seed, signed
from stage import KEYS, OPERATOR

CONFERENCE = {
    "schema": "diemcau.conference/1", "id": "hop-1", "iss": OPERATOR, "revision": 1, "start": 1_795_332_600,
    "end": 1_795_336_200, "groups": ["all"], "thresholds": {},
    "freeze": {"before_s": 600},
}  # fmt: skip


def silent(kind: str, **_: Any) -> None:
    pass


@cache
def desk() -> tuple[asyncio.Runner, Notices, Conferences, FakeClock]:
    folder, clock = Path(tempfile.mkdtemp()), FakeClock()
    atexit.register(shutil.rmtree, folder)
    keyring = Keyring(folder / "keys.json", [public("fleet-1")])
    keyring.take(key_list(*KEYS, revision=2**53))
    book = Conferences(folder / "conferences.json", lambda: ("all",), keyring.revoked)
    signed_by = Signed(keyring, POINT, clock.wall, lambda: True)
    notices = Notices(
        keyring, book, signed_by, clock, silent,
        now=clock.wall, again=lambda: None, changed=lambda: None,
    )  # fmt: skip
    runner = asyncio.Runner()
    atexit.register(runner.close)  # a minute of refusals is always being counted
    return runner, notices, book, clock


def seeds() -> list[bytes]:
    more: tuple[dict[str, Any], ...] = (
        {},
        {"state": "cancelled", "revision": 2},
        {"freeze": None, "listen_only": ["xa"]},
        {"end": 2**37},
    )
    return [
        b"\0" + signed(CONFERENCE, OPERATOR),
        *(b"\1" + json.dumps(CONFERENCE | each).encode() for each in more),
    ]


def fuzz(data: bytes) -> None:
    runner, notices, book, clock = desk()
    payload = data[1:] if data[:1] != b"\1" else jws.sign(data[1:], seed(OPERATOR))
    said: object = None
    try:
        said = json.loads(data[1:]).get("id")
    except (ValueError, AttributeError, RecursionError):
        pass
    name = said if isinstance(said, str) and "/" not in said else "hop-1"
    runner.run(notices.receive(f"diemcau/v1/conference/{name}", payload))
    runner.run(notices.receive("diemcau/v1/fleet/keys", payload))
    for now_s in (clock.wall(), 0.0, 2.0**37):
        book.on(now_s)
        book.frozen(now_s)
        book.summary(now_s)
    json.loads(book.kept())
    book.__init__(book.path, lambda: ("all",), book._revoked)  # an empty book for the next
