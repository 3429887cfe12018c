"""How the daemon asks a process of root's: one line there, one back, bounded in time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

import msgspec

from diemcau_agent.commands.outcome import Failed, Refusal, Refused

ANSWER_S = 30.0
"""Its process may have to start first, and does what it is asked before it answers."""
MAX_ANSWER_BYTES = 64 * 1024
REFUSALS = frozenset(get_args(Refusal))
_NOT_OURS = frozenset({"bad_signature", "unknown_key", "malformed"})
"""Its list of keys is another than the daemon's, or the daemon's word is not believed."""


class Absent(Exception):
    """There is no such process on this kit, or it does not answer."""


class Error(msgspec.Struct, frozen=True):
    code: str
    detail: str = ""


class NotDone(Exception):
    """It answered with an error."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code}: {error.detail}")
        self.error = error


class _Answer(msgspec.Struct, frozen=True):
    ok: dict[str, Any] | None = None
    error: Error | None = None


async def ask(path: Path, request: Mapping[str, str], file: int | None = None) -> dict[str, Any]:
    """``file``: a descriptor that it gets too. Raises Absent, NotDone."""
    try:
        async with asyncio.timeout(ANSWER_S):
            line = await _exchange(path, json.dumps(request).encode() + b"\n", file)
    except TimeoutError:
        raise Absent(f"{path}: no answer in {ANSWER_S:g} s") from None
    except (OSError, ValueError) as error:
        raise Absent(f"{path}: {error}") from None
    try:
        answer = msgspec.json.decode(line, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Absent(f"{path}: {'no answer' if not line else error}") from None
    if answer.error is not None:
        raise NotDone(answer.error)
    return answer.ok or {}


async def hand_on(path: Path, keys: bytes) -> None:
    """The newest list of keys as it came; it is verified and kept over there once more. Raises Absent,
    NotDone."""
    await ask(path, {"do": "keys", "list": keys.decode(errors="replace")})


def as_the_commands_end(who: str, error: Error) -> NoReturn:
    """What it answered, as the end of the command that it was asked for. Raises Refused, Failed."""
    if error.code in REFUSALS:
        raise Refused(cast("Refusal", error.code), f"{who}: {error.detail}")
    if error.code in _NOT_OURS:
        raise Refused("not_permitted", f"{who}: {error.code}: {error.detail}")
    raise Failed("internal", f"{who}: {error.code}: {error.detail}")


async def _exchange(path: Path, line: bytes, file: int | None) -> bytes:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(connection, str(path))
        if file is not None:
            socket.send_fds(connection, [b" "], [file])  # with a first byte that means nothing in JSON
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_ANSWER_BYTES)
    except BaseException:
        connection.close()
        raise
    try:
        writer.write(line)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
