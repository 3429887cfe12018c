"""What the world answers to a request: JSON values, and raw bytes for pictures and sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    values: Mapping[str, Any] = {}
    payload: bytes = b""
