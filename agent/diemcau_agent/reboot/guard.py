"""What may be asked of the process that restarts the machine, one JSON object a line, and its answers.

``{"do": "nonce"}`` -> ``{"ok": {"reboot_nonce"}}``; ``{"do": "keys", "list"}``: adopt a newer list of keys ->
``{"ok": {"revision"}}``; ``{"do": "reboot", "command"}`` -> ``{"ok": {"restarting": true}}``, and the machine
restarts. Or ``{"error": {"code", "detail"}}``: the codes of docs/wire.md, and ``bad_request``, ``bad_keys``,
``too_large``, ``internal``. Nothing is kept in memory: settings, keys and record are read anew for each
request, so whoever keeps the process busy keeps no older ones in force.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from diemcau_agent.clock import boot_id, kernel_clock_synced
from diemcau_agent.commands.outcome import CommandError, Refused
from diemcau_agent.commands.signature import Signed, verifier
from diemcau_agent.config import ConfigError, Settings
from diemcau_agent.keys import Keyring, KeysError

from .record import Record
from .rules import SPENT, Moment, decide

MAX_LINE_BYTES = 300 * 1024
"""A list of keys has 256 KiB at most."""

log = logging.getLogger(__name__)


class Nonce(Struct, frozen=True, tag_field="do", tag="nonce", forbid_unknown_fields=True):
    pass


class Keys(Struct, frozen=True, tag_field="do", tag="keys", forbid_unknown_fields=True):
    list: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


class Reboot(Struct, frozen=True, tag_field="do", tag="reboot", forbid_unknown_fields=True):
    command: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


Request = Nonce | Keys | Reboot


class NotOurs(Exception):
    """Settings that somebody else than root can write."""


def now() -> Moment:
    mono_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return Moment(boot_id(), mono_s, time.time(), kernel_clock_synced())


class Guard:
    """Stands between whoever asks and the restart. ``settings`` may raise ConfigError, OSError or NotOurs;
    ``restart`` orders it, and raises OSError where it cannot. ``uids``: who may ask."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        record: Record,
        uids: frozenset[int],
        restart: Callable[[], None],
        now: Callable[[], Moment] = now,
    ) -> None:
        self.uids = uids
        self._settings = settings
        self._record = record
        self._restart = restart
        self._now = now

    def answer(self, line: bytes) -> dict[str, Any]:
        """``{"ok": ...}`` or ``{"error": ...}``, whatever the line is."""
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return refusal("bad_request", f"{error}; expected do: nonce, keys (list) or reboot (command)")
        try:
            return {"ok": self._do(request)}
        except CommandError as error:
            log.warning("restart refused: %s", error)
            return refusal(error.code, error.detail)
        except KeysError as error:
            log.warning("list of keys not taken: %s", error)
            return refusal("bad_keys", str(error))
        except (ConfigError, NotOurs, OSError) as error:
            log.error("%s", error)
            return refusal("internal", str(error))

    def _do(self, request: Request) -> dict[str, Any]:
        at = self._now()
        match request:
            case Nonce():
                return {"reboot_nonce": self._record.nonce(at.boot)}
            case Keys(list=text):
                keyring = self._keyring(self._settings())
                keyring.take(text.encode())
                return {"revision": keyring.revision}
            case Reboot(command=command):
                self._reboot(command.encode(), at)
                return {"restarting": True}

    def _reboot(self, command: bytes, at: Moment) -> None:
        settings = self._settings()
        try:
            past = decide(
                command,
                point=settings.point,
                verifier=verifier(settings, lambda: self._signed(settings, at)),
                host_restart=settings.policy.host_restart,
                past=self._record.past(at),
                now=at,
                nonce=self._record.nonce(at.boot),
            )
        except Refused as error:
            if error.code in SPENT:
                self._record.renew_nonce(at.boot)
            raise
        # Both before the restart: where it fails, or the power goes, the command is used up all the same.
        self._record.keep(past)
        self._record.renew_nonce(at.boot)
        log.warning("the machine restarts: command %s", past.ids[-1])
        self._restart()

    def _signed(self, settings: Settings, at: Moment) -> Signed:
        return Signed(
            self._keyring(settings),
            settings.point,
            now=lambda: at.wall_s if at.synced else None,
            accepted=lambda: True,  # an installer's key will not do: see rules
        )

    def _keyring(self, settings: Settings) -> Keyring:
        keyring = Keyring(self._record.keys, settings.fleet_keys)
        keyring.load()
        return keyring


def refusal(code: str, detail: str) -> dict[str, Any]:
    return {"error": {"code": code, "detail": detail}}
