"""A spool on its card: opened, mended, replaced. Everything here runs in the disk's thread.

What a work meets is mended, and the work, which has left no trace, is tried again: where there is no room,
what matters least is dropped; a damaged database is set aside and a new one, with another UUID, takes over
what can be read of it. What cannot be mended is the caller's: CardFailed, Full.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from diemcau_agent import database
from diemcau_agent.database import CardFailed, Corrupt, DatabaseError, Full, told

from .file import SpoolFile
from .inherited import SHARE, Estate
from .side import Identity, Side
from .store import Store
from .tables import Replaced

log = logging.getLogger(__name__)

T = TypeVar("T")

_MENDINGS = 64
"""How often one work is tried again; each time a little more room was made for it."""


class Card:
    def __init__(self, path: Path, max_bytes: int) -> None:
        self._pages = max_bytes // database.PAGE_BYTES
        self._file = SpoolFile(path, max_bytes)
        self._side = Side(path)
        self.store: Store | None = None
        self.failed = False
        """Whether the last work met a card that does not take it."""
        self.session = 0
        """The newest, be it on the card or not."""

    def open(self) -> None:
        """Or once more, after a failure. Raises Locked, Full, CardFailed."""
        self.close()  # all of it: what was mounted may be another file system by now
        self._side.read()
        self.session = max(self.session, self._side.identity.session)
        try:
            with told():
                store = Store(self._file.connect(), self._pages)
            for name, least in self._side.marked(store.uuid).items():
                if name in store.streams and store.streams[name].last < least:
                    raise Corrupt(f"its log lost its end: {name} had got to {least}")
            self.store = store
        except Corrupt as error:
            self._replace(str(error))
        else:
            self._compare(store)
        self.failed = False

    def run(self, work: Callable[[Store], T]) -> T:
        """Raises Full, CardFailed; DatabaseError against a constraint; what ``work`` itself raises."""
        replaced = False
        for _ in range(_MENDINGS):
            if self.store is None:
                raise CardFailed("the spool could not be opened yet")
            try:
                with told():
                    result = work(self.store)
            except Full:
                self._make_room(self.store)
            except Corrupt as error:
                if replaced:
                    raise CardFailed(f"a new spool is damaged too: {error}") from error
                replaced = True
                self._replace(str(error))
            except CardFailed:
                self.failed = True
                raise
            else:
                self.failed = False
                self._side.mark(self.store.uuid, self.store.streams)
                return result
        raise Full("no room could be made")

    def next_session(self) -> int:
        """One more than any that is known, and on the card. Raises Full, CardFailed."""

        def grow(store: Store) -> int:
            known = store.get("session")
            self.session = max(self.session, int(known or 0)) + 1
            store.put("session", str(self.session))
            return self.session

        session = self.run(grow)
        self._remember()
        return session

    def tend(self) -> None:
        """From time to time. Raises Full, CardFailed."""
        if self.failed and self.store is not None:
            with told():
                self._file.probe()  # where that fails, what is open can still be read
        if self.store is None or self.failed:
            self.open()
            return
        try:
            with told():
                self._file.read_on()
                self._file.refill_ballast()
        except Corrupt as error:
            self._replace(str(error))

    def close(self) -> None:
        self.store = None
        self._file.close()
        self._side.close()

    def _make_room(self, store: Store) -> None:
        with told():
            capped = self._file.capped()
        if capped:
            try:
                with told():
                    if store.make_room():
                        return
            except Full:
                capped = False  # dropping needs room in the log, and the card has none
        if capped:
            raise Full("nothing is left that could be dropped")
        with told():
            self._file.release_ballast()

    def _replace(self, why: str) -> None:
        log.error("%s is damaged and set aside: %s", self._file.path, why)
        self.store = None
        self.failed = True
        kept = self._file.set_aside()
        estate = self._estate(kept)
        before = self._side.identity.spool if estate is None else estate.spool
        self.session = max(self.session, 0 if estate is None else estate.session)
        values = {"session": str(self.session)}
        try:
            with told():
                store = Store(self._file.connect(), self._pages)
            for documents in (True, False):
                count = len(estate.documents) if estate is not None and documents else 0
                statements = () if estate is None else estate.statements(documents=documents)
                try:
                    with told():
                        store.settle(Replaced(before, "corrupt", kept.name, count), values, statements)
                    break
                except Full as error:
                    log.error("%s: no room for what is left of the one before: %s", self._file.path, error)
            else:
                with told():
                    store.settle(Replaced(before, "corrupt", kept.name), values, ())
            with told():
                self._file.merge()
        except Corrupt as error:
            raise CardFailed(f"a new spool is damaged too: {error}") from error
        self.store = store
        self.failed = False
        self._remember()

    def _estate(self, kept: Path) -> Estate | None:
        before = self._side.identity.spool
        try:
            with closing(database.look_into(kept)) as old:
                room = self._pages * database.PAGE_BYTES // SHARE
                return Estate(old, before, self._side.marked(before), room)
        except sqlite3.Error as error:
            log.error("%s: nothing of it can be read: %s", kept, error)
            return None

    def _compare(self, store: Store) -> None:
        """With what is known beside the file: another spool than the last time is told too."""
        before = self._side.identity.spool
        try:
            with told():
                if before not in (None, store.uuid):
                    store.settle(Replaced(before, "missing", None), {}, ())
                if self.session > int(store.get("session") or 0):
                    store.put("session", str(self.session))
                self._file.merge()
        except DatabaseError as error:
            log.error("%s: %s", self._file.path, error)
        self._remember()

    def _remember(self) -> None:
        if self.store is not None:
            self._side.remember(Identity(self.store.uuid, self.session))
