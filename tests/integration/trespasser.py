"""A backend that has been taken over: it tries what its options name, and tells what came of each try.

A room's own backend in every respect: found by its entry point, loaded in the device's own process.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from device_process import DeviceProcess
from diemcau_drivers.contract import PROCESSES, Broken

NAME = "trespasser"


def _read(target: str) -> None:
    with Path(target).open("rb") as file:
        file.read(1)


def _write(target: str) -> None:
    with Path(target).open("r+b", buffering=0) as file:
        file.write(b"x")


def _link(target: str) -> None:
    os.symlink("/etc", target)  # noqa: PTH211 - as a library would


def _load_font(target: str) -> None:
    from PIL import ImageFont

    ImageFont.truetype(target, 12)


def _connect(target: str) -> None:
    with socket.create_connection(("127.0.0.1", int(target)), 5):
        pass


def _listen(target: str) -> None:
    with socket.create_server(("127.0.0.1", int(target))):
        pass


def _unix(target: str) -> None:
    """``target``: a path, or "@name" of the abstract kind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect("\0" + target[1:] if target.startswith("@") else target)


def _make_socket(target: str) -> None:
    """``target``: family, kind and protocol, by number."""
    socket.socket(*map(int, target.split())).close()


def _send(target: str) -> None:
    """One UDP packet to that port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"what the camera saw", ("127.0.0.1", int(target)))


def _ask(target: str) -> None:
    """``target``: what, and the agent's socket. Asks without its key, since that cannot be read."""
    do, path = target.split()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)
        client.sendall(b"0" * 64 + b"\n" + json.dumps({"do": do}).encode() + b"\n")
        answer = json.loads(client.makefile().readline())
    if "error" in answer:
        raise OSError(answer["error"]["code"])


def _run(target: str) -> None:
    """A program cannot be what the process that runs it could not; it must be able to start, too."""
    done = subprocess.run(target.split(), capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(done.stderr.decode())


TRIES: dict[str, Callable[[str], object]] = {
    "read": _read,
    "write": _write,
    "list": os.listdir,
    "create": lambda target: Path(target).touch(),
    "remove": lambda target: Path(target).unlink(),
    "rename": lambda target: Path(target).rename(target + "-moved"),
    "link": _link,
    "connect": _connect,
    "listen": _listen,
    "unix": _unix,
    "socket": _make_socket,
    "send": _send,
    "ask": _ask,
    "signal": lambda target: os.kill(int(target), 0),
    "run": _run,
    "import": importlib.import_module,
    "font": _load_font,
}


class Trespasser:
    def __init__(self, options: Mapping[str, Any]) -> None:
        raise Broken(json.dumps([self._outcome(*attempt) for attempt in options["tries"]]))

    @staticmethod
    def _outcome(how: str, target: str) -> str:
        try:
            TRIES[how](target)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))
        except ImportError as error:
            return str(error)
        return "ok"


BACKENDS = dict.fromkeys(PROCESSES, Trespasser)


def install(directory: Path) -> str:
    """The PYTHONPATH on which the backends ``trespasser`` and ``doubled`` are found."""
    metadata = directory / "trespasser-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trespasser\nVersion: 1\n")
    names = f"{NAME} = trespasser\ndoubled = doubled\n"
    (metadata / "entry_points.txt").write_text(f"[diemcau.backends]\n{names}")
    here = Path(__file__).parent
    return os.pathsep.join([str(directory), str(here), os.environ.get("PYTHONPATH", "")])


class Attempts:
    """Tries in a real process of each kind."""

    def __init__(self, env: Mapping[str, str], runtime_dir: Path, inside: tuple[str, ...]) -> None:
        self._env = env
        self._runtime_dir = runtime_dir
        self._inside = inside

    def own_dir(self, process: str) -> Path:
        return self._runtime_dir / process

    @contextmanager
    def spawned(self, process: str, *tries: tuple[str, object], **options: Any) -> Generator[DeviceProcess]:
        told = {
            "runtime_dir": str(self.own_dir(process)),
            "tries": [(how, str(target)) for how, target in tries],
            **options,
        }
        with DeviceProcess(process, NAME, told, self._env, self._inside) as running:
            yield running

    def of(self, process: str, *tries: tuple[str, object], **options: Any) -> list[str]:
        """What came of each: "ok", or the error's name."""
        with self.spawned(process, *tries, **options) as running:
            return outcomes(running)


def outcomes(running: DeviceProcess) -> list[str]:
    return json.loads(running.answer("probe")["error"]["detail"])
