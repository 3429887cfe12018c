"""How the room is, as its agent says, and whether it is as well as before. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from diemcau_agent.model import STATES, Birth, Health


class Part(Struct, frozen=True):
    state: str
    code: str | None
    looked_at: bool


class Look(Struct, frozen=True):
    """``parts``: the devices that this room should have, and ``host``."""

    version: str
    session: int
    online: bool
    parts: dict[str, Part]
    conference: bool = False
    """Whether one is on."""


class _Connection(Struct, frozen=True):
    state: str


class _Conference(Struct, frozen=True):
    on: bool


class _Status(Struct, frozen=True):
    birth: Birth
    health: Health | None
    connection: _Connection
    conference: _Conference | None = None


def of_status(status: Mapping[str, Any]) -> Look | None:
    """From what ``status`` of the control socket answers; None where that is not understood."""
    try:
        told = msgspec.convert(status, _Status)
    except msgspec.ValidationError:
        return None
    parts = dict[str, Part]()
    if told.health is not None:
        expected = {name for name, device in told.birth.devices.items() if device.expected}
        judged = {name: part for name, part in told.health.devices.items() if name in expected}
        parts = {
            name: Part(part.state, part.code, part.checked is not None)
            for name, part in (judged | {"host": told.health.host}).items()
        }
    software, online = told.birth.software, told.connection.state == "online"
    conference = told.conference is not None and told.conference.on
    return Look(software.version, told.birth.session, online, parts, conference)


def unwell(now: Look | None, version: str, before: Look | None) -> str | None:
    """Why the room is not as well as ``before`` with ``version``; None: it is. ``before`` None: nobody knows
    how it was, then it is enough that everything was looked at."""
    if now is None:
        return "the agent is not READY"
    if now.version != version:
        return f"the agent is of version {now.version}, expected {version}"
    if not now.parts:
        return "the agent has not looked at the room yet"
    if before is not None and before.online and not now.online:
        return "the broker is not reached any more"
    for name, part in now.parts.items():
        if not part.looked_at:
            return f"{name}: not looked at yet"
        was = None if before is None else before.parts.get(name)
        if was is None or not _worse(part.state, was.state):
            continue
        if name != "host" or part.state == "failed":  # to be installed makes it busy
            return f"{name}: {part.state} {part.code or ''}".rstrip() + f", was {was.state} before"
    return None


def _worse(state: str, before: str) -> bool:
    rank: dict[str, int] = {name: place for place, name in enumerate(STATES)}
    return rank.get(state, -1) < rank.get(before, -1)
