"""Every topic name, in one place (docs/wire.md). Pure."""

from __future__ import annotations

import re

ROOT = "diemcau/v1"
ID_PATTERN = r"^[a-z0-9][a-z0-9-]{1,30}[a-z0-9]\Z"
"""Ended by ``\\Z``, as every pattern of ours: Python's ``$`` lets a newline follow."""
_ID = re.compile(ID_PATTERN)

RETAINED = ("birth", "status", "health", "selftest")
STREAMS = ("event", "telemetry")


def is_id(text: str) -> bool:
    """Whether ``text`` is a well-formed id of a point, a group or an operator's key."""
    return _ID.fullmatch(text) is not None


def point(point_id: str, document: str) -> str:
    """``diemcau/v1/point/{point}/{document}``."""
    return f"{ROOT}/point/{point_id}/{document}"


def reply(point_id: str, iss: str) -> str:
    return point(point_id, f"reply/{iss}")


def command_filters(point_id: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """What a point subscribes to for commands: its own, and each of its groups'."""
    return (
        f"{ROOT}/point/{point_id}/command/+",
        *(f"{ROOT}/group/{group}/command/+" for group in groups),
    )


CONFERENCE_FILTER = f"{ROOT}/conference/+"
KEYS_TOPIC = f"{ROOT}/fleet/keys"
NOTICE_FILTERS = (KEYS_TOPIC, CONFERENCE_FILTER)
"""What a point subscribes to besides; the keys first, with which the conferences are signed."""


def conference(conference_id: str) -> str:
    return f"{ROOT}/conference/{conference_id}"


def command_audience(topic: str) -> tuple[str, str] | None:
    """(audience, verb) of a command's topic, as ("point/xp-0417", "restart"); None where it is none."""
    parts = topic.split("/")
    if len(parts) != 6 or "/".join(parts[:2]) != ROOT or parts[4] != "command":
        return None
    if parts[2] not in ("point", "group"):
        return None
    return f"{parts[2]}/{parts[3]}", parts[5]


def conference_id(topic: str) -> str | None:
    """The id in ``diemcau/v1/conference/{id}``; None where it is no such topic."""
    before, _, last = topic.rpartition("/")
    return last if before == f"{ROOT}/conference" else None
