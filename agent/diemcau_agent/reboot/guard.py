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

from diemcau_agent.commands.outcome import Refused
from diemcau_agent.config import Settings
from diemcau_agent.privileged import guard
from diemcau_agent.privileged.authority import believed
from diemcau_agent.privileged.guard import MAX_LINE_BYTES
from diemcau_agent.privileged.moment import Moment, now

from .record import Record
from .rules import SPENT, decide

log = logging.getLogger(__name__)


class Nonce(Struct, frozen=True, tag_field="do", tag="nonce", forbid_unknown_fields=True):
    pass


class Reboot(Struct, frozen=True, tag_field="do", tag="reboot", forbid_unknown_fields=True):
    command: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


class Guard(guard.Guard):
    """``restart`` orders it, and raises OSError where it cannot."""

    requests = msgspec.json.Decoder(Nonce | guard.Keys | Reboot)
    expected = "nonce, keys (list) or reboot (command)"
    what = "restart"
    last = "restarting"

    def __init__(
        self,
        settings: Callable[[], Settings],
        record: Record,
        uids: frozenset[int],
        restart: Callable[[], None],
        now: Callable[[], Moment] = now,
    ) -> None:
        super().__init__(settings, record.keys, uids, now)
        self._record = record
        self._restart = restart

    def do(self, request: Nonce | Reboot, file: int | None) -> dict[str, Any]:
        at = self._now()
        match request:
            case Nonce():
                return {"reboot_nonce": self._record.nonce(at.boot)}
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
