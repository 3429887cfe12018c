"""What must not be forgotten between two lives of the process: on the card what was obeyed, in memory
(/run, so that each boot has its own) the nonce."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

from diemcau_agent import files

from .rules import Moment, Past, full

log = logging.getLogger(__name__)


class _Nonce(Struct, frozen=True):
    boot: str
    nonce: str


class Record:
    """``state``, ``runtime``: folders that are root's alone. Everything may raise OSError."""

    def __init__(self, state: Path, runtime: Path) -> None:
        self.keys = state / "keys.json"
        self._past = state / "past.json"
        self._nonce = runtime / "nonce.json"

    def past(self, now: Moment) -> Past:
        """A file that cannot be read counts as three restarts just now, and is written down as that: it opens
        no door, and shuts it for a day only."""
        try:
            return msgspec.json.decode(self._past.read_bytes(), type=Past)
        except FileNotFoundError:
            return Past()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.error("%s: damaged (%s): no restart for a day", self._past, error)
            past = full(now)
            self.keep(past)
            return past

    def keep(self, past: Past) -> None:
        """On the card when this returns."""
        files.replace(self._past, msgspec.json.encode(past))

    def nonce(self, boot: str) -> str:
        """The present one; another where there is none of this boot."""
        try:
            kept = msgspec.json.decode(self._nonce.read_bytes(), type=_Nonce)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.renew_nonce(boot)
        return kept.nonce if kept.boot == boot else self.renew_nonce(boot)

    def renew_nonce(self, boot: str) -> str:
        """128 random bits; those before are used up."""
        fresh = _Nonce(boot, secrets.token_hex(16))
        files.replace(self._nonce, msgspec.json.encode(fresh))
        return fresh.nonce
