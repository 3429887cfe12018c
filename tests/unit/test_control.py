"""The control socket promises: only root and the agent's own user, bounded lines and connections, an error
that says what was wrong, and that no client can hold the daemon up."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import control, control_key, control_requests
from diemcau_agent.control import Control, Refused, SocketTaken, permitted
from fake_control_room import FakeControlRoom, report, status


@asynccontextmanager
async def serving(path: Path, room: FakeControlRoom) -> AsyncGenerator[Control]:
    server = Control(path, room)
    task = asyncio.create_task(server.serve(), name="control")
    waiting = asyncio.create_task(server.listening.wait(), name="listening")
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield server
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: bytes | dict[str, Any]) -> dict[str, Any]:
        self.writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return json.loads(await self.reader.readline())

    async def closed(self) -> bool:
        """By end of file, or by a reset where the server left bytes unread."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def peer(path: Path) -> AsyncGenerator[Peer]:
    """Who has shown the key."""
    async with stranger(path) as client:
        client.writer.write(control_key.read(path.parent))
        yield client


@asynccontextmanager
async def stranger(path: Path) -> AsyncGenerator[Peer]:
    reader, writer = await asyncio.open_unix_connection(os.fspath(path), limit=1 << 20)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / control.SOCKET_NAME


async def test_one_connection_asks_one_thing_after_another(path: Path) -> None:
    room = FakeControlRoom()
    async with serving(path, room), peer(path) as client:
        assert (await client.ask({"do": "status"}))["ok"] == room.status()
        assert await client.ask({"do": "press", "hold_s": 2.5}) == {"ok": {"pressed": True, "hold_s": 2.5}}
        assert await client.ask({"do": "cancel"}) == {"ok": {"cancelled": False}}
        assert (await client.ask({"do": "line"}))["ok"]["reflector"] == "stamp.example"
        assert (await client.ask({"do": "baseline"}))["ok"]["readings"] == {"camera": {"sharpness": 812.0}}
    assert room.asked == [("press", 2.5), ("cancel",)]


async def test_a_selftest_tells_each_step_and_then_the_report(path: Path) -> None:
    room = FakeControlRoom()
    async with serving(path, room), peer(path) as client:
        first = await client.ask({"do": "selftest", "scope": "quick"})
        assert first["progress"]["name"] == "camera_live"
        assert (await client.hear())["progress"]["done"] == 2
        assert await client.hear() == {"ok": report()}
    assert room.asked == [("selftest", "quick", "command")]


async def test_a_running_selftest_is_cancelled_over_another_connection(path: Path) -> None:
    room = FakeControlRoom()
    room.test_may_end.clear()
    async with serving(path, room), peer(path) as tester, peer(path) as other:
        await tester.ask({"do": "selftest"})
        assert await other.ask({"do": "cancel"}) == {"ok": {"cancelled": True}}
        room.test_may_end.set()


async def test_what_the_room_refuses_is_an_error_and_the_connection_goes_on(path: Path) -> None:
    room = FakeControlRoom()
    room.refusal = Refused("busy", "a self-test is running")
    async with serving(path, room), peer(path) as client:
        answer = await client.ask({"do": "selftest"})
        assert answer == {"error": {"code": "busy", "detail": "a self-test is running"}}
        assert "ok" in await client.ask({"do": "status"})


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"not json\n", "malformed"),
        (b"[1]\n", "object"),
        (b"{}\n", "do"),
        (b'{"do": "reboot"}\n', "reboot"),
        (b'{"do": "press", "hold_s": -1}\n', "hold_s"),
        (b'{"do": "press", "hold_s": "long"}\n', "hold_s"),
        (b'{"do": "press", "hold": 1}\n', "hold"),
        (b'{"do": "selftest", "scope": "medium"}\n', "scope"),
        (b'{"do": "status"} {"do": "status"}\n', "malformed"),
        (b'{"do": "\xff"}\n', "utf-8"),
        (b"[" * 3000 + b"\n", "object"),
        (b"\n", ""),
    ],
)
async def test_a_bad_line_is_answered_with_what_was_got_and_expected(
    path: Path, line: bytes, names: str
) -> None:
    room = FakeControlRoom()
    async with serving(path, room), peer(path) as client:
        error = (await client.ask(line))["error"]
        assert error["code"] == "bad_request"
        assert names in error["detail"].lower()
        assert line.decode("utf-8", "replace").strip().startswith(error["got"])
        assert '"do": "selftest"' in error["expected"]
        assert "ok" in await client.ask({"do": "status"})
    assert room.asked == []


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_line_is_a_request_or_a_bad_request(line: bytes) -> None:
    try:
        request = control_requests.parse(line)
    except control_requests.BadRequest as error:
        request, got = None, error.got
    else:
        got = ""
    assert len(got) <= 120
    assert request is None or json.loads(line)["do"] == type(request).__name__.lower()


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


SIMPLE = ("status", "watch", "cancel", "baseline", "line")


@given(
    st.fixed_dictionaries(
        {"do": st.sampled_from([*SIMPLE, "selftest", "press"]) | _JSON},
        optional={"hold_s": _JSON, "scope": _JSON, "trigger": _JSON, "more": _JSON},
    )
)
def test_an_accepted_request_holds_only_values_within_bounds(asked: dict[str, Any]) -> None:
    try:
        request = control_requests.parse(json.dumps(asked).encode())
    except control_requests.BadRequest:
        return
    assert "more" not in asked
    if isinstance(request, control_requests.Press):
        assert 0 <= request.hold_s <= 60
    if isinstance(request, control_requests.Selftest):
        assert request.scope in ("quick", "full")


async def test_a_line_over_the_limit_is_refused_and_the_connection_closed(path: Path) -> None:
    async with serving(path, FakeControlRoom()), peer(path) as client:
        error = (await client.ask(b"x" * (control_requests.MAX_REQUEST_BYTES + 100) + b"\n"))["error"]
        assert error["code"] == "too_large"
        assert str(control_requests.MAX_REQUEST_BYTES) in error["expected"]
        assert await client.closed()


async def test_the_seventeenth_connection_is_told_so_and_the_others_go_on(path: Path) -> None:
    async with serving(path, FakeControlRoom()):
        peers = [peer(path) for _ in range(control.MAX_CONNECTIONS)]
        clients = [await entered.__aenter__() for entered in peers]
        for client in clients:
            assert "ok" in await client.ask({"do": "status"})
        async with peer(path) as late:
            assert (await late.hear())["error"]["code"] == "busy"
            assert await late.closed()
        assert "ok" in await clients[0].ask({"do": "status"})
        for entered in peers:
            await entered.__aexit__(None, None, None)
        async with peer(path) as again:
            assert "ok" in await again.ask({"do": "status"})


async def test_a_watcher_hears_the_state_now_and_every_change(path: Path) -> None:
    room = FakeControlRoom()
    async with serving(path, room):
        async with peer(path) as client:
            assert (await client.ask({"do": "watch"}))["status"]["health"]["readiness"] == "ready"
            await room.change(status("degraded"))
            assert (await client.hear())["status"]["health"]["readiness"] == "degraded"
            assert room.watchers == 1
        async with asyncio.timeout(5):
            await room.left.wait()


async def test_a_watcher_who_reads_nothing_holds_nobody_up_and_then_sees_the_newest(path: Path) -> None:
    room = FakeControlRoom()
    async with serving(path, room), peer(path) as slow, peer(path) as quick:
        await slow.ask({"do": "watch"})
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
        changes = 400
        for number in range(changes):
            await room.change({"number": number, "filling": "x" * 4096})
            async with asyncio.timeout(5):
                await quick.ask({"do": "status"})
        slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
        heard: list[int] = []
        while not heard or heard[-1] != changes - 1:
            heard.append((await slow.hear())["status"]["number"])
        assert heard == sorted(heard)
        assert len(heard) < changes / 2


async def test_a_client_who_never_reads_is_dropped_in_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "WRITE_S", 0.05)
    room = FakeControlRoom()
    async with serving(path, room), peer(path) as slow:
        await slow.ask({"do": "watch"})
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            while not room.left.is_set():
                await room.change({"filling": "x" * 65536})
                await asyncio.sleep(0.001)


async def test_a_silent_connection_is_closed_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE_S", 0.05)
    async with serving(path, FakeControlRoom()), peer(path) as client:
        assert await client.closed()


@pytest.mark.parametrize(
    "first", [b'{"do": "press"}\n', b"\n", b"0" * 64 + b"\n", b"x" * 5000 + b"\n", b"\xff" * 64 + b"\n"]
)
async def test_who_does_not_show_the_key_first_is_refused_and_the_connection_closed(
    path: Path, first: bytes
) -> None:
    room = FakeControlRoom()
    async with serving(path, room), stranger(path) as client:
        answer = await client.ask(first + b'{"do": "press"}\n')
        assert answer["error"]["code"] == "not_permitted"
        assert await client.closed()
    assert room.asked == []


async def test_who_shows_no_key_in_time_makes_room_for_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "KEY_S", 0.05)
    async with serving(path, FakeControlRoom()), stranger(path) as client:
        assert (await client.hear())["error"]["code"] == "not_permitted"
        assert await client.closed()


async def test_the_key_is_for_its_owner_alone_and_another_at_each_start(path: Path) -> None:
    keys: set[bytes] = set()
    for _ in range(3):
        async with serving(path, FakeControlRoom()):
            keys.add(control_key.read(path.parent))
            assert mode_of(path.with_name(control_key.KEY_NAME)) == 0o600
    assert len(keys) == 3


def mode_of(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def test_the_socket_is_for_its_owner_alone_and_goes_with_the_agent(path: Path) -> None:
    async with serving(path, FakeControlRoom()):
        assert mode_of(path) == 0o600
    assert mode_of(path) is None


@pytest.fixture
def left_behind(path: Path) -> Path:
    """A socket whose process has died."""
    path.parent.mkdir()
    subprocess.run(
        [sys.executable, "-c", "import socket, sys; socket.socket(1).bind(sys.argv[1])", path], check=True
    )
    return path


async def test_a_socket_left_by_a_dead_agent_is_replaced_and_a_living_one_is_not(left_behind: Path) -> None:
    path = left_behind
    async with serving(path, FakeControlRoom()):
        with pytest.raises(SocketTaken, match="another agent"):
            await Control(path, FakeControlRoom()).serve()
        async with peer(path) as client:
            assert "ok" in await client.ask({"do": "status"})


async def test_a_path_that_cannot_be_bound_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SocketTaken, match="cannot be bound"):
        await Control(tmp_path / ("x" * 120) / "control.sock", FakeControlRoom()).serve()


@pytest.mark.parametrize(("uid", "own", "allowed"), [(0, 999, True), (999, 999, True), (1000, 999, False)])
def test_only_root_and_the_own_user_may_ask(uid: int, own: int, allowed: bool) -> None:
    assert permitted(uid, own) is allowed


_AS_NOBODY = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
peer = socket.socket(socket.AF_UNIX); peer.settimeout(5); peer.connect(sys.argv[1])
try: peer.sendall(b'{"do": "press"}\\n')
except BrokenPipeError: pass  # refused before it could ask
sys.stdout.buffer.write(peer.makefile("rb").readline())
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that every user may enter, as pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="diemcau-"))
    directory.chmod(0o755)
    yield directory / control.SOCKET_NAME
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_who_reaches_the_socket_is_refused_by_the_kernels_word(open_to_all: Path) -> None:
    room = FakeControlRoom()
    async with serving(open_to_all, room):
        os.chmod(open_to_all, 0o666)  # noqa: PTH101 - as if opened up by mistake: the uid check stands alone
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _AS_NOBODY, open_to_all, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(10):
            output, _ = await child.communicate()
    assert json.loads(output)["error"]["code"] == "not_permitted"
    assert room.asked == []
