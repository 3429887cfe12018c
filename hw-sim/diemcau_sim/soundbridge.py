"""The air of the room on a real sound server: what the speaker plays is heard, 20 ms at a time.

``parec`` hands over what the speaker's sink gets, :class:`.acoustics.Acoustics` turns it into what
the microphone hears, ``pw-cat`` puts that into the microphone's source. Both are tied to the
devices by hand, so that no session manager moves them elsewhere when a device goes.

The microphone's side is the clock: its pipe takes one block when the one before has been used. The
speaker's side has the same rate (both run on CLOCK_MONOTONIC) at another phase, and a hiccup of the
machine may delay either, so between them is a cushion: it is filled before anything is taken,
and what lies in it too long is dropped while it is digital silence. So the delay stays the same.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from .soundserver import PrivatePipewire

if TYPE_CHECKING:
    from diemcau_drivers.interfaces import Samples

RATE_HZ = 48_000
BLOCK = 960
CUSHION = 3840
"""What has to lie ready, besides a block, before taking begins (again): 80 ms."""
REVIEW_BLOCKS = 25
"""The cushion is looked at twice a second."""
EAR, MOUTH = "diemcau_ear", "diemcau_mouth"
_NICE = -11
"""As PipeWire's own threads."""
_PIPE_BYTES = 16384
"""85 ms. What lies in it is delay; without it a thread that is late tears the sound."""


class SoundBridge:
    def __init__(self, server: PrivatePipewire, process: Callable[[Samples], Samples]) -> None:
        """``process``: from one block at the speaker to the same stretch of time at the microphone."""
        self._server = server
        self._process = process
        self._thread: threading.Thread | None = None
        self.pids: frozenset[int] = frozenset()

    def start(self) -> None:
        """Raises SoundServerFailed."""
        ear = self._server.spawn(
            "parec", "--raw", "--format=float32le", "--rate=48000", "--channels=1", "--latency-msec=20",
            "--property=node.autoconnect=false", f"--property=node.name={EAR}",
            pipes=True,
        )  # fmt: skip
        raw = ("--raw",) if self._server.takes_raw() else ()
        mouth = self._server.spawn(
            "pw-cat", "--playback", *raw, "--format", "f32", "--rate", "48000", "--channels", "1",
            "--channel-map", "mono", "--target", "0", "--latency", "20ms",
            "-P", f"{{ node.name={MOUTH} }}", "-",
            pipes=True,
        )  # fmt: skip
        assert ear.stdout is not None
        assert mouth.stdin is not None
        self.pids = frozenset((ear.pid, mouth.pid))
        pipes = (ear.stdout.fileno(), mouth.stdin.fileno())
        self._thread = threading.Thread(target=self._run, args=pipes, name="sound-bridge", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """After the server has been stopped: the microphone's end is gone then, which ends the thread."""
        if self._thread is not None:
            self._thread.join(2.0)

    def _run(self, heard: int, said: int) -> None:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)  # this thread alone, and for root alone
        os.set_blocking(heard, False)
        fcntl.fcntl(said, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        cushion = Cushion()
        try:
            while True:
                cushion.put(_read(heard))
                block = self._process(cushion.take())
                view = memoryview(block.astype(np.float32).tobytes())
                while view:
                    view = view[os.write(said, view) :]
        except OSError:
            return  # the pipe is gone: the room is being taken down


class Cushion:
    """Samples between two clocks of one rate; ``take`` always gives a block, of silence where need be."""

    def __init__(self) -> None:
        self._samples: Samples = np.zeros(0, np.float32)
        self._starved = True
        self._least = CUSHION
        self._taken = 0

    def put(self, samples: Samples) -> None:
        self._samples = np.concatenate((self._samples, samples))

    def take(self) -> Samples:
        if self._starved and self._samples.size < BLOCK + CUSHION:
            return np.zeros(BLOCK, np.float32)
        self._starved = self._samples.size < BLOCK
        if self._starved:
            return np.zeros(BLOCK, np.float32)
        block, self._samples = self._samples[:BLOCK], self._samples[BLOCK:]
        self._least = min(self._least, self._samples.size)
        self._taken += 1
        if self._taken % REVIEW_BLOCKS == 0:
            self._review()
        return block

    def _review(self) -> None:
        """Drop what was never needed, as long as nobody can hear it."""
        surplus = self._least - CUSHION // 2
        if surplus > BLOCK // 4 and not self._samples[:surplus].any():
            self._samples = self._samples[surplus:]
        self._least = self._samples.size


def _read(descriptor: int) -> Samples:
    try:
        data = os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return np.zeros(0, np.float32)
    return np.frombuffer(data[: len(data) - len(data) % 4], np.float32)
