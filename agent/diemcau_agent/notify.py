"""sd_notify(3): READY, STATUS, STOPPING and the watchdog's food (when it is given: :mod:`.liveness`)."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Speaks to the service manager named by NOTIFY_SOCKET; silent where there is none."""

    def __init__(self, address: str | None = None) -> None:
        address = os.environ.get("NOTIFY_SOCKET") if address is None else address
        # A leading @ names Linux's abstract namespace.
        self._address = address.replace("@", "\0", 1) if address and address[0] == "@" else address or ""

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    @property
    def watchdog_s(self) -> float | None:
        """WATCHDOG_USEC in seconds, None where no watchdog waits for us."""
        text = os.environ.get("WATCHDOG_USEC", "")
        return int(text) / 1e6 if text.isdigit() else None

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError:
            pass  # the manager is gone or its queue full; it asks again by the watchdog
