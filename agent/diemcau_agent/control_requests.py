"""What can be asked on the control socket. Pure.

=============================================  =====================================================
request                                        answer, one a line
=============================================  =====================================================
``{"do": "status"}``                           ``{"ok": status}``
``{"do": "watch"}``                            ``{"status": status}`` now and on every change, until
                                               the client leaves; a slow one misses what is no longer new
``{"do": "selftest", "scope", "trigger"}``     ``{"progress": {...}}`` ..., then ``{"ok": report}``
``{"do": "cancel"}``                           ``{"ok": {"cancelled": bool}}``
``{"do": "press", "hold_s": 0}``               ``{"ok": {"pressed": true, "hold_s"}}``
``{"do": "baseline"}``                         ``{"ok": baseline}``
``{"do": "line"}``                             ``{"ok": line}``: its records, its path, the last 24 hours
=============================================  =====================================================
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .model import Scope, Trigger

MAX_REQUEST_BYTES = 4096
EXPECTED = (
    '{"do": "status" | "watch" | "cancel" | "baseline" | "line"}, '
    '{"do": "selftest", "scope": "quick" | "full", "trigger": "command" | "page"}, '
    'or {"do": "press", "hold_s": 0 to 60}'
)


class BadRequest(Exception):
    """A line that is no request; ``got`` is its beginning."""

    def __init__(self, detail: str, got: str) -> None:
        super().__init__(detail)
        self.got = got


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag=str.lower):
    pass


class Status(_Request, frozen=True):
    pass


class Watch(_Request, frozen=True):
    pass


class Cancel(_Request, frozen=True):
    pass


class Baseline(_Request, frozen=True):
    pass


class Line(_Request, frozen=True):
    pass


class Selftest(_Request, frozen=True):
    scope: Scope = "full"
    trigger: Trigger = "command"


class Press(_Request, frozen=True):
    hold_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0


Request = Status | Watch | Cancel | Baseline | Line | Selftest | Press
_DECODER: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def parse(line: bytes) -> Request:
    """The request in one line. Raises BadRequest for everything else."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error), line.decode("utf-8", "replace").strip()[:120]) from error
