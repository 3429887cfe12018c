"""A private mosquitto on a free loopback port: the broker of the demo and of the tests.

No MQTT 5 broker that can be installed from PyPI works, so a child process of the real one it is.
It takes anonymous clients from this machine, keeps nothing on disk and goes when it is stopped.

Errors::

    BrokerError
    ├── BrokerMissing    the program is not installed
    └── BrokerFailed     it did not start, or does not accept in time
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from .mortal import MORTAL

HOST = "127.0.0.1"
START_S = 10.0
STOP_S = 5.0
_ATTEMPTS = 5
_POLL_S = 0.02
# Understood by 2.0.11 (Debian 12) and 2.0.21 (Debian 13). Without set_tcp_nodelay each exchange stalls 40 ms;
# with the default queue of 1000 messages it drops in silence; as root it would change to a user who may
# not be there.
_CONFIGURATION = """\
listener {port} {host}
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 100000
user root
log_dest stderr
log_type error
log_type warning
"""


class BrokerError(Exception):
    pass


class BrokerMissing(BrokerError):
    pass


class BrokerFailed(BrokerError):
    pass


def program() -> str:
    """Where mosquitto is. Raises BrokerMissing naming the package."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise BrokerMissing("mosquitto is not installed: apt-get install mosquitto")
    return found


class PrivateMosquitto:
    """``with PrivateMosquitto() as broker: broker.url``. ``stop`` and ``start`` again keep the port.

    A session of its own keeps Ctrl-C from ending it before those who want to say goodbye to it.
    """

    def __init__(self) -> None:
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self.port: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        if self.port is None:
            raise BrokerFailed("it has no address before it is started")
        return f"mqtt://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Returns once it accepts connections. Raises BrokerError."""
        if self._child is not None:
            return
        path = program()
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="diemcau-broker-")
        try:
            self._start_on(path, self.port)
        except BrokerFailed:
            self.close()
            raise

    def stop(self, *, kill: bool = False) -> None:
        """End it, with ``kill`` as a power cut would: without a goodbye to its clients."""
        child, self._child = self._child, None
        if child is None:
            return
        if kill:
            child.kill()
        else:
            child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(STOP_S)

    def close(self) -> None:
        """End it for good and leave nothing behind."""
        self.stop()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def _start_on(self, path: str, port: int | None) -> None:
        """On ``port``, or on a free one: again where someone else took it between asking and binding."""
        for left in range(_ATTEMPTS if port is None else 1, 0, -1):
            chosen = free_port() if port is None else port
            try:
                self._start(path, chosen)
            except BrokerFailed:
                if left == 1:
                    raise
            else:
                self.port = chosen
                return

    def _start(self, path: str, port: int) -> None:
        assert self._directory is not None
        directory = Path(self._directory.name)
        configuration, log = directory / "mosquitto.conf", directory / "mosquitto.log"
        configuration.write_text(_CONFIGURATION.format(port=port, host=HOST))
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                [*MORTAL, path, "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not _accepts(port):
            ended = self._child.poll()
            if ended is not None or time.monotonic() > deadline:
                self.stop(kill=True)
                how = f"ended with {ended}" if ended is not None else f"does not accept after {START_S:.0f} s"
                raise BrokerFailed(f"mosquitto on port {port} {how}: {_last_words(log)}")
            time.sleep(_POLL_S)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One of this machine's own that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _last_words(log: Path) -> str:
    return " ".join(log.read_text("utf-8", "replace").split("\n")[-4:]).strip() or "it said nothing"
