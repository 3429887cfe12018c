"""A private PipeWire: its processes, its configuration, and the devices in it.

Everything lives below one directory (runtime, configuration, state), so that it neither hears of the
real sound cards of the machine nor of a desktop's own server, and runs as root as well as for anybody
else. Tried with PipeWire 0.3.65 and WirePlumber 0.4 (Debian 12); the configuration is written in
both of WirePlumber's languages (0.4: Lua, 0.5: SPA-JSON).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .mortal import MORTAL

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
START_S = 10.0
COMMAND_S = 5.0
STOP_S = 2.0
PORTS = {
    "diemcau_speaker": ("monitor_MONO", "playback_MONO"),
    "diemcau_microphone": ("capture_MONO", "input_MONO"),
}
"""A null node's ports: where its sound comes out, where it goes in."""
_MODULE = {
    "diemcau_speaker": (),
    "diemcau_microphone": ("media.class=Audio/Source/Virtual",),
}
_CONFIGURATION = {
    # A cycle of 43 ms: a machine that runs a test suite besides is often late by 10.
    "pipewire/pipewire.conf.d/51-calm.conf": (
        "context.properties = { default.clock.quantum = 2048, default.clock.min-quantum = 2048 }\n"
    ),
    "wireplumber/main.lua.d/51-no-hardware.lua": (
        "alsa_monitor.enabled = false\n"
        "v4l2_monitor.enabled = false\n"
        "if libcamera_monitor then libcamera_monitor.enabled = false end\n"
    ),
    "wireplumber/bluetooth.lua.d/51-no-hardware.lua": "bluez_monitor.enabled = false\n",
    "wireplumber/wireplumber.conf.d/51-no-hardware.conf": (
        "wireplumber.profiles = { main = { hardware.audio = disabled, "
        "hardware.bluetooth = disabled, hardware.video-capture = disabled } }\n"
    ),
}
_ALSA = "pcm.default { type pulse }\npcm.pulse { type pulse }\nctl.pulse { type pulse }\n"
"""Two PCMs: PortAudio 19.6 fails an assertion where there is one (pa_linux_alsa.c, BuildDeviceList)."""


class SoundServerFailed(Exception):
    """A program of the sound server is missing, ended, refused or did not answer."""


class PrivatePipewire:
    """``start`` to ``stop``. Every process is a group of its own and ended by its pid."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._modules: dict[str, str] = {}

    @property
    def env(self) -> dict[str, str]:
        """What a client needs to reach this server, by its own protocol or by ALSA."""
        runtime = self._directory / "run"
        return {
            "XDG_RUNTIME_DIR": str(runtime),
            "PULSE_SERVER": f"unix:{runtime}/pulse/native",
            "ALSA_CONFIG_PATH": str(self._directory / "asound.conf"),
        }

    def start(self) -> None:
        """Raises SoundServerFailed; nothing is left running then."""
        self._write()
        try:
            address = self._own["DBUS_SESSION_BUS_ADDRESS"]
            self.spawn("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}")
            self._await("the bus's socket", (self._directory / "run/bus").exists)
            self.spawn("pipewire")
            self._await("PipeWire's socket", (self._directory / "run/pipewire-0").exists)
            self.spawn("wireplumber")
            self.spawn("pipewire-pulse")
            self._await("the sound server's answer", self._answers)
        except BaseException:
            self.stop()
            self.close()
            raise

    def stop(self) -> None:
        """Ends every process, the newest first; each wait is bounded."""
        for process in reversed(self._processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)  # one that was frozen could not end
                process.terminate()
        for process in reversed(self._processes.values()):
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        self._modules.clear()

    def close(self) -> None:
        """Closes the pipes, once nobody reads or writes them any more: after :meth:`stop`."""
        for process in self._processes.values():
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._processes.clear()

    def spawn(self, program: str, *arguments: str, pipes: bool = False) -> subprocess.Popen[bytes]:
        """A process of this server, or a client of it; ``pipes``: with standard input and output."""
        path = shutil.which(program, path=SEARCH_PATH)
        if path is None:
            raise SoundServerFailed(f"{program} is not installed")
        stream = subprocess.PIPE if pipes else subprocess.DEVNULL
        with (self._directory / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                [*MORTAL, path, *arguments],
                env=self._own,
                stdin=stream,
                stdout=stream,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # a terminal's Ctrl-C is for the room, which then ends these
            )
        self._processes[f"{program} {process.pid}"] = process
        return process

    def freeze(self, on: bool) -> None:
        """SIGSTOP: every client waits for an answer for as long as it likes."""
        for name, process in self._processes.items():
            if name.startswith("pipewire-pulse "):
                process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def add(self, node: str) -> None:
        """A mono null sink or source."""
        if node not in self._modules:
            arguments = (*_MODULE[node], f"sink_name={node}", "channel_map=mono", "rate=48000")
            self._modules[node] = self.pactl("load-module", "module-null-sink", *arguments).strip()

    def remove(self, node: str) -> None:
        if node in self._modules:
            self.pactl("unload-module", self._modules.pop(node))

    def has(self, node: str) -> bool:
        return node in self._modules

    def link(self, output: str, inlet: str) -> None:
        """Ties two ports; waits until both are there."""
        self._await(f"{output} and {inlet}", lambda: self._try("pw-link", output, inlet))

    def pactl(self, *arguments: str) -> str:
        """Raises SoundServerFailed."""
        done = self._run("pactl", *arguments)
        if done.returncode != 0:
            raise SoundServerFailed(f"pactl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def takes_raw(self) -> bool:
        """Whether pw-cat has to be told (since 1.0) that what it is given has no header."""
        return "--raw" in self._run("pw-cat", "--help").stdout

    @property
    def _own(self) -> Mapping[str, str]:
        directory = self._directory
        return {
            **self.env,
            "PATH": SEARCH_PATH,
            "LC_ALL": "C.UTF-8",
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_STATE_HOME": str(directory / "state"),
            "XDG_DATA_HOME": str(directory / "data"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={directory / 'run/bus'}",
        }

    def _write(self) -> None:
        (self._directory / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in _CONFIGURATION.items():
            path = self._directory / "config" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self._directory / "asound.conf").write_text(_ALSA)

    def _answers(self) -> bool:
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        if ended:
            raise SoundServerFailed(f"{', '.join(ended)} ended at once; see {self._directory}/*.log")
        # The default comes from the session manager, once it is there: a device that is made sooner is never
        # taken up by it, and its maker waits for ever.
        return "Default Sink: auto_null" in self._run("pactl", "info").stdout

    def _await(self, what: str, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not there():
            if time.monotonic() > deadline:
                raise SoundServerFailed(f"{what} did not come in {START_S:g} s; see {self._directory}/*.log")
            time.sleep(0.02)

    def _try(self, program: str, *arguments: str) -> bool:
        return self._run(program, *arguments).returncode == 0

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, *arguments]
        try:
            return subprocess.run(
                command,
                env=self._own,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise SoundServerFailed(f"{program} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise SoundServerFailed(f"{' '.join(command)}: no answer in {COMMAND_S:g} s") from error
