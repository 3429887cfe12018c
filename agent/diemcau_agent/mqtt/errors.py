"""How a connection fails, or ends.

::

    ConnectionLost             the connection ended; whatever was not acknowledged is not delivered
    ConnectFailed
    ├── NotEnrolled            our certificate is not there yet
    ├── LineDown               no route, no name, no answer
    └── Refused                the broker answered, and said no (``reason``)
"""

from __future__ import annotations

from paho.mqtt.client import DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

CLOSED = "closed without a word"
NOT_LET_IN = "closed before CONNACK: over TLS, it may not take our certificate (none, revoked, run out)"
"""TLS 1.3 asks for it after the handshake, as we see it, and mosquitto closes without an alert."""
_UNSPECIFIED = 0x80
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


def ending(flags: DisconnectFlags, reason: ReasonCode) -> str:
    """Why it ended: where the broker did not say, paho calls it an unspecified error."""
    untold = not flags.is_disconnect_packet_from_server and reason.value == _UNSPECIFIED
    return CLOSED if untold else str(reason)
