"""From a box to online: a daemon that waits for its certificate, and the enrolment beside it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diemcau_agent import broker, logs
from diemcau_agent.app import live
from diemcau_agent.clock import SystemClock
from diemcau_agent.enrolment import command
from diemcau_agent.parts import Parts
from diemcau_agent.spool import Spool
from diemcau_sim.mosquitto import free_port, program
from diemcau_sim.server import serving
from diemcau_sim.world import World
from enrolling_kit import TOKEN
from est_authority import Authority
from est_server import EstServer
from lone_session import point
from simroom import settings_of

pytestmark = pytest.mark.mosquitto
AUTHORITY = Authority()


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EstServer]:
    with EstServer(AUTHORITY, tmp_path) as server:
        yield server


@pytest.fixture
def url(est: EstServer, tmp_path: Path) -> Iterator[str]:
    """A mosquitto that takes nobody without a certificate of the authority."""
    port = free_port()
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    (tmp_path / "mosquitto.conf").write_text(
        f"user root\nset_tcp_nodelay true\nlistener {port} 127.0.0.1\ncafile {tmp_path}/ca.pem\n"
        f"certfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.pem\n"
        "require_certificate true\nuse_identity_as_username true\n"
    )
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen([program(), "-c", tmp_path / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        ends_s = time.monotonic() + 5
        while not broker.reachable("localhost", port):
            assert time.monotonic() < ends_s, (tmp_path / "log").read_text()
            time.sleep(0.02)
        yield f"mqtts://localhost:{port}"
    finally:
        child.terminate()
        child.wait(5)


def soon(low: float, high: float) -> float:
    return 0.05


async def test_a_kit_waits_for_its_certificate_says_so_and_is_online_once_it_is_there(
    url: str, est: EstServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = {
        "state_dir": str(tmp_path / "state"),
        "enrolment": {
            "url": est.url,
            "ca_file": str(tmp_path / "ca.pem"),
            "token_file": str(tmp_path / "token"),
        },
    }
    async with point(SystemClock(), url, kit=kit, uniform=soon) as room:
        await room.until(lambda: room.broker.trouble != "not connected yet")
        assert not room.broker.enrolled
        assert room.broker.trouble is not None
        assert room.broker.trouble.startswith("not enrolled yet: ")
        est.tokens[room.name] = TOKEN
        (tmp_path / "token").write_text(TOKEN)
        enrolled = await asyncio.to_thread(
            command.enrol, room.settings, renew=False, as_json=False, language="vi"
        )
        assert (enrolled, capsys.readouterr().out.startswith("Đã đăng ký: ")) == (0, True)
        await room.online()
        assert room.broker.enrolled
        assert f"u'{room.name}'" in (tmp_path / "log").read_text()

        renewed = await asyncio.to_thread(
            command.enrol, room.settings, renew=True, as_json=False, language="en"
        )
        assert (renewed, room.broker.trouble) == (0, None), "a session that holds is left alone"
        assert room.broker.connection is not None
        await room.broker.connection.close()
        await room.until(lambda: room.broker.trouble is not None)
        await room.online()
    await asyncio.to_thread(_shown, room.settings.tls.context(), est)
    assert est.peers[-1] == est.issued[-1].serial_number, "the next connection shows the new certificate"
    assert len(est.issued) == 2


async def test_the_room_itself_says_that_it_is_not_enrolled(tmp_path: Path) -> None:
    """Light, screen and status of a whole agent in a simulated room."""
    settings = settings_of(
        tmp_path,
        "mqtts://localhost:1",
        "127.0.0.1:1",
        enrolment={"url": "https://localhost:1"},
        language="vi",
    )
    for folder in (settings.state_dir, settings.runtime_dir):
        Path(folder).mkdir()
    world = World()
    with serving(world, tmp_path / "world.sock"):
        spool = await Spool.open(Path(settings.state_dir) / "spool.sqlite3")
        app = Parts(settings, logs.begin(), SystemClock(), spool, await spool.next_session())
        task = asyncio.create_task(live(app), name="agent")
        try:
            async with asyncio.timeout(15):
                while app.room.status()["connection"]["state"] != "enrolling" or not shown(world):
                    assert not task.done()
                    await asyncio.sleep(0.05)
            connection = app.room.status()["connection"]
            assert connection["detail"] == f"not enrolled yet: {settings.identity_dir}/ca.pem is not there"
        finally:
            app.tasks.stop(0)
            await task
            await spool.close()


def shown(world: World) -> bool:
    room = world.snapshot()
    return (room["light"], room["screen"]["message"]) == ([0.0, 0.0, 1.0], "Thiết bị này chưa được đăng ký.")


def _shown(context: object, est: EstServer) -> None:
    import ssl

    assert isinstance(context, ssl.SSLContext)
    with (
        socket.create_connection(("127.0.0.1", est.port)) as line,
        context.wrap_socket(line, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(b"GET /.well-known/est/cacerts HTTP/1.0\r\n\r\n")
        assert wrapped.recv(16).startswith(b"HTTP/1.")
