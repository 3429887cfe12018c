"""The settings of a simulated room, and TOML to hand them to the agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

Table = dict[str, Any]


def simulated(point: str) -> Table:
    """What a simulated room's settings are where nobody says otherwise: as a kit's, in shorter time."""
    return {
        "name": f"Simulated room {point}",
        "commands": "unsigned",
        "backends": "sim",
        "probe": {"period_s": 10.0, "presence_s": 2.0, "host_s": 5.0, "line_s": 5.0, "deadline_s": 4.0},
        "line": {"rest_s": 10.0, "survey_s": 10.0},
        "camera": {"presets": {"room": [1.0, 0.5, 0.5], "table": [1.8, 0.5, 0.65]}},
    }


def bound(
    point: str, broker_url: str, directory: Path, socket_path: Path, *, reflector: str | None = None
) -> Table:
    """What no file can change, since the room itself stands on it."""
    return {
        "point": point,
        "broker": {"urls": [broker_url]},
        **({} if reflector is None else {"line": {"reflector": reflector}}),
        "state_dir": str(directory / "state"),
        "runtime_dir": str(directory / "run"),
        "backend_options": {"socket": str(socket_path)},
    }


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """``over`` wins; tables are merged key by key."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = merged(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value))
        else:
            result[key] = value
    return result


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML 1.0 of plain data (text, numbers, booleans, lists, tables). Raises TypeError on anything else."""
    return "".join(f"{_value(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in cast("list[Any]", value)) + "]"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return "{" + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in pairs) + "}"
    raise TypeError(f"{value!r} has no TOML")
