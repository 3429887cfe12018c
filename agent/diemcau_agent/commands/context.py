"""What the commands need of the rest of the agent: wired by the composition root, scripted in tests."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from diemcau_agent.clock import Clock
from diemcau_agent.config import Settings
from diemcau_agent.model import Document, Judged, Scope, Selftest, Trigger
from diemcau_agent.spool import Spool
from diemcau_agent.update.ending import Ending
from diemcau_agent.worker import Ask

from .remote import RemoteSettings


class Stamp(Protocol):
    """:class:`diemcau_agent.stamp.Stamp`."""

    boot: str
    session: int

    @property
    def synced(self) -> bool: ...
    def fields(self, document: type[Document]) -> dict[str, Any]: ...


class Workers(Protocol):
    """:class:`diemcau_agent.worker.Workers`. ``restart`` raises DeviceError and is bounded."""

    async def restart(self, process: str) -> int: ...
    def pid(self, process: str) -> int | None: ...


class Tell(Protocol):
    """:meth:`diemcau_agent.outbox.Outbox.tell`: an event, kept in order; never blocks."""

    def __call__(
        self,
        kind: str,
        *,
        device: str | None = None,
        code: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None: ...


class Updates(Protocol):
    """:class:`diemcau_agent.update.client.UpdateClient`."""

    async def fetch(self, url: str, version: str, sha256: str) -> bytes:
        """Download it; the release as it came. Raises Refused, Failed."""
        ...

    async def install(self, command: bytes, release: bytes) -> None:
        """Hand over what was fetched; returns once it is about to be installed. Raises Refused, Failed."""
        ...

    async def outcome(self, command_id: str) -> Ending | None:
        """None: not known yet."""
        ...

    def discard(self) -> None:
        """What was fetched is not needed any more."""
        ...


class Context(msgspec.Struct, frozen=True):
    settings: Callable[[], Settings]
    """Those in force now."""
    clock: Clock
    stamp: Stamp
    started_s: float
    """``clock.monotonic()`` when this session of the agent began."""
    spool: Spool
    workers: Workers
    ask: Ask
    """Have a device's process do something (``monitor.ask``)."""
    look: Callable[[str], Awaitable[None]]
    """Probe a process's devices now and judge them (``monitor.look``)."""
    judged: Callable[[], Mapping[str, Judged]]
    """The judged state of every part (``book.judged``)."""
    selftest: Callable[[Scope, Trigger, Callable[[Any], None]], Awaitable[Selftest]]
    """Run it, and return the report as published. Raises contract.Busy while one runs already."""
    identify: Callable[[float], Awaitable[None]]
    """Begin to call out "here" with lights and screen for so many seconds; returns once it has begun."""
    restart_agent: Callable[[], None]
    """Begin an orderly stop with exit code 75. Returns at once; the stop closes the dispatcher."""
    publish_reply: Callable[[str, bytes], Awaitable[object]]
    """(iss, payload): to ``reply/{iss}``. Replies are begun in their order; where there is no connection
    the reply is dropped, since its answer is in the journal and the id may be sent again."""
    publish: Callable[[str, bytes], Awaitable[bool]]
    """(stream, payload): a document of the spool once more. False where there is no connection to take it."""
    event: Tell
    settle: Callable[[float], Awaitable[None]]
    """Wait until every event told so far is committed, at most so many seconds."""
    note: Callable[[str, Mapping[str, Any]], None]
    """(kind, data): an entry of the audit; never blocks."""
    noted: Callable[[float], Awaitable[bool]]
    """Wait until the audit is on the card, at most so many seconds; whether it is."""
    picture_told: Callable[[], AbstractAsyncContextManager[bool]]
    """While in it, light and screen tell that a picture of the room is taken; whether either does."""
    journal_lines: Callable[[str | None, int], Awaitable[Sequence[str]]]
    """(unit or None for the agent's own, how many): the newest lines, oldest of them first. Raises
    OSError where the system's journal cannot be read."""
    nonce_valid: Callable[[str | None], bool]
    conference_on: Callable[[], bool]
    """A conference is on, whether it freezes the room or not."""
    frozen: Callable[[], bool]
    """A conference wants this room left alone now."""
    remote: RemoteSettings
    adopt: Callable[[Settings], frozenset[str]]
    """Take changed settings into force; the dotted names of those that a running agent could take.
    The others come with its next start."""
    restart_host: Callable[[bytes], Awaitable[None]] | None = None
    """(the command as it came): have it restart the machine; returns once it does. Raises Refused or Failed.
    None: this kit has nothing that may restart it."""
    rehearse: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
    """(seconds, rate_pps, size_bytes, dscp): the line's record. None: no reflector is configured."""
    update: Updates | None = None
    """Install another version, or the old one back. None: this kit holds no release key."""
    uniform: Callable[[float, float], float] = random.uniform
