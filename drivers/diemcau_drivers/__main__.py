"""A device's own process: ``python -m diemcau_drivers camera``.

The first line on standard input is its configuration, ``{"backend": name, "options": {...}}``.
It shuts itself in (:mod:`.confinement`), imports what it needs, and answers one request at a time until
standard input ends. It leaves when it has not been asked for anything for ``options["idle_s"]`` seconds
(0 = never), to give its memory back, and when it is asked after a device was plugged in that it cannot
reach. Exit code 2: it was not spoken to as it should be; 3: it could not be shut in.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Protocol, cast

from . import contract, pipe
from .confinement import Confinement, confine
from .landlock import LandlockError
from .prctl import SET_PDEATHSIG, prctl

Tell = Callable[[str, Mapping[str, Any]], None]


class Device(Protocol):
    """Device logic over a backend: a module a process, each with ``open_device(backend, options, tell)``."""

    def handle(self, do: str, args: Mapping[str, Any]) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


class Channel:
    """The daemon's end of the pipe, safe to write from a library's callback thread."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._lock = Lock()
        self._buffer = bytearray()

    def send(self, message: dict[str, Any]) -> None:
        line = pipe.encode(message)
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[os.write(self._write_fd, view) :]

    def receive(self, timeout_s: float | None) -> dict[str, Any] | None:
        """The next message; None at the pipe's end. Raises TimeoutError."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > pipe.MAX_LINE_BYTES:
                raise pipe.FramingError("line too long")
            if not select.select([self._read_fd], [], [], timeout_s)[0]:
                raise TimeoutError
            chunk = os.read(self._read_fd, 65536)
            if not chunk:
                return None
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return pipe.decode(line)


def main() -> int:
    # Native libraries print to fd 1 (libcamera, PortAudio, ALSA): the framing moves to an fd of its
    # own before anything is imported, and fd 1 becomes stderr, which goes to the journal.
    write_fd = os.dup(1)
    os.dup2(2, 1)
    process = sys.argv[1] if len(sys.argv) > 1 else ""
    if process not in contract.PROCESSES:
        print(f"diemcau_drivers: {process!r} is none of {', '.join(contract.PROCESSES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    _die_with_the_daemon()
    channel = Channel(0, write_fd)
    try:
        setup = channel.receive(None)
    except pipe.FramingError as error:
        print(f"diemcau_drivers {process}: {error}", file=sys.stderr)
        return 2
    if setup is None:
        return 0
    try:
        confinement = confine(process, cast("Mapping[str, Any]", setup.get("options", {})))
    except (LandlockError, OSError, ValueError, NotImplementedError) as error:
        # A kernel that could and does not is no kernel without: something is badly wrong.
        print(f"diemcau_drivers {process}: cannot be shut in: {error}", file=sys.stderr)
        return 3
    return serve(process, setup, channel, confinement)


def serve(process: str, setup: Mapping[str, Any], channel: Channel, confinement: Confinement) -> int:
    def tell(event: str, data: Mapping[str, Any]) -> None:
        channel.send({"event": event, "data": dict(data)})

    options = cast("Mapping[str, Any]", setup.get("options", {}))
    idle_s = float(options.get("idle_s", 0)) or None
    opener = Opener(process, str(setup.get("backend")), options, tell)
    # What takes long and touches no device comes before "ready": on a Pi numpy and picamera2 take
    # seconds to import, and that must not count against a device's own deadline.
    opener.prepare()
    ready = {"process": process, "backend": opener.backend_name, "pid": os.getpid()}
    channel.send({"ready": {**ready, "landlock": confinement.abi, "seccomp": confinement.filtered}})
    try:
        while True:
            try:
                request = channel.receive(idle_s)
            except TimeoutError:
                return 0
            if request is None or confinement.outgrown():
                return 0  # unanswered: the daemon asks the next one
            try:
                channel.send({"id": request.get("id"), "ok": dict(_do(opener, request))})
            except contract.DeviceError as error:
                channel.send({"id": request.get("id"), "error": dict(contract.error_to_dict(error))})
    except pipe.FramingError as error:
        print(f"diemcau_drivers {process}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0  # the daemon is gone
    finally:
        opener.close()


def _do(opener: Opener, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises DeviceError; what this process may not reach, or has no library for, is that, too."""
    do = str(request.get("do"))
    try:
        if do != contract.REOPEN:
            return opener.device().handle(do, request.get("args") or {})
        opener.close()
        opener.device()
    except PermissionError as error:
        raise contract.Broken(f"{opener.process} may not: {error}") from error
    except ImportError as error:
        raise contract.Broken(f"{opener.backend_name}: a library is not installed: {error}") from error
    return {}


class Opener:
    """Makes the backend and the device logic, each once, and keeps trying while the device refuses."""

    def __init__(self, process: str, backend_name: str, options: Mapping[str, Any], tell: Tell) -> None:
        self.process = process
        self.backend_name = backend_name
        self.options = options
        self._tell = tell
        self._backend: Any = None
        self._device: Device | None = None

    def prepare(self) -> None:
        importlib.import_module(f"diemcau_drivers.{self.process}")
        try:
            self._make_backend()
        except (contract.DeviceError, PermissionError, ImportError) as error:
            print(f"diemcau_drivers {self.process}: {error}", file=sys.stderr)  # told again at each request

    def device(self) -> Device:
        """Raises DeviceError where the backend cannot be made or the device refuses."""
        if self._device is None:
            self._make_backend()
            logic = importlib.import_module(f"diemcau_drivers.{self.process}")
            self._device = cast("Device", logic.open_device(self._backend, self.options, self._tell))
        return self._device

    def close(self) -> None:
        """Let go of the device and of its backend; the next :meth:`device` makes both anew."""
        device, self._device, self._backend = self._device, None, None
        if device is not None:
            device.close()

    def _make_backend(self) -> None:
        if self._backend is None:
            from .backends import load

            self._backend = load(self.process, self.backend_name)(self.options)


def _die_with_the_daemon() -> None:
    """A hung library never sees the pipe's end: the kernel kills this process when its parent dies."""
    prctl(SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
