"""The simulated room on a real sound server: real PortAudio, real mixers, real hang-ups.

A private PipeWire has a speaker (a null sink) and a microphone (a virtual source), and the room's
acoustics between them. The world's state acts on the real thing and what clients set there comes
back into the world: a muted microphone is muted on the server, an absent speaker is a node that
is gone, ``audio_hung`` is a server that is stopped, ``audio_crashed`` kills what opens a stream.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from .acoustics import Acoustics
from .soundbridge import EAR, MOUTH, SoundBridge
from .soundserver import PORTS, PrivatePipewire, SoundServerFailed
from .world import World

SPEAKER, MICROPHONE = "diemcau_speaker", "diemcau_microphone"
_NODES = {"speaker": SPEAKER, "microphone": MICROPHONE}
_KINDS = {"speaker": "sink", "microphone": "source"}
_HOLDS = {"speaker": ("pacat", "/dev/zero"), "microphone": ("parec", "/dev/null")}
HOLDER_ENDS_S = 5.0
NORMAL = 65536
"""PulseAudio's raw volume for 100 % and 0 dB; its scale is cubic."""

_log = logging.getLogger(__name__)


class PipewireRoom:
    """``start`` to ``stop``, or a context manager. Methods may be called from any thread; those that
    talk to the server raise SoundServerFailed, also while it is frozen."""

    def __init__(self, acoustics: Acoustics, world: World, runtime_dir: Path | str) -> None:
        """``acoustics`` without its own mixer (``mixer=False``): the server's mixer acts here.
        ``runtime_dir``: for this room alone; short, since Unix sockets lie in it (107 characters)."""
        self._world = world
        self._server = PrivatePipewire(Path(runtime_dir))
        self._bridge = SoundBridge(self._server, acoustics.process)
        self._lock = threading.RLock()
        self._frozen = False
        self._crashing = False
        self._last: dict[str, dict[str, Any]] = {}
        self._holders: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}
        self._changed = threading.Event()
        self._stopping = False
        self._unwatch: Callable[[], None] | None = None
        self._threads: list[threading.Thread] = []

    @property
    def env(self) -> dict[str, str]:
        """The environment in which a client finds this room's server, and no other."""
        return self._server.env

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Raises SoundServerFailed; nothing is left running then."""
        try:
            self._server.start()
            self._bridge.start()
            for device in _NODES:
                self.restore(device)
            events = self._server.spawn("pactl", "subscribe", pipes=True)
            self._unwatch = self._world.watch(self._changed.set)
            self._follow()
            self._begin("sound-follows", self._keep_following)
            self._begin("sound-events", lambda: self._listen(events))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process and thread; may be called twice."""
        if self._unwatch is not None:
            self._unwatch()
        self._stopping = True
        self._changed.set()
        with self._lock:
            self._server.stop()
        self._bridge.join()
        for thread in self._threads:
            thread.join(2.0)
        self._server.close()

    # --- What can happen to it

    def remove(self, device: str) -> None:
        """ "speaker" or "microphone" is unplugged."""
        with self._lock:
            self._server.remove(_NODES[device])

    def restore(self, device: str) -> None:
        """It is plugged in again, set as it was."""
        with self._lock:
            node = _NODES[device]
            if self._server.has(node):
                return
            self._server.add(node)
            output, inlet = PORTS[node]
            if device == "speaker":
                self._server.link(f"{node}:{output}", f"{EAR}:input_MONO")
            else:
                self._server.link(f"{MOUTH}:output_MONO", f"{node}:{inlet}")
            self._last.pop(device, None)
            self._mix(device)

    def set_muted(self, device: str, muted: bool) -> None:
        """On the server, as any client would."""
        with self._lock:
            self._server.pactl(f"set-{_KINDS[device]}-mute", _NODES[device], "1" if muted else "0")

    def freeze(self, on: bool) -> None:
        """The server stops answering, or goes on."""
        with self._lock:
            if on != self._frozen:
                self._server.freeze(on)
                self._frozen = on

    def crash_clients(self, on: bool) -> None:
        """From now on the process of whoever opens a stream gets SIGSEGV."""
        with self._lock:
            self._crashing = on

    def agrees(self) -> bool:
        """Whether the server's devices and mixers are now as the world's."""
        with self._lock:
            faults = self._world.faults
            if self._frozen or "audio_hung" in faults:
                return self._frozen == ("audio_hung" in faults)
            return all(
                not self._server.has(node)
                if f"{device}_absent" in faults
                else self._server.has(node) and _same(self._read(device), self._wanted(device))
                for device, node in _NODES.items()
            )

    # --- The world acts on the server, and the server on the world

    def _follow(self) -> None:
        with self._lock:
            faults = self._world.faults
            self.freeze("audio_hung" in faults)
            self.crash_clients("audio_crashed" in faults)
            if self._frozen:
                return
            if self._crashing:
                self._crash()
            for device in _NODES:
                if f"{device}_absent" in faults:
                    self.remove(device)
                else:
                    self.restore(device)
                    self._mix(device)
                usable = not self._crashing and f"{device}_absent" not in faults
                self._hold(device, self._world.holder(device) if usable else None)

    def _hold(self, device: str, by: str | None) -> None:
        """A client of that name has a stream open, as a meeting would: it listens, or plays silence."""
        name, process = self._holders.get(device, (None, None))
        if name == by and (process is None or process.poll() is None):
            return
        if process is not None:
            process.kill()
            process.wait(HOLDER_ENDS_S)
            del self._holders[device]
        if by is not None:
            program, source = _HOLDS[device]
            client = self._server.spawn(
                program, "--raw", f"--device={_NODES[device]}", f"--client-name={by}", source
            )
            self._holders[device] = (by, client)

    def _mix(self, device: str) -> None:
        """Whichever side has changed its mixer since they last agreed tells the other."""
        wanted = self._wanted(device)
        last = self._last.get(device)
        if wanted != last:
            self.set_muted(device, wanted["muted"])
            raw = str(_raw_volume(wanted))
            self._server.pactl(f"set-{_KINDS[device]}-volume", _NODES[device], raw)
            self._last[device] = wanted
            return
        there = self._read(device)
        changed = {
            name: value
            for name, value in there.items()
            if abs(value - wanted[name]) > (0.05 if name != "muted" else 0)
        }
        if changed:
            self._last[device] = {**wanted, **changed}
            (self._world.set_speaker if device == "speaker" else self._world.set_microphone)(**changed)

    def _wanted(self, device: str) -> dict[str, Any]:
        if device == "speaker":
            speaker = self._world.speaker
            return {"muted": speaker.muted, "volume_percent": speaker.volume_percent}
        microphone = self._world.microphone
        return {"muted": microphone.muted, "gain_db": microphone.gain_db}

    def _read(self, device: str) -> dict[str, Any]:
        listing = json.loads(self._server.pactl("-f", "json", "list", f"{_KINDS[device]}s"))
        entry = next(entry for entry in listing if entry["name"] == _NODES[device])
        raw = max(channel["value"] for channel in entry["volume"].values())
        if device == "speaker":
            return {"muted": entry["mute"], "volume_percent": round(100 * raw / NORMAL, 1)}
        return {"muted": entry["mute"], "gain_db": round(60 * math.log10(max(raw, 1) / NORMAL), 2)}

    def _crash(self) -> None:
        """SIGSEGV to every client with a stream but the room's own."""
        for kind in ("source-outputs", "sink-inputs"):
            for stream in cast(
                "list[dict[str, Any]]", json.loads(self._server.pactl("-f", "json", "list", kind))
            ):
                properties = cast("Mapping[str, str]", stream["properties"])
                pid = int(properties.get("application.process.id", "0"))
                if pid > 1 and pid not in self._bridge.pids and pid != os.getpid():
                    try:
                        os.kill(pid, signal.SIGSEGV)
                    except ProcessLookupError:
                        continue  # gone by itself

    def _keep_following(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            if self._stopping:
                return
            try:
                self._follow()
            except SoundServerFailed as error:
                if not self._stopping:
                    _log.warning("the sound server does not follow the room: %s", error)

    def _listen(self, events: subprocess.Popen[bytes]) -> None:
        assert events.stdout is not None
        for line in iter(events.stdout.readline, b""):
            if b" on sink" in line or b" on source" in line:  # devices and streams; not our own asking
                self._changed.set()

    def _begin(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _same(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """As near as the server's raw volume tells."""
    return all(abs(there[name] - value) <= 0.05 for name, value in wanted.items())


def _raw_volume(mixer: Mapping[str, Any]) -> int:
    if "volume_percent" in mixer:
        return round(NORMAL * mixer["volume_percent"] / 100)
    return round(NORMAL * 10 ** (mixer["gain_db"] / 60))
