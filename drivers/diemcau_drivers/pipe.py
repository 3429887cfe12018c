"""JSON lines between the daemon and a device's process. Standard library only.

One message a line, UTF-8, at most :data:`MAX_LINE_BYTES`. Never pickle: a child that has been taken
over by bad input must not be able to run code in the daemon.

daemon -> child  ``{"id": 7, "do": "probe", "args": {...}}``
child -> daemon  ``{"id": 7, "ok": {...}}`` or ``{"id": 7, "error": {"kind", "detail", "in_use_by"}}``
child -> daemon  ``{"ready": {"process": "camera", "backend": "sim", "pid": 1234}}``, once, first
child -> daemon  ``{"event": "press", "data": {...}}``, unasked
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

MAX_LINE_BYTES = 512 * 1024
"""A snapshot of 200 KiB in base64 is 267 KiB; nothing else comes near."""


class FramingError(ValueError):
    """A line that is not one JSON object, or too long."""


def encode(message: dict[str, Any]) -> bytes:
    """One line. Non-finite numbers become null: JSON has none, and a silent microphone's log is -inf."""
    try:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    line = text.encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise FramingError(f"message of {len(line)} bytes, at most {MAX_LINE_BYTES}")
    return line


def decode(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise FramingError(f"line of {len(line)} bytes, at most {MAX_LINE_BYTES}")
    try:
        message = json.loads(line, parse_constant=_no_constant)
        if b"\\u" in line:  # half a surrogate pair, which nobody could encode again
            json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FramingError(f"not JSON: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise FramingError(f"not an object: {line[:80]!r}")
    return cast("dict[str, Any]", message)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[Any]", value)]
    return value
