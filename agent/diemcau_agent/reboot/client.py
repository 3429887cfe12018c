"""The daemon's side: it hands on what it got, and tells the nonce. It has no right to restart the machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from diemcau_agent.clock import Clock, wait
from diemcau_agent.commands.outcome import Failed, Refusal, Refused
from diemcau_agent.config import Settings

SOCKET = Path("/run/diemcau-reboot.sock")
"""diemcau-reboot.socket."""
ANSWER_S = 30.0
"""Its process may have to start first; it orders the restart before it answers."""
AGAIN_S = 600.0
MAX_ANSWER_BYTES = 64 * 1024
REFUSALS = frozenset(get_args(Refusal))
_NOT_OURS = frozenset({"bad_signature", "unknown_key", "malformed"})
"""Its list of keys is another than the daemon's, or the daemon's word is not believed."""

log = logging.getLogger(__name__)


class _Absent(Exception):
    """There is nothing on this kit that may restart it, or it does not answer."""


class _Error(msgspec.Struct, frozen=True):
    code: str
    detail: str = ""


class _Refused(Exception):
    def __init__(self, error: _Error) -> None:
        super().__init__(f"{error.code}: {error.detail}")
        self.error = error


class _Answer(msgspec.Struct, frozen=True):
    ok: dict[str, Any] | None = None
    error: _Error | None = None


def reboot_client(settings: Settings, clock: Clock, changed: Callable[[], object]) -> RebootClient | None:
    """None where nothing may be asked of it, and in a simulated room that nobody can start again."""
    place = os.environ.get("DIEMCAU_REBOOT") if settings.simulated else str(SOCKET)
    if place is None or settings.commands == "off":
        return None
    return RebootClient(Path(place), clock, changed)


class RebootClient:
    """``changed()`` is called when :attr:`nonce` is another one. :meth:`run` asks for it: at the start, after
    each restart that was ordered, when the keys change, and again and again where nobody answers."""

    def __init__(self, socket: Path, clock: Clock, changed: Callable[[], object]) -> None:
        self._socket = socket
        self._clock = clock
        self._changed = changed
        self._keys: bytes = b""
        self._again = asyncio.Event()
        self.nonce: str | None = None
        """``reboot_nonce`` of ``status``; None where it is not known."""

    async def run(self) -> None:
        while True:
            self._again.clear()
            keys, self._keys = self._keys, b""
            if keys:
                await self._hand_on(keys)
            try:
                answer = await self._ask({"do": "nonce"})
                nonce = str(answer["reboot_nonce"])
            except (_Absent, _Refused, KeyError) as error:
                log.info("no restart of the host from afar: %s", error)
                nonce = None
            if nonce != self.nonce:
                self.nonce = nonce
                self._changed()
            known = nonce is not None and not self._keys
            await wait(self._clock, self._again, None if known else AGAIN_S)

    def offer_keys(self, text: bytes) -> None:
        """The newest list of keys, as it came; it is verified and kept over there once more."""
        self._keys = text
        self._again.set()

    async def restart(self, command: bytes) -> None:
        """Hand on the command as it came; returns once the machine restarts. Raises Refused, Failed."""
        try:
            await self._ask({"do": "reboot", "command": command.decode(errors="replace")})
        except _Absent as error:
            raise Failed("unsupported", f"nothing on this kit may restart the host: {error}") from None
        except _Refused as refused:
            error = refused.error
            if error.code in REFUSALS:
                raise Refused(cast("Refusal", error.code), f"the reboot helper: {error.detail}") from None
            if error.code in _NOT_OURS:
                raise Refused("not_permitted", f"the reboot helper: {error.code}: {error.detail}") from None
            raise Failed("internal", f"the reboot helper: {error.code}: {error.detail}") from None
        finally:
            self._again.set()

    async def _hand_on(self, keys: bytes) -> None:
        try:
            await self._ask({"do": "keys", "list": keys.decode(errors="replace")})
        except _Refused as error:
            log.warning("the reboot helper does not take the list of keys: %s", error)
        except _Absent:
            self._keys = self._keys or keys

    async def _ask(self, request: dict[str, str]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=MAX_ANSWER_BYTES)
                try:
                    writer.write(json.dumps(request).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except TimeoutError:
            raise _Absent(f"{self._socket}: no answer in {ANSWER_S:g} s") from None
        except (OSError, ValueError) as error:
            raise _Absent(f"{self._socket}: {error}") from None
        try:
            answer = msgspec.json.decode(line, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Absent(f"{self._socket}: {'no answer' if not line else error}") from None
        if answer.error is not None:
            raise _Refused(answer.error)
        return answer.ok or {}
