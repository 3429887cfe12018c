"""What every document carries (docs/wire.md): who, which boot, session and connection, and when."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from .clock import Clock, rfc3339
from .model import SCHEMA_IDS, VALID_S, Document

JUMP_S = 60.0
"""What a clock that is synced never moves at once."""
DOUBT_S = 600.0


class Stamp:
    """Makes the common fields of a document, to be splatted into its struct.

    ``synced`` tells whether wall time is held to a reference; ``connection`` is renewed at each CONNECT.
    """

    def __init__(
        self, point: str, boot: str, session: int, clock: Clock, synced: Callable[[], bool] | None = None
    ) -> None:
        self.point = point
        self.boot = boot
        self.session = session
        self.connection = new_connection()
        self.clock = clock
        self._synced = synced or clock.synced
        self._offset_s: float | None = None
        """From monotonic to wall time, when the clock was last asked and synced."""
        self._doubted_until_s = float("-inf")

    @property
    def synced(self) -> bool:
        """Whether wall time can be believed. One that has jumped though it was synced is not for ten minutes:
        whoever moved it must not make an old command new."""
        if not self._synced():
            self._offset_s = None
            return False
        now_s = self.clock.monotonic()
        before_s, self._offset_s = self._offset_s, self.clock.wall() - now_s
        if before_s is not None and abs(self._offset_s - before_s) > JUMP_S:
            self._doubted_until_s = now_s + DOUBT_S
        return now_s >= self._doubted_until_s

    def fields(self, document: type[Document]) -> dict[str, Any]:
        """The fields of :class:`.model.Document` (and ``valid_s`` where the document has one), as of now."""
        fields: dict[str, Any] = {
            "schema": SCHEMA_IDS[document],
            "point": self.point,
            "boot": self.boot,
            "session": self.session,
            "connection": self.connection,
            "time": rfc3339(self.clock.wall()),
            "clock": "synced" if self.synced else "unsynced",
            "mono_ms": int(self.clock.monotonic() * 1000),
        }
        if document in VALID_S:
            fields["valid_s"] = VALID_S[document]
        return fields


def new_connection() -> str:
    return secrets.token_hex(8)
