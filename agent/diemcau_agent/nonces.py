"""The point's own number used once, which ``status`` tells (docs/wire.md): what bears it was made for this
connection."""

from __future__ import annotations

import secrets

from .clock import Clock

PERIOD_S = 600.0
GRACE_S = 60.0


class Nonces:
    """128 random bits, new at each connection and every 10 minutes; the one before is good for 60 s more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before: tuple[str, float] | None = None
        self.current = ""
        self.renew()

    def renew(self) -> str:
        now = self._clock.monotonic()
        if self.current:
            self._before = (self.current, now + GRACE_S)
        self.current = secrets.token_hex(16)
        return self.current

    def valid(self, nonce: str | None) -> bool:
        if nonce is None:
            return False
        if secrets.compare_digest(nonce.encode(), self.current.encode()):
            return True
        return (
            self._before is not None
            and self._clock.monotonic() <= self._before[1]
            and secrets.compare_digest(nonce.encode(), self._before[0].encode())
        )
