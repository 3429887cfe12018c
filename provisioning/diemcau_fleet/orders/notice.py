"""``diemcau-fleet conference`` and ``publish``: what is said to all, signed, retained (docs/conference.md).

A conference is checked by the code that checks it on the kits, and more strictly: a name that no kit knows is
a mistake here. Exit codes: 0 done; 1 not; 2 a file that says something else.
"""

from __future__ import annotations

import sys
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from diemcau_agent import conference, jws, keys, topics
from diemcau_agent.address import Address, Tls
from diemcau_agent.exits import NOT, OK, USAGE
from diemcau_agent.explain import explain
from diemcau_agent.model import Conference, Keys, encode
from diemcau_agent.mqtt import ConnectFailed, ConnectionLost
from diemcau_fleet.session import Session

SCHEMA = "diemcau.conference/1"


class NoticeError(ValueError):
    """It is no notice that a kit would take, and why."""


class Link(msgspec.Struct, frozen=True):
    """``client_id``: the id in our certificate, where there is one."""

    address: Address
    tls: Tls
    client_id: str


def announce(path: Path, iss: str, seed: bytes, link: Link | None, *, cancelled: bool = False) -> int:
    """Sign the conference of a TOML file; print it, or publish it where there is a ``link``."""
    try:
        planned = plan(path.read_text(encoding="utf-8"), iss, cancelled=cancelled)
    except (OSError, UnicodeDecodeError, NoticeError) as error:
        return _wrong("conference", USAGE, f"{path}: {error}")
    text = jws.sign(encode(planned), seed)
    if link is None:
        print(text.decode())
        return OK
    return _deliver("conference", topics.conference(planned.id), text, link)


def publish(path: Path, link: Link) -> int:
    """Publish a signed notice, ``-`` for stdin, at the topic that its content names."""
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = text.strip()
        topic = topic_of(text)
    except (OSError, NoticeError) as error:
        return _wrong("publish", USAGE, f"{path}: {error}")
    return _deliver("publish", topic, text, link)


def plan(toml: str, iss: str, *, cancelled: bool = False) -> Conference:
    """The conference of a TOML file, whose times may be such of TOML. Raises NoticeError."""
    try:
        data: dict[str, Any] = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise NoticeError(f"not TOML: {error}") from None
    if data.setdefault("iss", iss) != iss:
        raise NoticeError(f"iss: got {data['iss']!r}, expected {iss!r}, whose key signs")
    data.setdefault("schema", SCHEMA)
    for name in ("start", "end"):
        if isinstance(moment := data.get(name), datetime):
            if moment.tzinfo is None:
                raise NoticeError(f"{name}: got {moment}, expected its offset too, such as +07:00")
            data[name] = int(moment.timestamp())
    if data.get("freeze") is False:  # TOML has no null
        data["freeze"] = None
    if cancelled:
        data["state"] = "cancelled"
    return _checked(data)


def topic_of(text: bytes) -> str:
    """Where a signed list of keys or conference belongs; its signature is for the kits to judge. Raises
    NoticeError."""
    try:
        data: Any = msgspec.json.decode(jws.parse(text).payload)
    except (jws.JwsError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoticeError(f"no signed notice: {error}") from None
    schema: Any = cast("dict[str, Any]", data).get("schema") if isinstance(data, dict) else None
    if schema == SCHEMA:
        if len(text) > conference.MAX_BYTES:
            raise NoticeError(f"got {len(text)} bytes, expected at most {conference.MAX_BYTES}")
        return topics.conference(_checked(data).id)
    if schema == "diemcau.keys/1":
        if len(text) > keys.MAX_BYTES:
            raise NoticeError(f"got {len(text)} bytes, expected at most {keys.MAX_BYTES}")
        if reasons := explain(Keys, data):
            raise NoticeError("; ".join(reasons))
        return topics.KEYS_TOPIC
    raise NoticeError(f"schema: got {schema!r}, expected diemcau.keys/1 or {SCHEMA}")


def _checked(data: Any) -> Conference:
    if reasons := explain(Conference, data):
        raise NoticeError("; ".join(reasons))
    try:
        return conference.check(data)
    except conference.ConferenceError as error:
        raise NoticeError(str(error)) from None


def _deliver(command: str, topic: str, text: bytes, link: Link) -> int:
    try:
        session = Session.open(link.address, client_id=link.client_id, tls=link.tls)
        try:
            session.deliver(topic, text, retain=True)
        finally:
            session.close()
    except (ConnectFailed, ConnectionLost) as error:
        return _wrong(command, NOT, str(error))
    except KeyboardInterrupt:
        return _wrong(command, NOT, "not known to be published")
    print(f"published at {topic}")
    return OK


def _wrong(command: str, code: int, what: str) -> int:
    print(f"diemcau-fleet {command}: {what}", file=sys.stderr)
    return code
