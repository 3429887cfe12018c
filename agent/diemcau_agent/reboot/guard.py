"""What may be asked of the process that restarts the machine, one JSON object a line, and its answers.

``{"do": "nonce"}`` -> ``{"ok": {"reboot_nonce"}}``; ``{"do": "keys", "list"}``: adopt a newer list of keys ->
``{"ok": {"revision"}}``; ``{"do": "reboot", "command"}`` -> ``{"ok": {"restarting": true}}``, and the machine
restarts. Or ``{"error": {"code", "detail"}}``: the codes of docs/wire.md, and ``bad_request``, ``bad_keys``,
``too_large``, ``internal``. Nothing is kept in memory: settings, keys and record are read anew for each
request, so whoever keeps the process busy keeps no older ones in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from diemcau_agent.commands.outcome import CommandError, Refused
from diemcau_agent.config import ConfigError, Settings
from diemcau_agent.keys import KeysError
from diemcau_agent.privileged.authority import believed, keyring
from diemcau_agent.privileged.moment import Moment, now
from diemcau_agent.privileged.serve import MAX_LINE_BYTES, NotOurs, refusal

from .record import Record
from .rules import SPENT, decide

log = logging.getLogger(__name__)


class Nonce(Struct, frozen=True, tag_field="do", tag="nonce", forbid_unknown_fields=True):
    pass


class Keys(Struct, frozen=True, tag_field="do", tag="keys", forbid_unknown_fields=True):
    list: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


class Reboot(Struct, frozen=True, tag_field="do", tag="reboot", forbid_unknown_fields=True):
    command: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


Request = Nonce | Keys | Reboot


class Guard:
    """Stands between whoever asks and the restart. ``settings`` may raise ConfigError, OSError or NotOurs;
    ``restart`` orders it, and raises OSError where it cannot. ``uids``: who may ask."""

    last = "restarting"

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

    def answer(self, line: bytes, file: int | None = None) -> dict[str, Any]:
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
                kept = keyring(self._record.keys, self._settings())
                kept.take(text.encode())
                return {"revision": kept.revision}
            case Reboot(command=command):
                self._reboot(command.encode(), at)
                return {"restarting": True}

    def _reboot(self, command: bytes, at: Moment) -> None:
        settings = self._settings()
        try:
            past = decide(
                command,
                point=settings.point,
                verifier=believed(self._record.keys, settings, at),
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
