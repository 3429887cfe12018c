"""One MQTT 5 connection on the daemon's own loop: paho-mqtt without a thread of its own.

One client object a connection, thrown away with its queue: paho resends its queue after
``on_connect``, so an old retained ``status`` would overwrite the new one. The spool is the only queue.
"""

from .client import PACKET_LIMIT_BYTES
from .connection import RECEIVE_MAXIMUM, Connection, Message, Will
from .errors import (
    CLOSED,
    NOT_LET_IN,
    ConnectFailed,
    ConnectionLost,
    LineDown,
    NotEnrolled,
    Refused,
    ending,
    silent,
)

__all__ = [
    "CLOSED",
    "NOT_LET_IN",
    "PACKET_LIMIT_BYTES",
    "RECEIVE_MAXIMUM",
    "ConnectFailed",
    "Connection",
    "ConnectionLost",
    "LineDown",
    "Message",
    "NotEnrolled",
    "Refused",
    "Will",
    "ending",
    "silent",
]
