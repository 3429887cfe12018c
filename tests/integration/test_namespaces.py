"""The networks that tests are run on: made whole, and taken away whole."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import namespaces
from namespaces import THREAD_PROC, NamespaceError, Namespaces

pytestmark = pytest.mark.netns


def names() -> list[str]:
    listed = subprocess.run([str(namespaces.IP), "netns", "list"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in listed.stdout.splitlines()]


def test_whatever_happened_nothing_is_left(tmp_path: Path) -> None:
    net = Namespaces()
    with pytest.raises(ZeroDivisionError), net:
        _fall(net, tmp_path / "pid")
    assert not [name for name in names() if name.startswith(f"diemcau-test-{os.getpid()}-")]
    assert not list(Path("/etc/netns").glob(f"diemcau-test-{os.getpid()}-*"))
    stray = int((tmp_path / "pid").read_text())
    deadline_s = time.monotonic() + 5
    while _runs(stray):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    with pytest.raises(KeyError):
        net.name("a")


def _fall(net: Namespaces, pid_file: Path) -> None:
    """A network with a server, and a process that nobody here knows of, and then a mistake."""
    net.host("a")
    net.nameserver("a", "10.0.0.1")
    net.exec("a", ["sleep", "100"])
    net.run("a", ["sh", "-c", f"setsid sleep 100 >/dev/null 2>&1 & echo $! >{pid_file}"])
    assert Path("/etc/netns", net.name("a"), "resolv.conf").exists()
    assert net.name("a") in names()
    raise ZeroDivisionError


def test_a_run_that_was_killed_is_cleaned_up_by_the_next() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = f"diemcau-test-{dead.pid}-0000-a"
    subprocess.run([str(namespaces.IP), "netns", "add", name], check=True)
    with Namespaces() as net:
        net.host("a")
        assert name not in names()
        with Namespaces():
            assert net.name("a") in names()  # of a run that lives


def test_a_thread_is_on_a_host_and_comes_back() -> None:
    here = (THREAD_PROC / "ns/net").readlink()
    with Namespaces() as net:
        net.host("a")
        with net.enter("a"):
            assert (THREAD_PROC / "ns/net").readlink() != here
        assert (THREAD_PROC / "ns/net").readlink() == here


def test_a_cable_that_is_pulled_is_seen_at_both_ends() -> None:
    with Namespaces() as net:
        net.host("a")
        net.host("b")
        net.link("a", "b", ("10.0.0.1/24", "10.0.0.2/24"))
        carrier = ["cat", "/sys/class/net/eth0/carrier"]
        assert net.run("a", carrier).strip() == "1"
        net.up("b", "eth0", is_up=False)
        assert net.run("a", carrier).strip() == "0"
        net.up("b", "eth0", is_up=True)
        assert net.run("a", carrier).strip() == "1"


def test_what_cannot_be_done_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with Namespaces() as net:
        net.host("a")
        with pytest.raises(NamespaceError, match="exit 1"):
            net.run("a", ["false"])
        with pytest.raises(NamespaceError, match="not ended"):
            net.run("a", ["sleep", "5"], timeout_s=0.1)
        with pytest.raises(KeyError, match="no such host"):
            net.link("a", "b")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NamespaceError, match="need root, this is uid 1000"):
        Namespaces()
    monkeypatch.setattr(namespaces, "IP", None)
    with pytest.raises(NamespaceError, match="not installed"):
        Namespaces()


def _runs(pid: int) -> bool:
    """Neither gone nor a zombie that waits for its parent."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
