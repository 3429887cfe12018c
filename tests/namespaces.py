"""Networks made of the kernel's own namespaces: hosts, cables between them, routes. For root only.

Nothing outside is touched: every namespace has a name of its own, its cables are veth pairs that end inside,
and all of it goes away with the ``with`` block, whatever happened in it::

    with Namespaces() as net:
        net.host("kit")
        net.host("router", forwards=True)
        near, far = net.link("kit", "router", ("10.0.0.2/24", "10.0.0.1/24"))
        net.route("kit", "default", via="10.0.0.1")
        net.run("router", ["tc", "qdisc", "add", "dev", far, "root", "tbf", ...])
        with net.enter("kit"):
            ...  # sockets made by this thread, and by threads that it starts, are the kit's
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

IP = shutil.which("ip", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
THREAD_PROC = Path("/proc/thread-self")
"""In place of /proc after :meth:`Namespaces.enter`: /proc/net is the main thread's."""
_OURS = "diemcau-test"
_CLONE_NEWNET = 0x40000000
_COMMAND_S = 10.0
_STOP_S = 2.0


class NamespaceError(Exception):
    """A network could not be made, and why: not root, no ``ip``, or what ``ip`` said."""


class Namespaces:
    def __init__(self) -> None:
        if IP is None:
            raise NamespaceError("ip: not installed (Debian: iproute2)")
        if os.geteuid() != 0:
            raise NamespaceError(f"network namespaces need root, this is uid {os.geteuid()}")
        _sweep()
        self._prefix = f"{_OURS}-{os.getpid()}-{secrets.token_hex(2)}-"
        self._devices: dict[str, int] = {}
        self._running: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process in the namespaces, then the namespaces with their cables. May be called twice."""
        for process in self._running:
            _end(process)
        self._running.clear()
        for host in list(self._devices):
            for pid in _ip(["netns", "pids", self.name(host)], check=False).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip(["netns", "del", self.name(host)], check=False)
            shutil.rmtree(_etc(self.name(host)), ignore_errors=True)
            del self._devices[host]

    def name(self, host: str) -> str:
        """The namespace of ``host``, as ``ip netns`` knows it. KeyError: there is no such host."""
        if host not in self._devices:
            raise KeyError(f"{host!r}: no such host, there are {sorted(self._devices)}")
        return self._prefix + host

    def host(self, name: str, *, forwards: bool = False, pings: bool = True) -> str:
        """A new host with its loopback up; ``forwards``: a router.

        ``pings``: everybody may open ICMP sockets, as systemd's defaults have it; a new namespace allows
        nobody, as Debian 12 does. Addresses of IPv6 are good at once, no duplicate is looked for.
        """
        _ip(["netns", "add", self._prefix + name])
        self._devices[name] = 0
        self.run(name, [str(IP), "link", "set", "lo", "up"])
        for family in ("all", "default"):
            self.sysctl(name, f"net.ipv6.conf.{family}.accept_dad", 0)
        if pings:
            self.sysctl(name, "net.ipv4.ping_group_range", "0 2147483647")
        if forwards:
            self.sysctl(name, "net.ipv4.ip_forward", 1)
            self.sysctl(name, "net.ipv6.conf.all.forwarding", 1)
        return name

    def link(
        self, a: str, b: str, addresses: tuple[str, str] | None = None, mtu: int | tuple[int, int] = 1500
    ) -> tuple[str, str]:
        """A cable from ``a`` to ``b``, up at both ends; the names of its two devices (eth0, eth1, ...).

        ``addresses``: CIDR of each end. ``mtu``: of both ends, or of each: the end with the smaller one
        drops larger frames without a word (beyond 4 octets, the kernel's allowance for a VLAN tag).
        """
        ends = (self._device(a), self._device(b))
        mtus = (mtu, mtu) if isinstance(mtu, int) else mtu
        _ip(["link", "add", ends[0], "netns", self.name(a), "type", "veth",
             "peer", "name", ends[1], "netns", self.name(b)])  # fmt: skip
        for at, host in enumerate((a, b)):
            self.run(host, [str(IP), "link", "set", ends[at], "mtu", str(mtus[at]), "up"])
            if addresses is not None:
                self.address(host, ends[at], addresses[at])
        return ends

    def address(self, host: str, device: str, cidr: str) -> None:
        """One more address, IPv4 or IPv6."""
        self.run(host, [str(IP), "address", "add", cidr, "dev", device])

    def route(
        self,
        host: str,
        destination: str,
        *,
        via: str | None = None,
        device: str | None = None,
        metric: int | None = None,
    ) -> None:
        """``destination``: CIDR or "default"; ``via`` a gateway, IPv4 or IPv6, ``device``, or both."""
        family = "-6" if ":" in f"{destination}{via or ''}" else "-4"
        argv = [str(IP), family, "route", "add", destination]
        for word, value in (("via", via), ("dev", device), ("metric", metric)):
            argv += [] if value is None else [word, str(value)]
        self.run(host, argv)

    def up(self, host: str, device: str, *, is_up: bool) -> None:
        """Pull the cable or plug it in: the other end sees its carrier come and go."""
        self.run(host, [str(IP), "link", "set", device, "up" if is_up else "down"])

    def sysctl(self, host: str, key: str, value: int | str) -> None:
        """Written to /proc/sys by way of a thread's own view of it, so that no sysctl(8) is needed."""
        with self.enter(host):
            Path("/proc/sys", *key.split(".")).write_text(str(value))

    def nameserver(self, host: str, *addresses: str, options: str = "") -> None:
        """What /etc/resolv.conf says to programs run by :meth:`exec` and :meth:`run`; none: an empty one."""
        folder = _etc(self.name(host))
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"nameserver {address}" for address in addresses] + ([f"options {options}"] * bool(options))
        (folder / "resolv.conf").write_text("".join(f"{line}\n" for line in lines))

    def exec(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on ``host``; ``options`` are Popen's. Its pid is the program's own."""
        started = subprocess.Popen([str(IP), "netns", "exec", self.name(host), *argv], **options)
        self._running.append(started)
        return started

    def run(self, host: str, argv: Sequence[str], timeout_s: float = _COMMAND_S) -> str:
        """Run a program on ``host`` to its end; what it said. NamespaceError: it failed, or took too long."""
        return _run([str(IP), "netns", "exec", self.name(host), *argv], timeout_s)

    @contextmanager
    def enter(self, host: str) -> Generator[None, None, None]:
        """This thread is on ``host`` until the block ends, and so are sockets and threads made in it.

        Files are not: see :data:`THREAD_PROC`; /sys and /etc/resolv.conf stay the machine's.
        """
        with Path(f"/run/netns/{self.name(host)}").open() as there, (THREAD_PROC / "ns/net").open() as back:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(back.fileno())

    def _device(self, host: str) -> str:
        self.name(host)
        number = self._devices[host]
        self._devices[host] += 1
        return f"eth{number}"


def _sweep() -> None:
    """Take away what a run left behind that was killed before its end."""
    for line in _ip(["netns", "list"]).splitlines():
        name = line.split()[0]
        if (found := re.match(rf"{_OURS}-(\d+)-", name)) and not Path("/proc", found[1]).exists():
            _ip(["netns", "del", name], check=False)
            shutil.rmtree(_etc(name), ignore_errors=True)


def _setns(fd: int) -> None:
    # os.setns is there from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        raise NamespaceError(f"setns: {os.strerror(ctypes.get_errno())}")


def _ip(arguments: Sequence[str], *, check: bool = True) -> str:
    return _run([str(IP), *arguments], _COMMAND_S, check=check)


def _run(argv: Sequence[str], timeout_s: float, *, check: bool = True) -> str:
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise NamespaceError(f"{' '.join(argv)}: not ended after {timeout_s:g} s") from error
    if check and ended.returncode != 0:
        raise NamespaceError(f"{' '.join(argv)}: exit {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


def _etc(namespace: str) -> Path:
    """What ``ip netns exec`` puts over /etc."""
    return Path("/etc/netns", namespace)


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()
