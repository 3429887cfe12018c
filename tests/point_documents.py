"""Documents as a point would publish them, with whatever a test wants to be different."""

from __future__ import annotations

import json
from typing import Any

from diemcau_agent import topics
from diemcau_agent.clock import rfc3339

WALL_S = 1_795_332_600
SPOOL = "5b3f2f0e-5f0a-4a44-9d5a-0a7d3c1f2b11"
OTHER_SPOOL = "a9c0c7c4-2a44-4b43-8f0e-7a1de8d0a002"
MONO_S = 1000
"""The boot's monotonic clock at ``WALL_S``."""


def document(
    name: str, point: str = "xp-0417", /, *, mono_s: float = MONO_S, **changed: Any
) -> dict[str, Any]:
    """``name``: the topic below the point. A true clock, unless ``time`` and ``clock`` say otherwise."""
    extra: dict[str, dict[str, Any]] = {
        "birth": {"valid_s": 0, "commands": "unsigned"},
        "status": {"valid_s": 900, "status": "online", "nonce": "n1"},
        "health": {"valid_s": 180, "readiness": "ready"},
        "selftest": {"result": "passed"},
        "event": {"spool": SPOOL, "seq": 1, "kind": "device", "data": {}},
        "telemetry": {"spool": SPOOL, "seq": 1, "window_s": 60, "series": {}},
        "reply": {"id": "no-such-command", "verb": "resend", "state": "done"},
    }
    return {
        "schema": f"diemcau.{name}/1",
        "point": point,
        "boot": "boot-1",
        "session": 1,
        "connection": "c1",
        "time": rfc3339(WALL_S + mono_s - MONO_S),
        "clock": "synced",
        "mono_ms": int(mono_s * 1000),
        **extra[name],
        **changed,
    }


def message(name: str, point: str = "xp-0417", /, **changed: Any) -> tuple[str, bytes]:
    """(topic, payload)."""
    return topics.point(point, name), json.dumps(document(name, point, **changed)).encode()
