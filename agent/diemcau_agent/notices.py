"""What the fleet says to all (docs/wire.md): the list of keys, and the conferences. Retained, signed.

They come through the commands' inbox, so that nothing is judged by two lists at once. What is refused is one
counted event a minute. Nobody is answered: whoever publishes has it checked by the same code before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from . import files, topics
from .clock import Clock
from .commands.context import Tell
from .commands.outcome import Unanswerable
from .commands.refusals import Refusals
from .commands.signature import Verifier
from .conference import MAX_BYTES, Conference, ConferenceError, Conferences, read
from .keys import CONFERENCE, Keyring, KeysError

log = logging.getLogger(__name__)


class Notices:
    """``now()``: wall time, None where it is not known to be right. ``again()`` asks the broker for the
    conferences once more. ``changed()``: what people see of the room."""

    def __init__(
        self,
        keyring: Keyring,
        conferences: Conferences,
        verifier: Verifier | None,
        clock: Clock,
        tell: Tell,
        *,
        now: Callable[[], float | None],
        again: Callable[[], object],
        changed: Callable[[], None],
    ) -> None:
        self._keyring = keyring
        self._conferences = conferences
        self._verifier = verifier
        self._tell = tell
        self._now = now
        self._again = again
        self._changed = changed
        self._keys_refused = Refusals(clock, tell, "keys_refused")
        self._conference_refused = Refusals(clock, tell, "conference_refused")
        self._unknown = False
        """A conference came whose key no list has named so far."""
        self.listeners: list[Callable[[bytes], None]] = []
        """Called with each list of keys that was taken, as it came."""
        self.writing = False
        """The card is being written to, however long it takes."""

    async def receive(self, topic: str, payload: bytes) -> bool:
        """One message; False where it is none of ours. Returns once it is kept, or refused."""
        if topic == topics.KEYS_TOPIC:
            await self._take_keys(payload)
        elif (conference_id := topics.conference_id(topic)) is not None:
            await self._take_conference(conference_id, payload)
        else:
            return False
        return True

    async def aclose(self) -> None:
        """Tell what was counted so far."""
        await self._keys_refused.aclose()
        await self._conference_refused.aclose()

    async def _take_keys(self, payload: bytes) -> None:
        if not payload:  # cleared: the list that we have holds
            return
        kept = True
        try:
            if not await self._on_card(self._keyring.take, payload):
                return
        except KeysError as error:
            if self._keys_refused.count(error.code):
                log.warning("list of keys not taken: %s: %s", error.code, error)
            return
        except OSError as error:
            log.error("list of keys %d is in force, but not kept: %s", self._keyring.revision, error)
            kept = False
        log.info("list of keys %d, %d keys", self._keyring.revision, self._keyring.count)
        data = {"revision": self._keyring.revision, "count": self._keyring.count, "kept": kept}
        self._tell("keys", data=data)
        for listener in self.listeners:
            listener(payload)
        if self._unknown:
            self._unknown = False
            self._again()

    async def _take_conference(self, conference_id: str, payload: bytes) -> None:
        if not payload:  # an empty payload cancels nothing
            return
        try:
            conference = self._signed(conference_id, payload)
            if not self._conferences.take(conference, self._now()):
                return
        except (ConferenceError, Unanswerable) as error:
            self._unknown |= error.code == "unknown_key"
            if self._conference_refused.count(error.code):
                log.warning("conference %s not taken: %s: %s", conference_id[:32], error.code, error)
            return
        kept = True
        try:
            await self._on_card(files.replace, self._conferences.path, self._conferences.kept())
        except OSError as error:
            log.error("conference %s is in force, but not kept: %s", conference.id, error)
            kept = False
        log.info("conference %s, revision %d: %s", conference.id, conference.revision, conference.state)
        data = {
            "id": conference.id,
            "iss": conference.iss,
            "revision": conference.revision,
            "state": conference.state,
            "kept": kept,
        }
        self._tell("conference", data=data)
        self._changed()

    def _signed(self, conference_id: str, payload: bytes) -> Conference:
        """Raises Unanswerable, ConferenceError."""
        if self._verifier is None:
            raise Unanswerable("not_a_command", "commands are off")
        if len(payload) > MAX_BYTES:
            raise ConferenceError("too_large", f"got {len(payload)} bytes, expected at most {MAX_BYTES}")
        conference = read(self._verifier.open(payload))
        if not self._verifier.permits(conference.iss, CONFERENCE):
            raise ConferenceError("not_permitted", f"iss: got {conference.iss}, expected a fleet's operator")
        if conference.id != conference_id:
            raise ConferenceError("bad_args", f"id: got {conference.id}, but it came on {conference_id[:32]}")
        return conference

    async def _on_card(self, work: Callable[..., Any], *args: Any) -> Any:
        self.writing = True
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work, *args)
        finally:
            self.writing = False
