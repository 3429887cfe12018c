"""A kit, its router, the provider and the centre in namespaces, with servers of the test's own on them.

::

    kit ──────── router ──────── provider ──────── centre
    10.0.0.2  10.0.0.1 10.1.0.1  10.1.0.2 10.2.0.1  10.2.0.2 = centre.example; the name server is 10.1.0.2

The survey runs on the kit in a process of its own without any capability, as the daemon's does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal

from diemcau_agent.line import packet
from namespaces import Namespaces

CENTRE = "10.2.0.2"
NAME = "centre.example"
REFLECTOR_PORT = 862
BROKER_PORT = 8883
SURVEY_S = 8.5
"""What a survey may take, with the start of its process."""

_SURVEY = """
import json, pathlib, sys, time
from diemcau_agent.address import Address, Tls
from diemcau_agent.path.survey import Path, uplinks
asked = json.load(sys.stdin)
path = Path(Address.parse(asked["broker"]), Tls(asked["ca_file"], None, None), asked["reflector"],
            interface=asked["interface"])
began_s = time.monotonic()
facts = path.survey(near_only=asked["near_only"], connect=asked["connect"])
print(json.dumps({"facts": facts, "took_s": time.monotonic() - began_s, "uplinks": uplinks(),
      "status": pathlib.Path("/proc/self/status").read_text()}))
"""
_NO_PRIVILEGE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")

NameServerMood = Literal["answers", "refuses", "silent", "no_such_name"]


def survey(
    net: Namespaces,
    *,
    broker: str = f"mqtts://{NAME}:{BROKER_PORT}",
    reflector: str | None = NAME,
    ca_file: Path | None = None,
    interface: str | None = None,
    near_only: bool = False,
    connect: bool = True,
    host: str = "kit",
) -> dict[str, Any]:
    """What an unprivileged survey on ``host`` finds; AssertionError where it was not in time."""
    asked = {
        "broker": broker,
        "reflector": None if reflector is None else (reflector, REFLECTOR_PORT),
        "ca_file": None if ca_file is None else str(ca_file),
        "interface": interface,
        "near_only": near_only,
        "connect": connect,
    }
    running = net.exec(
        host,
        [*_NO_PRIVILEGE, sys.executable, "-c", _SURVEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, failed = running.communicate(json.dumps(asked), timeout=15)
    assert running.returncode == 0, failed
    told = json.loads(said)
    assert "CapEff:\t0000000000000000\n" in told["status"]
    assert told["took_s"] < SURVEY_S, told
    return told["facts"] | {"uplinks": told["uplinks"]}


class Servers:
    """Servers on the hosts of ``net``, started one by one; their sockets are in the namespaces, their
    threads here."""

    def __init__(self, net: Namespaces) -> None:
        self.net = net
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def close(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)

    def reflect(self, host: str = "centre", address: str = CENTRE) -> None:
        """A stateless STAMP reflector (RFC 8762, 4.3): every reply as long as its request."""

        def answer(data: bytes) -> bytes | None:
            seq, sent, estimate, ssid = packet.REQUEST.unpack_from(data)
            now = packet.to_ntp(time.time_ns())
            reply = packet.REPLY.pack(seq, now, estimate, ssid, now, seq, sent, estimate, 64)
            return reply + data[packet.BASE_BYTES :]

        self._serve_udp(host, address, REFLECTOR_PORT, answer)

    def name(self, mood: NameServerMood = "answers") -> None:
        """The name server: centre.example has an A record, nothing else."""

        def answer(data: bytes) -> bytes | None:
            if mood == "silent":
                return None
            question = data[12 : data.index(0, 12) + 5]
            code = {"answers": 0, "refuses": 5, "no_such_name": 3}[mood]
            is_a = question[-4:-2] == b"\x00\x01" and mood == "answers"
            record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(CENTRE) if is_a else b""
            return data[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, int(is_a), 0, 0) + question + record

        self._serve_udp("provider", "10.1.0.2", 53, answer)

    def listen(self, context: ssl.SSLContext | None, host: str = "centre", address: str = CENTRE) -> None:
        """The broker's door: TLS with ``context``, else TCP alone."""
        with self.net.enter(host):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            door = socket.create_server((address, BROKER_PORT), family=family)
        door.settimeout(0.1)
        self._start(lambda: self._open(door, context), door)

    def _open(self, door: socket.socket, context: ssl.SSLContext | None) -> None:
        with contextlib.suppress(TimeoutError):
            guest, _ = door.accept()
            guest.settimeout(2)
            with contextlib.suppress(OSError):  # whoever knocks may refuse us, or hang up
                if context is not None:
                    guest = context.wrap_socket(guest, server_side=True)
                guest.recv(1)
            guest.close()

    def _serve_udp(self, host: str, address: str, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        with self.net.enter(host):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.settimeout(0.1)

        def once() -> None:
            with contextlib.suppress(TimeoutError):
                data, peer = sock.recvfrom(2048)
                reply = answer(data)
                if reply is not None:
                    with contextlib.suppress(OSError):  # no way back: lost, as on any line
                        sock.sendto(reply, peer)

        self._start(once, sock)

    def _start(self, once: Callable[[], None], sock: socket.socket) -> None:
        def run() -> None:
            with sock:
                while not self._stopping.is_set():
                    once()

        thread = threading.Thread(target=run)
        thread.start()
        self._threads.append(thread)


@contextlib.contextmanager
def rig(*, mtu: int | tuple[int, int] = 1500, pings: bool = True) -> Generator[Servers, None, None]:
    """The four hosts of the picture above, cabled, without a server yet.

    ``mtu``: of the cable from router to provider, of both its ends or of each.
    """
    with Namespaces() as net, contextlib.closing(Servers(net)) as servers:
        net.host("kit", pings=pings)
        net.host("router", forwards=True)
        net.host("provider", forwards=True)
        net.host("centre")
        net.link("kit", "router", ("10.0.0.2/24", "10.0.0.1/24"))
        net.link("router", "provider", ("10.1.0.1/24", "10.1.0.2/24"), mtu)
        net.link("provider", "centre", ("10.2.0.1/24", "10.2.0.2/24"))
        net.route("kit", "default", via="10.0.0.1")
        net.route("router", "default", via="10.1.0.2")
        net.route("provider", "10.0.0.0/24", via="10.1.0.1")
        net.route("centre", "default", via="10.2.0.1")
        net.nameserver("kit", "10.1.0.2")
        yield servers


class Authority:
    """A CA of the test's own, and certificates for centre.example with the dates that are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        (folder / "index").touch()
        (folder / "serial").write_text("01\n")
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca = d\n[d]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\n"
            f"serial = {folder}/serial\ndefault_md = sha256\npolicy = p\ncopy_extensions = copy\n"
            "unique_subject = no\n[p]\ncommonName = supplied\n"
        )
        self._key("req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "3650")
        self._key("req", "-keyout", "s.key", "-out", "s.csr", "-subj", f"/CN={NAME}",
                  "-addext", f"subjectAltName=DNS:{NAME},IP:{CENTRE}")  # fmt: skip

    def context(self, begin: str = "20200101000000Z", end: str = "20991231000000Z") -> ssl.SSLContext:
        """For the server's side. The dates are ASN.1's (YYYYMMDDHHMMSSZ)."""
        self._openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key",
                      "-in", "s.csr", "-out", "s.pem", "-startdate", begin, "-enddate", end,
                      "-notext")  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "s.pem", self._folder / "s.key")
        return context

    def _key(self, *arguments: str) -> None:
        self._openssl(
            *arguments, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"
        )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True, timeout=10)
