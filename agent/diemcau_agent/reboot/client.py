"""The daemon's side: it hands on what it got, and tells the nonce. It has no right to restart the machine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from diemcau_agent.clock import Clock, wait
from diemcau_agent.commands.outcome import Failed
from diemcau_agent.config import Settings
from diemcau_agent.privileged.client import Absent, NotDone, as_the_commands_end, ask, hand_on

SOCKET = Path("/run/diemcau-reboot.sock")
"""diemcau-reboot.socket."""
AGAIN_S = 600.0

log = logging.getLogger(__name__)


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
                answer = await ask(self._socket, {"do": "nonce"})
                nonce = str(answer["reboot_nonce"])
            except (Absent, NotDone, KeyError) as error:
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
            await ask(self._socket, {"do": "reboot", "command": command.decode(errors="replace")})
        except Absent as error:
            raise Failed("unsupported", f"nothing on this kit may restart the host: {error}") from None
        except NotDone as refused:
            as_the_commands_end("the reboot helper", refused.error)
        finally:
            self._again.set()

    async def _hand_on(self, keys: bytes) -> None:
        try:
            await hand_on(self._socket, keys)
        except NotDone as error:
            log.warning("the reboot helper does not take the list of keys: %s", error)
        except Absent:
            self._keys = self._keys or keys
