"""What every document carries (docs/wire.md): who, which boot, session and connection, and when."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from .clock import Clock, rfc3339
from .model import SCHEMA_IDS, VALID_S, Document


class Stamp:
    """Makes the common fields of a document, to be splatted into its struct.

    ``synced`` tells whether wall time can be believed; ``connection`` is renewed at each CONNECT.
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

    @property
    def synced(self) -> bool:
        return self._synced()

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
