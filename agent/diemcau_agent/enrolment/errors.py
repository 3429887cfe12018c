"""Why there is no new identity. Each is told in one line, and none changes the identity in force."""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "token_missing",  # none was given, and there is no other way in
    "token_unreadable",
    "token_refused",  # used already, run out, or of another kit
    "certificate_expired",  # ours: only a new token helps
    "certificate_refused",  # ours, by the server: revoked, say
    "name",  # the server's name is not known
    "unreachable",
    "server_certificate",  # not believed
    "clock",  # so wrong that no certificate can be judged, and not to be set here
    "not_approved",  # 202: the server wants to be asked again later
    "server",  # it says that it has failed
    "answer",  # not what RFC 7030 says
    "storage",
    "busy",  # another enrolment is under way
]


class EnrolError(Exception):
    """``detail``: what was found, in English, for whoever looks into it."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: Code = code
        self.detail = detail
