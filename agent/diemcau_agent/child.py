"""One spawned process and the daemon's end of its pipe (the other: diemcau_drivers.__main__)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from diemcau_drivers import pipe
from diemcau_drivers.contract import error_from_dict

Listener = Callable[[str, Mapping[str, Any]], None]
"""(event, data): what a process tells unasked."""

OURS_TO_TELL = ("spawned", "reopened")
"""What the daemon says of a process; one that was taken over must not say it of itself."""
REAP_S = 2.0
"""How long the kernel may take to end a process that got SIGKILL."""


class Child:
    """One spawned process and its end of the pipe."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        listener: Listener,
    ) -> None:
        self._popen = popen
        self._reader = reader
        self._writer = writer
        self._listener = listener
        self.confined = False
        """Whether it has shut itself in, by Landlock and by seccomp; it says so as it greets."""
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(), name=f"worker {popen.pid} reads")

    @classmethod
    async def spawn(cls, command: Sequence[str], listener: Listener) -> Child:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                reader, writer = await asyncio.open_connection(sock=ours, limit=pipe.MAX_LINE_BYTES)
            except BaseException:
                ours.close()
                raise
            # From here to the return nothing waits: whoever goes away leaves no process behind.
            try:
                # A session of its own, so that one SIGKILL takes the group with all that the library started.
                popen = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec: some 2 ms, no wait for the child
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    start_new_session=True,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its threads cost memory, win nothing
                )
            except OSError:
                writer.close()
                raise
        return cls(popen, reader, writer, listener)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Reaps it where it has exited."""
        return self._popen.poll()

    @property
    def gone(self) -> bool:
        """Whether it has exited. Not reaped by this, so its pid, which names its group, is nobody else's."""
        if self._popen.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def alive(self) -> bool:
        return not self._reading.done() and not self.gone

    async def greet(self, backend: str, options: Mapping[str, Any]) -> None:
        self._writer.write(pipe.encode({"backend": backend, "options": dict(options)}))
        await asyncio.shield(self._ready)

    async def call(self, do: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if self._reading.done():
            raise ConnectionError
        self._next_id += 1
        ident = self._next_id
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = answer
        try:
            self._writer.write(pipe.encode({"id": ident, "do": do, "args": dict(args)}))
            await self._writer.drain()
            return await answer
        finally:
            del self._waiting[ident]

    async def _read(self) -> None:
        failure: Exception = ConnectionError("end of file")
        try:
            while line := await self._reader.readline():
                self._take(pipe.decode(line))
        except (ConnectionError, pipe.FramingError) as error:
            failure = error
        except ValueError as error:  # StreamReader: a line over the limit
            failure = pipe.FramingError(str(error))
        finally:
            for future in (self._ready, *self._waiting.values()):
                if not future.done():
                    future.set_exception(failure)
                    future.exception()  # read once here: nobody may be waiting for "ready" any more

    def _take(self, message: dict[str, Any]) -> None:
        """Raises FramingError for what no child of ours says: it is not believed from there on."""
        event, ident = message.get("event"), message.get("id")
        if "ready" in message and not self._ready.done():
            ready = message["ready"]
            told = cast("dict[str, Any]", ready) if isinstance(ready, dict) else {}
            self.confined = bool(told.get("landlock")) and bool(told.get("seccomp"))
            self._ready.set_result(None)
        elif isinstance(event, str):
            if event not in OURS_TO_TELL:
                self._listener(event, _table(message, "data"))
        elif not isinstance(ident, int):
            raise pipe.FramingError(f"id: got {ident!r:.80}, expected a call's number")
        else:
            answer = self._waiting.get(ident)
            if answer is None or answer.done():
                return  # the answer to a call that was given up
            if "ok" in message:
                answer.set_result(_table(message, "ok"))
            else:
                answer.set_exception(error_from_dict(_table(message, "error")))

    async def end(self) -> bool:
        """SIGKILL to the process group and a bounded reap; False where the kernel holds it."""
        self._kill_group()
        gone = await self._exit(REAP_S)
        self._popen.poll()
        await self._shut()
        return gone

    async def leave(self) -> bool:
        """Ask it to go by closing the pipe, then :meth:`end`."""
        await self._shut()
        await self._exit(0.5)
        return await self.end()

    def _kill_group(self) -> None:
        if self._popen.returncode is None:  # once it is reaped, the number may be another's
            os.killpg(self._popen.pid, signal.SIGKILL)

    async def _exit(self, timeout_s: float) -> bool:
        if self.gone:
            return True
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        pidfd = os.pidfd_open(self._popen.pid)
        try:
            loop.add_reader(pidfd, lambda: ended.done() or ended.set_result(None))
            async with asyncio.timeout(timeout_s):
                await ended
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        return self.gone

    async def _shut(self) -> None:
        self._writer.close()
        self._reading.cancel()
        await asyncio.wait([self._reading], timeout=REAP_S)


def _table(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    value: Any = message.get(name) or {}
    if not isinstance(value, dict):
        raise pipe.FramingError(f"{name}: got {value!r:.80}, expected an object")
    return cast("dict[str, Any]", value)
