"""Whom a device's process reaches once its library is in somebody else's hands: the daemon, by its pipe.

Every try is made by a real process of that kind, from a backend that is loaded as any other.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from diemcau_agent.control import SOCKET_NAME, Control
from diemcau_agent.control_client import ControlClient
from diemcau_agent.control_key import KEY_NAME
from diemcau_drivers import landlock, seccomp
from diemcau_drivers.contract import PROCESSES
from fake_control_room import FakeControlRoom
from trespasser import Attempts, install


@pytest.fixture(scope="module", autouse=True)
def abi() -> int:
    """Where the kernel has not both there is nothing to prove, and that is said, not skipped."""
    abi = landlock.abi()
    assert abi > 0, "this kernel has no Landlock: its proofs cannot be run here"
    assert seccomp.machine() is not None, "this machine's calls are not known to the filter"
    return abi


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    site = tmp_path / "site"
    site.mkdir()
    # Not even root's capabilities would help; the agent's user has none.
    inside = ("setpriv", "--bounding-set=-all", "--") if os.geteuid() == 0 else ()
    return Attempts({"PYTHONPATH": install(site)}, tmp_path / "run", inside)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def room() -> FakeControlRoom:
    return FakeControlRoom()


@pytest.fixture
async def control_socket(tmp_path: Path, room: FakeControlRoom) -> AsyncIterator[Path]:
    path = tmp_path / "run" / SOCKET_NAME
    control = Control(path, room)
    serving = asyncio.create_task(control.serve())
    await control.listening.wait()
    yield path
    serving.cancel()
    await asyncio.wait({serving})


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_reaches_no_network_and_no_other_process(
    attempts: Attempts, abi: int, listening: int, process: str
) -> None:
    name = f"@diemcau-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract:
        abstract.bind("\0" + name[1:])
        abstract.listen()
        told = attempts.of(
            process,
            ("connect", listening),
            ("listen", 0),
            ("signal", os.getpid()),
            ("unix", name),
            ("read", f"/proc/{os.getpid()}/environ"),
            ("read", f"/proc/{os.getpid()}/mem"),
            ("list", f"/proc/{os.getpid()}/cwd/"),
        )
    others = "EPERM" if abi >= 6 else "ok"
    assert told[:4] == ["EACCES", "EACCES", others, others]
    assert told[4:] == ["EACCES"] * 3


SOCKETS = {
    "IPv4, UDP": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "IPv6, UDP": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "IPv4, ping": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    "IPv4, raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
    "Ethernet": (socket.AF_PACKET, socket.SOCK_RAW, 0),
    "routes": (socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE),
    "netfilter": (socket.AF_NETLINK, socket.SOCK_RAW, 12),
    "audit": (socket.AF_NETLINK, socket.SOCK_RAW, 9),
    "virtual machine": (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
    "ciphers": (socket.AF_ALG, socket.SOCK_SEQPACKET, 0),
    "Bluetooth": (31, socket.SOCK_RAW, 1),
    "CAN": (29, socket.SOCK_RAW, 1),
}
NEWS_OF_DEVICES = (socket.AF_NETLINK, socket.SOCK_RAW, 15)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_sends_no_packet_and_makes_no_socket_but_unix_ones(
    attempts: Attempts, process: str
) -> None:
    wanted = [("socket", " ".join(map(str, map(int, one)))) for one in (*SOCKETS.values(), NEWS_OF_DEVICES)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sent, *told, news = attempts.of(process, ("send", receiver.getsockname()[1]), *wanted)
        with pytest.raises(BlockingIOError):
            receiver.recv(1)
    assert sent == "EACCES"
    assert dict(zip(SOCKETS, told, strict=True)) == dict.fromkeys(SOCKETS, "EACCES")
    assert news == ("ok" if process == "camera" else "EACCES"), "udev's word, which libcamera waits for"


@pytest.mark.parametrize("process", PROCESSES)
async def test_a_process_asks_nothing_of_the_agent_though_the_socket_is_its_own_users(
    attempts: Attempts, control_socket: Path, room: FakeControlRoom, process: str
) -> None:
    path = control_socket
    key = path.with_name(KEY_NAME)
    told = await asyncio.to_thread(
        attempts.of,
        process,
        ("unix", path),
        ("read", key),
        *(("ask", f"{do} {path}") for do in ("status", "press", "baseline")),
        ("run", f"cat {key}"),
    )
    assert told[:5] == ["ok", "EACCES", *["not_permitted"] * 3]
    assert "Permission denied" in told[5]
    assert room.asked == []

    def ask_from_outside() -> None:
        with ControlClient(path) as client:
            client.call("press", timeout_s=5)

    await asyncio.to_thread(ask_from_outside)
    assert room.asked == [("press", 0.0)]
