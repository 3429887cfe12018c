"""Who is on the other side of a Unix socket, as the kernel says (unix(7), SO_PEERCRED)."""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


def uid(connection: socket.socket) -> int:
    return _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )[1]
