"""What must not be forgotten, in one file that a power cut leaves whole: what was obeyed, how far an update
has come, and how the last ones ended."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from diemcau_agent import files

from .ending import Ending
from .look import Look
from .release import Release
from .rules import KEEP_IDS, Past

KEEP_OUTCOMES = 8
Step = Literal["verified", "installing", "watching", "undoing"]
State = Literal["installed", "rolled_back", "not_installed", "broken"]

log = logging.getLogger(__name__)


class _Outcome(Struct, frozen=True):
    id: str
    ending: Ending


class Pending(Struct, frozen=True):
    """An update on its way. ``step``: what is being done; it is written down before it begins. ``before``:
    the version that is put back. ``look``: how the room was."""

    id: str
    release: Release
    before: str
    step: Step = "verified"
    look: Look | None = None
    reason: str = ""
    tries: int = 0


class _Kept(Struct, frozen=True):
    past: Past = Past()
    pending: Pending | None = None
    outcomes: tuple[_Outcome, ...] = ()


class Record:
    """``state``: a folder that is root's alone. Everything may raise OSError."""

    def __init__(self, state: Path) -> None:
        self.keys = state / "keys.json"
        self.new = state / "new.deb"
        """The package on its way; there only while something is pending."""
        self._path = state / "record.json"

    @property
    def past(self) -> Past:
        return self._kept().past

    @property
    def pending(self) -> Pending | None:
        return self._kept().pending

    def ending(self, command_id: str) -> Ending:
        outcomes = self._kept().outcomes
        return next((one.ending for one in outcomes if one.id == command_id), Ending("unknown"))

    def begin(self, pending: Pending) -> None:
        """From here on the command is used up."""
        kept = self._kept()
        past = msgspec.structs.replace(kept.past, ids=(*kept.past.ids, pending.id)[-KEEP_IDS:])
        self._keep(msgspec.structs.replace(kept, past=past, pending=pending))

    def step(self, pending: Pending) -> None:
        self._keep(msgspec.structs.replace(self._kept(), pending=pending))

    def end(self, pending: Pending, state: State, reason: str) -> None:
        kept, release = self._kept(), pending.release
        outcome = _Outcome(pending.id, Ending(state, pending.before, release.version, reason))
        past = kept.past
        if state == "installed":
            past = msgspec.structs.replace(past, serial=release.serial, sha256=release.sha256)
        self._keep(_Kept(past, None, (*kept.outcomes, outcome)[-KEEP_OUTCOMES:]))

    def _kept(self) -> _Kept:
        """A damaged file is as none. No older version comes in by that: dpkg knows what is installed."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.error("%s: damaged: %s", self._path, error)
            return _Kept()

    def _keep(self, kept: _Kept) -> None:
        """On the card when this returns."""
        files.replace(self._path, msgspec.json.encode(kept))
