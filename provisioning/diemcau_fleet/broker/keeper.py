"""Keeps a broker's rules those of the registry: writes, reloads, throws out.

From a revocation to its end at the broker: at most the time between two looks, the reload (from here on
the ACL denies the id everything, also on a connection that is open, and the CRL a new one), and the taking
over of its session.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from .acl import MembersError
from .eviction import EvictionFailed
from .reload import Reload, ReloadFailed
from .rules import Change, RulesError, crl_serves, revoked_in, write
from .settings import CRL, Settings
from .source import SourceError, State


class Registered(Protocol):
    def look(self) -> State: ...
    def crl(self) -> bytes: ...


class Evicting(Protocol):
    def throw_out(self, identity: str) -> None: ...
    def clear(self, identity: str) -> None: ...


class Look(msgspec.Struct, frozen=True):
    """What a look did. ``running``: whether a broker was told; None where there was nothing to tell.
    ``cleared``: of ``thrown_out`` those whose retained documents are gone too; a member keeps his."""

    changed: frozenset[Change] = frozenset()
    running: bool | None = None
    thrown_out: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


class Keeper:
    """``eviction`` None: connections that are open stay so, deaf and mute."""

    def __init__(
        self,
        source: Registered,
        settings: Settings,
        reload: Reload,
        eviction: Evicting | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._settings = settings
        self._reload = reload
        self._eviction = eviction
        self._now = now
        self._listed = revoked_in(settings.out / CRL)
        """Serial numbers whose holders were thrown out, by an earlier life where they were listed before."""
        self._out: set[str] = set()
        self._due: OrderedDict[str, None] = OrderedDict()
        self._stale = True
        """The broker may not have read what is on the disk."""
        self._host_files = self._stamps()

    def look(self) -> Look:
        """Whatever fails is tried again by the next one."""
        troubles: list[str] = []
        changed: frozenset[Change] = frozenset()
        running: bool | None = None
        out: list[str] = []
        try:
            state = self._source.look()
            changed = self._write(state, troubles)
            self._note(state)
            if self._stale:
                running = self._reload()
                self._stale = False
            if running is False:
                self._stale = True  # it reads all when it starts; then whoever is due can be cleared
            else:
                self._throw_out(state, out)
        except (SourceError, RulesError, MembersError, ReloadFailed, EvictionFailed) as error:
            troubles.append(str(error))
        cleared = tuple(identity for identity in out if identity in self._out)
        return Look(changed, running, tuple(out), cleared, tuple(troubles))

    def _write(self, state: State, troubles: list[str]) -> frozenset[Change]:
        crl: bytes | None = None
        if not crl_serves(self._settings.out / CRL, state.revoked, datetime.fromtimestamp(self._now(), UTC)):
            try:
                crl = self._source.crl()
            except SourceError as error:
                if not (self._settings.out / CRL).exists():
                    raise
                troubles.append(str(error))  # without the authority's key the ACL has to do
        try:
            changed = frozenset(write(self._settings, state.members, ca=state.ca, crl=crl))
        except BaseException:
            self._stale = True  # some of it may be written, and will not differ next time
            raise
        stamps = self._stamps()
        self._stale |= bool(changed) or stamps != self._host_files
        self._host_files = stamps
        return changed

    def _note(self, state: State) -> None:
        """Whom to throw out: who is revoked; and who was and is a member again, for the old certificate's
        sake, but only once: that may end the new one's connection too."""
        revoked = set(state.members.revoked)
        fresh = {state.revoked[serial] for serial in state.revoked.keys() - self._listed}
        self._listed |= state.revoked.keys()
        self._out &= revoked
        for identity in sorted(revoked - self._out | fresh):
            self._due[identity] = None

    def _throw_out(self, state: State, out: list[str]) -> None:
        """Adds to ``out`` who is. One that fails goes to the end of the queue. Raises EvictionFailed."""
        revoked = set(state.members.revoked)
        while self._due and self._eviction is not None:
            identity, _ = self._due.popitem(last=False)
            try:
                self._eviction.throw_out(identity)
                if identity in revoked:
                    self._eviction.clear(identity)
            except (EvictionFailed, SourceError):
                self._due[identity] = None
                raise
            if identity in revoked:
                self._out.add(identity)
            out.append(identity)

    def _stamps(self) -> Mapping[Path, int]:
        """The host's certificate and key: renewed, they are read at a reload."""
        paths = (self._settings.host_cert, self._settings.host_key)
        return {path: path.stat().st_mtime_ns for path in paths if path.exists()}
