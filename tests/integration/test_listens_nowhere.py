"""A room that runs is no server: nobody connects to it from a network, and on the kit only who runs it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from diemcau_agent import control_key
from diemcau_sim.mosquitto import PrivateMosquitto
from diemcau_sim.room import Room
from observer import Heard, Observer

pytestmark = pytest.mark.mosquitto

POINT = "xp-listens"
NOBODY = 65534
ASKS = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
    print(client.makefile().readline())
except OSError as error:
    print(type(error).__name__)
"""
PID = re.compile(r"pid=(\d+)")
"""In what ``ss -p`` says."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where any user may look in, so that what keeps them out is the socket and not the way to it."""
    made = Path(tempfile.mkdtemp(prefix="l-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def room(directory: Path, mosquitto: PrivateMosquitto, observer: Observer) -> AsyncIterator[Room]:
    made = Room(POINT, mosquitto.url, directory)
    await asyncio.to_thread(made.start)
    try:
        await observer.until(lambda h: _ready(h), 15)
        yield made
    finally:
        await asyncio.to_thread(made.stop)


def _ready(heard: Heard) -> bool:
    """Not as of the test before."""
    of_this_room = heard.name == "health" and heard.point == POINT and not heard.retained
    return of_this_room and heard.document["readiness"] == "ready"


def processes(room: Room) -> dict[int, str]:
    """The agent and all that it started: pid -> command line."""
    assert room.pid is not None
    agent = psutil.Process(room.pid)
    return {one.pid: " ".join(one.cmdline()) for one in (agent, *agent.children(recursive=True))}


async def test_no_process_of_a_room_listens_on_a_network_or_takes_packets_from_anybody(
    room: Room,
) -> None:
    """Each socket was opened by the agent towards one peer: the broker; the reflector while it measures."""
    ours = processes(room)
    for name in ("camera", "audio", "display", "panel"):
        assert any(line.endswith(f"diemcau_drivers {name}") for line in ours.values()), (
            f"no {name} to look at"
        )
    sockets = [one for one in psutil.net_connections("inet") if one.pid in ours]
    assert sockets, "the connection to the broker is one"
    for one in sockets:
        assert one.status != psutil.CONN_LISTEN, (one, ours[one.pid or 0])
        assert one.raddr, f"{one} of {ours[one.pid or 0]} takes packets from anybody"
        assert one.pid == room.pid, f"{one}: a device's process has no business with a network"


async def test_ss_says_the_same(room: Room, mosquitto: PrivateMosquitto) -> None:
    ours = processes(room)
    ss = shutil.which("ss", path="/usr/bin:/bin:/usr/sbin:/sbin")
    assert ss is not None, "ss (iproute2) is not installed; `make test` installs it"
    listed = await _output(ss, "-Hlntuwp")
    assert f":{mosquitto.port} " in listed, "the broker of this test listens"
    mine = [line for line in listed.splitlines() if ours.keys() & set(map(int, PID.findall(line)))]
    assert mine == []


async def test_unix_sockets_are_the_owners_alone(room: Room) -> None:
    ours = processes(room)
    listening = {
        Path(str(one.laddr))
        for one in psutil.net_connections("unix")
        if one.pid in ours and one.laddr and str(one.laddr).startswith("/")
    }
    assert listening == {room.runtime_dir / "control.sock"}
    assert (room.runtime_dir / "control.sock").stat().st_mode & 0o777 == 0o600


async def test_another_user_is_kept_out_by_the_sockets_mode_and_by_who_the_kernel_says_it_is(
    room: Room,
) -> None:
    path = room.runtime_dir / "control.sock"
    room.runtime_dir.chmod(0o755)
    assert await _asked_by(NOBODY, path) == "PermissionError"
    path.chmod(0o666)  # as if somebody had opened it to all
    refusal = json.loads(await _asked_by(NOBODY, path))
    assert refusal["error"]["code"] == "not_permitted"
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(str(path))
        own.sendall(control_key.read(path.parent) + b'{"do": "status"}\n')
        assert "error" not in json.loads(await asyncio.to_thread(own.makefile().readline))


async def _asked_by(uid: int, path: Path) -> str:
    """What a process of that user is told, run by the system's Python: the project's may be root's alone."""
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    command = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", python, "-c", ASKS, str(path))
    return (await _output(*command)).strip()


async def _output(*command: str) -> str:
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    return output.decode()
