"""One MQTT 5 connection on the daemon's own loop: paho-mqtt without a thread of its own.

One client object a connection, thrown away with its queue: paho resends its queue after
``on_connect``, so an old retained ``status`` would overwrite the new one. The spool is the only queue.
"""

from .connection import Connection, Message, Will
from .errors import ConnectFailed, ConnectionLost, LineDown, NotEnrolled, Refused

__all__ = [
    "ConnectFailed",
    "Connection",
    "ConnectionLost",
    "LineDown",
    "Message",
    "NotEnrolled",
    "Refused",
    "Will",
]
