"""A simulated room and the real agent in it: world, network and a keeper that starts the agent again.

``Room`` is all that the command line and the demo need::

    with Room("xp-0417", "mqtt://127.0.0.1:1883", directory) as room:
        room.world.set_fault("camera_hung", True)

In ``directory``: ``world.sock`` (the world), ``agent.toml`` (the settings made for the agent), ``agent.log``
(its stderr), ``boot_id``, ``state/`` and ``run/`` (the agent's state_dir and runtime_dir), ``reboot.sock``
and ``reboot/`` (the reboot helper's, as it were root's).
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from diemcau_agent.config import ConfigError, check

from . import configuration
from .acoustics import Acoustics, read_wav
from .network import Network
from .rebooting import Rebooting
from .rooms import SOCKET_NAME
from .scene import Scene
from .server import WorldServer
from .service import Service
from .world import World

Sound = Literal["world", "pipewire"]

SOCKET_PATH_MAX = 107
"""sun_path of unix(7), its end not counted."""
PORTS = {"mqtt": 1883, "mqtts": 8883, "wss": 443}


class RoomError(Exception):
    """The room cannot be: what was given, or where it should run, does not do. A line each, for people."""


class Room:
    """``scene``: a photograph or a directory of frames; ``ambient``: a WAV file, looped; ``sound``: the
    world's own samples, or PipeWire with the real PortAudio. ``extra_config``: the agent's settings, over
    those of a simulated room. Raises RoomError here and from :meth:`start`.
    """

    def __init__(
        self,
        point: str,
        broker_url: str,
        directory: Path | str,
        *,
        sound: Sound = "world",
        scene: Path | str | None = None,
        ambient: Path | str | None = None,
        extra_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.point = point
        self.directory = Path(directory).absolute()
        self.runtime_dir = self.directory / "run"
        self.socket_path = self.directory / SOCKET_NAME
        self.log_path = self.directory / "agent.log"
        self.world = World()
        self._sound = sound
        self._extra = dict(extra_config or {})
        self._broker = urlsplit(broker_url)
        try:  # the same words as the agent's, before anything runs
            check(self._settings(broker_url))
        except ConfigError as error:
            raise RoomError(str(error)) from error
        longest = max(self.socket_path, self.runtime_dir / "control.sock", key=lambda path: len(str(path)))
        if len(str(longest).encode()) > SOCKET_PATH_MAX:
            raise RoomError(
                f"{self.directory}: too long a path for sockets, at most {SOCKET_PATH_MAX} in all"
            )
        try:
            self._scene = Scene(self.world, None if scene is None else Path(scene))
            self._acoustics = Acoustics(
                self.world,
                ambient=None if ambient is None else read_wav(Path(ambient)),
                mixer=sound == "world",
            )
        except ValueError as error:
            raise RoomError(str(error)) from error
        self._network: Network | None = None
        self._service: Service | None = None
        self._boots = self.world.boots
        self._rebooting = Rebooting(self.world, self.directory)
        self._stack = ExitStack()

    def __enter__(self) -> Room:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once the agent's process is being kept; :meth:`wait_ready` waits for its READY."""
        with ExitStack() as stack:
            self._make_directories()
            server = WorldServer(
                self.world, self.socket_path, scene=lambda: self._scene, acoustics=lambda: self._acoustics
            )
            try:
                server.start()
            except OSError as error:
                raise RoomError(f"{self.socket_path}: another room runs there ({error})") from error
            stack.callback(server.stop)
            port = self._broker.port or PORTS[self._broker.scheme]
            self._network = Network(self.world, self._broker.hostname or "", port)
            self._network.start()
            stack.callback(self._network.stop)
            relayed = self._broker._replace(netloc=f"127.0.0.1:{self._network.broker_port}").geturl()
            settings = self._settings(relayed, self._network.reflector)
            try:
                self._rebooting.start(check(settings))
            except OSError as error:
                raise RoomError(f"{self._rebooting.path}: cannot be made: {error}") from error
            stack.callback(self._rebooting.stop)
            env = self._start_sound(stack)
            config = self.directory / "agent.toml"
            config.write_text(configuration.to_toml(settings), encoding="utf-8")
            self.log_path.write_bytes(b"")
            self._service = Service(
                (sys.executable, "-m", "diemcau_agent", "run", "--config", str(config)),
                {
                    **env,
                    "DIEMCAU_BOOT_ID_FILE": str(self.directory / "boot_id"),
                    "DIEMCAU_REBOOT": str(self._rebooting.path),
                },
                mark=str(self.directory),
                log_path=self.log_path,
                notify_path=self.directory / "notify.sock",
                before_start=self._boot,
            )
            stack.callback(self.world.watch(self._follow))
            stack.callback(self._service.stop)
            self._service.start()
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Ends the agent, its workers, and the room. Bounded; a second time does nothing."""
        self._stack.close()

    @property
    def env(self) -> dict[str, str]:
        """What ``diemcau-agent status`` and its like need to find the agent of this room."""
        return {"DIEMCAU_RUNTIME_DIR": str(self.runtime_dir)}

    @property
    def pid(self) -> int | None:
        """The agent's process, None between two lives."""
        return None if self._service is None else self._service.pid

    @property
    def starts(self) -> int:
        """How often the agent was started."""
        return 0 if self._service is None else self._service.starts

    @property
    def refused(self) -> bool:
        """The agent refused its settings; the log says why, and it is not started again."""
        return self._service is not None and self._service.refused

    def alive(self) -> bool:
        """The agent's process runs now."""
        return self.pid is not None

    def wait_ready(self, timeout_s: float) -> bool:
        """Until the agent said READY."""
        return self._service is not None and self._service.ready.wait(timeout_s)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the room has ended."""
        return self._service is None or self._service.wait(timeout_s)

    def _make_directories(self) -> None:
        try:
            for directory in (self.directory, self.runtime_dir, self.directory / "state"):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RoomError(f"{self.directory}: cannot be made: {error.strerror or error}") from error

    def _settings(self, broker_url: str, reflector: str | None = None) -> dict[str, Any]:
        settings = configuration.simulated(self.point)
        if self._sound == "pipewire":
            names = ("camera", "display", "panel", "presence", "host")
            settings["backends"] = {**dict.fromkeys(names, "sim"), "audio": "sounddevice"}
        bound = configuration.bound(
            self.point, broker_url, self.directory, self.socket_path, reflector=reflector
        )
        return configuration.merged(configuration.merged(settings, self._extra), bound)

    def _start_sound(self, stack: ExitStack) -> Mapping[str, str]:
        if self._sound == "world":
            return {}
        from .pipewire import PipewireRoom
        from .soundserver import SoundServerFailed

        pipewire = PipewireRoom(self._acoustics, self.world, self.directory / "pipewire")
        try:
            pipewire.start()
        except SoundServerFailed as error:
            raise RoomError(f"sound: {error}") from error
        stack.callback(pipewire.stop)
        return pipewire.env

    def _boot(self, machine_started: bool) -> None:
        if machine_started:
            (self.directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
            self._rebooting.booted()

    def _follow(self) -> None:
        """What the world's changes mean outside of it: the line's cut, the machine's restart."""
        if self._network is not None:
            self._network.follow()
        if self._service is not None and self.world.boots != self._boots:
            self._boots = self.world.boots
            self._service.reboot()
