"""Stands between whoever asks and what a process of root's does: a request is read, done and answered."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from diemcau_agent.commands.outcome import CommandError
from diemcau_agent.config import ConfigError, Settings
from diemcau_agent.keys import KeysError

from .authority import keyring
from .moment import Moment, now

MAX_LINE_BYTES = 300 * 1024
"""A list of keys has 256 KiB at most."""

log = logging.getLogger(__name__)


class NotOurs(Exception):
    """Settings that somebody else than root can write."""


class Keys(Struct, frozen=True, tag_field="do", tag="keys", forbid_unknown_fields=True):
    """Adopt a newer list of keys -> ``{"ok": {"revision"}}``."""

    list: Annotated[str, Meta(max_length=MAX_LINE_BYTES)]


class Guard(ABC):
    """``settings`` may raise ConfigError, OSError or NotOurs; ``keys``: where root's own list of keys is;
    ``uids``: who may ask."""

    requests: ClassVar[msgspec.json.Decoder[Any]]
    """Of a line: Keys among them."""
    expected: ClassVar[str]
    """The requests there are, for whoever sends another."""
    what: ClassVar[str]
    """That is refused, for the log."""
    last: ClassVar[str]
    """The word of an answer after which nothing is answered any more."""
    failures: ClassVar[tuple[type[Exception], ...]] = ()
    """What :meth:`do` raises besides, where it cannot."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        keys: Path,
        uids: frozenset[int],
        now: Callable[[], Moment] = now,
    ) -> None:
        self.uids = uids
        self._settings = settings
        self._keys = keys
        self._now = now

    @abstractmethod
    def do(self, request: Any, file: int | None) -> dict[str, Any]:
        """Of a request that is no list of keys. Raises CommandError, ConfigError, NotOurs, OSError and
        :attr:`failures`."""

    def answer(self, line: bytes, file: int | None = None) -> dict[str, Any]:
        """``{"ok": ...}`` or ``{"error": ...}``, whatever the line is. ``file``: the descriptor that came
        with it; closed when the connection ends."""
        try:
            request = self.requests.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return refusal("bad_request", f"{error}; expected do: {self.expected}")
        try:
            if isinstance(request, Keys):
                kept = keyring(self._keys, self._settings())
                kept.take(request.list.encode())
                return {"ok": {"revision": kept.revision}}
            return {"ok": self.do(request, file)}
        except CommandError as error:
            log.warning("%s refused: %s", self.what, error)
            return refusal(error.code, error.detail)
        except KeysError as error:
            log.warning("list of keys not taken: %s", error)
            return refusal("bad_keys", str(error))
        except (ConfigError, NotOurs, OSError, *self.failures) as error:
            log.error("%s", error)
            return refusal("internal", str(error))


def refusal(code: str, detail: str) -> dict[str, Any]:
    return {"error": {"code": code, "detail": detail}}
