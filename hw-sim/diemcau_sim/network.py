"""The line between the simulated room and its centre: TCP to the broker, and STAMP to a reflector such as the
centre runs, both through relays that obey the world's faults."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

from diemcau_fleet.reflector.reflect import Count, Reflector
from diemcau_fleet.reflector.serve import serve
from diemcau_fleet.reflector.sockets import Listen, Listener

from . import pi
from .chance import GilbertElliott, Impairment
from .impairment import ImpairedRelay
from .relay import Relay
from .world import World

STOP_S = 5.0
BURSTS = GilbertElliott(p=0.3, r=0.5)
"""Bursts of 2 packets on the average, three of eight of all: ten packets at rest hardly ever miss it."""


class Network:
    """``broker_port`` and ``reflector`` (for ``line.reflector``): where the room's agent finds them, once
    started. :meth:`follow` sets both lines as the world is now."""

    def __init__(self, world: World, broker_host: str, broker_port: int) -> None:
        self._world = world
        self._relay = Relay(broker_host, broker_port)
        self.broker_port = 0
        self.reflector = ""
        self._stack = ExitStack()

    def start(self) -> None:
        """Raises OSError where loopback has no ports left."""
        with ExitStack() as stack:
            listener = Listener(Listen("127.0.0.1", 0))
            stack.callback(listener.socket.close)
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            counts = memoryview(bytearray(8 * len(Count))).cast("Q")
            thread = threading.Thread(
                target=serve, args=(Reflector(counts), [listener], theirs), name="reflector", daemon=True
            )
            thread.start()
            stack.callback(theirs.close)
            stack.callback(thread.join, STOP_S)
            stack.callback(ours.send, b"end")
            self._impaired = ImpairedRelay("127.0.0.1", listener.listen.port)
            self.reflector = f"127.0.0.1:{self._impaired.start()}"
            stack.callback(self._impaired.stop)
            self.broker_port = self._relay.start()
            stack.callback(self._relay.stop)
            self._stack = stack.pop_all()
        self.follow()

    def stop(self) -> None:
        self._stack.close()

    def follow(self) -> None:
        faults = self._world.faults
        if self._world.line_cut:
            self._relay.cut()
        else:
            self._relay.restore()
        self._impaired.impair(
            Impairment(
                burst=BURSTS if "uplink_loss" in faults else None,
                delay_ms=65.0 if "uplink_delay" in faults else 0.0,
                direction="forward",
                silent=bool(faults & (pi.CUTS - {"broker", "clock"} | {"reflector_silent"})),
            ),
            Impairment(
                delay_ms=65.0 if "uplink_delay" in faults else 80.0 if "uplink_jitter" in faults else 0.0,
                jitter_ms=80.0 if "uplink_jitter" in faults else 0.0,
                keeps_order=False,
                direction="backward",
            ),
        )
