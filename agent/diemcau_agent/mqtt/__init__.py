"""One MQTT 5 connection on the daemon's own loop: paho-mqtt without a thread of its own.

One client object a connection, thrown away with its queue: paho resends its queue after
``on_connect``, so an old retained ``status`` would overwrite the new one. The spool is the only queue.
"""

from .client import PACKET_LIMIT_BYTES
from .connection import RECEIVE_MAXIMUM, Connection, Message, Will
from .errors import ConnectFailed, ConnectionLost, LineDown, NotEnrolled, Refused

__all__ = [
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
]
