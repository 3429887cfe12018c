"""How a command ends.

::

    Done                    what a handler returns
    CommandError
    ├── Unanswerable        nobody can be answered: counted only
    ├── Refused             nothing was done, and why
    └── Failed              it was tried, and what came of it
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Refusal = Literal[
    "bad_nonce", "expired", "clock_unsynced", "wrong_audience", "not_permitted", "retained", "unknown_verb",
    "bad_args", "busy", "frozen", "too_often", "too_large",
]  # fmt: skip
"""docs/wire.md, Commands."""

Silent = Literal["bad_signature", "unknown_key", "malformed", "too_large", "not_a_command"]


class Done(msgspec.Struct, frozen=True):
    """``kept``: what the journal keeps in place of ``result``, where that is too large or too private."""

    result: Any
    kept: Any = None


class CommandError(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Unanswerable(CommandError):
    def __init__(self, code: Silent, detail: str = "") -> None:
        super().__init__(code, detail)


class Refused(CommandError):
    def __init__(self, code: Refusal, detail: str) -> None:
        super().__init__(code, detail)


class Failed(CommandError):
    """``code``: a code of the device, or ``interrupted``, ``internal``, ``deadline``, ``unsupported``."""
