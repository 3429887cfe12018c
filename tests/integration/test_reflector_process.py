"""``diemcau-fleet reflector`` as a process promises: it says where it listens and what it did, ends at once
when it is told to, and several of it share a port, stand in for one that dies, and leave together."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diemcau_agent.exits import NOT, OK
from diemcau_agent.line import packet
from diemcau_agent.line.packet import Reply

PROGRAM = Path(sys.executable).with_name("diemcau-fleet")
DEADLINE_S = 10.0


class Process:
    """A running reflector; ``port`` is the first address's."""

    def __init__(self, *options: str, listen: str = "127.0.0.1:0") -> None:
        self.popen = subprocess.Popen(
            [PROGRAM, "reflector", "--listen", listen, *options], stderr=subprocess.PIPE, text=True
        )
        self.first = self.line()
        found = re.match(r"listening on \S+:([0-9]+)[, ]", self.first)
        assert found, self.first
        self.port = int(found[1])

    def line(self) -> str:
        assert self.popen.stderr is not None
        return self.popen.stderr.readline().rstrip("\n")

    def children(self) -> list[int]:
        pid = self.popen.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, dict[str, int]]:
        """Its exit code, and the counters of its last line."""
        self.popen.send_signal(number)
        _, told = self.popen.communicate(timeout=DEADLINE_S)
        return self.popen.returncode, counters(told.splitlines()[-1])


def counters(line: str) -> dict[str, int]:
    assert re.fullmatch(r"([a-z]+=[0-9]+ ?)+", line), line
    return {name: int(number) for name, number in (pair.split("=") for pair in line.split())}


@contextmanager
def running(*options: str, listen: str = "127.0.0.1:0") -> Generator[Process]:
    process = Process(*options, listen=listen)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.terminate()
        process.popen.communicate(timeout=DEADLINE_S)


@contextmanager
def senders(port: int, count: int = 1) -> Generator[list[socket.socket]]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for one in sockets:
            one.settimeout(DEADLINE_S)
            one.connect(("127.0.0.1", port))
        yield sockets
    finally:
        for one in sockets:
            one.close()


def ask(sender: socket.socket, seq: int, size_bytes: int = 100) -> Reply:
    sender.send(packet.request(seq, time.time_ns(), 5, 0x0101, size_bytes, dscp=0))
    reply = sender.recv(2048)
    assert len(reply) == size_bytes
    return packet.read_reply(reply)


def until(what: str, true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, f"{what}: not within {DEADLINE_S:g} s"
        time.sleep(0.01)


def test_it_answers_in_the_order_of_time_and_its_last_line_counts_what_it_did() -> None:
    with running() as process, senders(process.port) as (sender,):
        replies = [ask(sender, seq) for seq in range(20)]
        sender.send(b"short")
        assert [(reply.seq, reply.sender_seq, reply.ssid) for reply in replies] == [
            (seq, seq, 5) for seq in range(20)
        ]
        for reply in replies:
            assert reply.sent_ns - 1000 <= reply.received_ns <= reply.replied_ns <= time.time_ns()
        code, told = process.end()
    assert code == OK
    assert told["received"] == told["reflected"] + told["malformed"]
    assert (told["reflected"], told["sessions"], told["sources"], told["overrun"]) == (20, 1, 1, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_signal_ends_it_at_once_and_well(number: signal.Signals, options: tuple[str, ...]) -> None:
    with running(*options) as process:
        began_s = time.monotonic()
        code, told = process.end(number)
        assert (code, told["received"]) == (OK, 0)
        assert time.monotonic() - began_s < 3


def test_its_counters_come_at_the_pace_that_was_asked_for() -> None:
    with running("--stats-s", "0.1") as process, senders(process.port) as (sender,):
        assert counters(process.line())["received"] == 0
        ask(sender, 0)
        until("counted", lambda: counters(process.line())["reflected"] == 1)


def test_after_a_restart_a_session_starts_at_zero_again() -> None:
    with running() as process, senders(process.port) as (sender,):
        port = process.port
        assert [ask(sender, seq).seq for seq in (7, 8, 9)] == [0, 1, 2]
        process.end()
        with running(listen=f"127.0.0.1:{port}"):
            assert ask(sender, 10).seq == 0


def test_stateless_it_echoes_the_senders_number() -> None:
    with running("--stateless") as process, senders(process.port) as (sender,):
        assert "stateless" in process.first
        assert [ask(sender, seq).seq for seq in (7, 9, 8)] == [7, 9, 8]


def test_the_cap_on_a_source_is_the_one_that_was_given() -> None:
    with running("--source-pps", "1") as process, senders(process.port) as (sender,):
        ask(sender, 0)
        for seq in range(1, 50):
            sender.send(packet.request(seq, time.time_ns(), 5, 0x0101))
        until("all have come", lambda: _queued(process.port) == 0)
        _, told = process.end()
    assert told["received"] == 50
    assert told["capped"] >= 45  # a machine that stands still for seconds earns it another


def _queued(port: int) -> int:
    """Octets that wait in the sockets of a port of 127.0.0.1 (proc(5), /proc/net/udp)."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1] == f"0100007F:{port:04X}")


def test_it_listens_on_several_addresses_of_both_families() -> None:
    with running("--listen", "[::1]:0") as process:
        found = re.match(r"listening on 127\.0\.0\.1:[0-9]+, \[::1\]:([0-9]+) ", process.first)
        assert found, process.first
        with senders(process.port) as (four,), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            six.settimeout(DEADLINE_S)
            six.connect(("::1", int(found[1])))
            assert (ask(four, 1).sender_seq, ask(six, 2).sender_seq) == (1, 2)


@pytest.mark.parametrize("processes", ["1", "3"])
def test_an_address_that_is_taken_ends_it_with_1_and_is_named(processes: str) -> None:
    with running("--processes", processes) as process:
        address = f"127.0.0.1:{process.port}"
        ended = subprocess.run(
            [PROGRAM, "reflector", "--listen", address, "--processes", processes],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (NOT, f"{address}: cannot listen: Address already in use\n")


def test_several_processes_share_the_port_and_each_session_stays_with_one() -> None:
    with running("--processes", "2") as process, senders(process.port, 64) as sockets:
        until("two children", lambda: len(process.children()) == 2)
        stopped, _ = process.children()
        for seq in range(3):
            assert [ask(sender, seq).seq for sender in sockets] == [seq] * 64
        os.kill(stopped, signal.SIGSTOP)
        try:
            for sender in sockets:
                sender.send(packet.request(3, time.time_ns(), 5, 0x0101))
            until("the other's share is answered", lambda: len(readable(sockets)) >= 8)
            # Of 64 by a hash, fewer than 8 for either is a chance of 1 in 10**9.
            assert _queued(process.port) > 0
            assert len(readable(sockets)) < 64
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert [packet.read_reply(sender.recv(2048)).seq for sender in sockets] == [3] * 64
        _, told = process.end()
    assert (told["reflected"], told["sessions"]) == (256, 64)


def readable(sockets: list[socket.socket]) -> list[socket.socket]:
    return select.select(sockets, [], [], 0)[0]


def test_a_process_that_dies_is_replaced_and_what_came_meanwhile_is_answered() -> None:
    with running("--processes", "2") as process, senders(process.port, 32) as sockets:
        until("two children", lambda: len(process.children()) == 2)
        killed, left = process.children()
        os.kill(killed, signal.SIGKILL)
        for sender in sockets:
            sender.send(packet.request(0, time.time_ns(), 5, 0x0101))
        for sender in sockets:
            assert packet.read_reply(sender.recv(2048)).seq == 0
        assert process.line() == "process 0 ended (-9), is started again"
        until("two children again", lambda: len(process.children()) == 2)
        assert killed not in process.children()
        assert left in process.children()


def test_the_children_do_not_outlive_their_parent() -> None:
    with running("--processes", "2") as process:
        until("two children", lambda: len(process.children()) == 2)
        children = process.children()
        process.popen.kill()
        process.popen.wait(DEADLINE_S)
        until("both have gone", lambda: not any(_alive(child) for child in children))
        until(
            "the port is free",
            lambda: f"0100007F:{process.port:04X}" not in Path("/proc/net/udp").read_text(),
        )


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
