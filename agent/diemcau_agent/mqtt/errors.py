"""How a connection fails, or ends.

::

    ConnectionLost             the connection ended; whatever was not acknowledged is not delivered
    ConnectFailed
    ├── NotEnrolled            our certificate is not there yet
    ├── LineDown               no route, no name, no answer
    └── Refused                the broker answered, and said no (``reason``)
"""

from __future__ import annotations

SILENT = (
    "keep alive", "timed out", "no answer", "unreachable", "no route", "not known", "name resolution",
)  # fmt: skip
"""What a connection's end says where nothing came from the other side. A close or a refusal did come."""


class ConnectionLost(Exception):
    pass


class ConnectFailed(Exception):
    pass


class NotEnrolled(ConnectFailed):
    pass


class LineDown(ConnectFailed):
    pass


class Refused(ConnectFailed):
    pass


def silent(reason: str) -> bool:
    """Whether a connection ended, or failed, because nothing came from the other side: the line's way."""
    return any(word in reason.lower() for word in SILENT)
