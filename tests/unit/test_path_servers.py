"""Names that are never waited for, and the broker's door, on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from diemcau_agent.address import Address, Tls
from diemcau_agent.path.names import Names, reason
from diemcau_agent.path.servers import connect

NO_TLS = Tls(None, None, None)
LOOPBACK = ("127.0.0.1",)


def found(*addresses: str) -> list[Any]:
    """As getaddrinfo has it."""
    return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, 0)) for address in addresses]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[[], list[Any]]]]:
    """name -> what a look-up of it does. A name that is not there has no such name."""
    table: dict[str, Callable[[], list[Any]]] = {}

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return table[host]()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield table
    for thread in threading.enumerate():
        if thread.name == "names":
            thread.join(5)


Resolver = dict[str, Callable[[], list[Any]]]


def fails(code: int) -> Callable[[], list[Any]]:
    def fail() -> list[Any]:
        raise socket.gaierror(code, "as libc says it")

    return fail


def test_numbers_are_never_looked_up(resolver: Resolver) -> None:
    names = Names(["10.0.0.1", "fd00::1"])
    assert names.look_up() == {}
    assert names.addresses == {"10.0.0.1": ("10.0.0.1",), "fd00::1": ("fd00::1",)}


def test_names_are_told_with_the_time_of_the_slowest(resolver: Resolver) -> None:
    resolver["broker.example"] = lambda: found("10.0.0.1", "10.0.0.2", "10.0.0.1")
    resolver["stamp.example"] = lambda: time.sleep(0.05) or found("10.0.0.3")
    names = Names(["broker.example", "stamp.example", "10.0.0.9"])
    facts = names.look_up()
    assert facts.pop("dns_ms") >= 50
    assert facts == {"dns_answers": True}
    assert names.addresses["broker.example"] == ("10.0.0.1", "10.0.0.2")
    assert names.addresses["stamp.example"] == ("10.0.0.3",)


def test_no_such_name_is_told_from_no_name_server(resolver: Resolver) -> None:
    names = Names(["broker.example"])
    assert names.look_up() == {"dns_answers": False, "dns_error": "no such name: broker.example"}
    resolver["broker.example"] = fails(socket.EAI_AGAIN)
    assert names.look_up() == {"dns_answers": False, "dns_error": "no name server answers"}
    resolver["broker.example"] = fails(socket.EAI_FAIL)
    assert "as libc says it" in names.look_up()["dns_error"]


def test_one_name_of_two_that_fails_is_told(resolver: Resolver) -> None:
    resolver["broker.example"] = lambda: found("10.0.0.1")
    names = Names(["stamp.example", "broker.example"])
    assert names.look_up()["dns_error"] == "no such name: stamp.example"
    assert names.addresses == {"broker.example": ("10.0.0.1",)}


def test_the_last_known_address_stays_while_no_name_server_answers(resolver: Resolver) -> None:
    resolver["broker.example"] = lambda: found("10.0.0.1")
    names = Names(["broker.example"])
    names.look_up()
    resolver["broker.example"] = fails(socket.EAI_AGAIN)
    assert names.look_up()["dns_answers"] is False
    assert names.addresses["broker.example"] == ("10.0.0.1",)


def test_a_look_up_that_hangs_is_left_behind_once_and_taken_when_it_ends(resolver: Resolver) -> None:
    released = threading.Event()
    asked: list[int] = []

    def hang() -> list[Any]:
        asked.append(1)
        assert released.wait(10)
        return found("10.0.0.1")

    resolver["broker.example"] = hang
    names = Names(["broker.example"])
    try:
        for _ in range(3):
            began_s = time.monotonic()
            assert names.look_up(0.05) == {"dns_answers": False, "dns_error": "no answer in 0 s"}
            assert time.monotonic() - began_s < 1
        assert len(asked) == 1
        assert [thread.name for thread in threading.enumerate()].count("names") == 1
    finally:
        released.set()
    assert names.look_up(5)["dns_answers"] is True
    assert names.addresses["broker.example"] == ("10.0.0.1",)


def test_all_who_ask_at_once_get_an_answer(resolver: Resolver) -> None:
    released, asked = threading.Event(), threading.Semaphore(0)

    def wait() -> list[Any]:
        asked.release()
        assert released.wait(10)
        return found("10.0.0.1")

    resolver["broker.example"] = wait
    names = Names(["broker.example"])
    told: list[Any] = []
    askers = [threading.Thread(target=lambda: told.append(names.look_up(10))) for _ in range(4)]
    for asker in askers:
        asker.start()
    assert asked.acquire(timeout=5)
    released.set()
    for asker in askers:
        asker.join(10)
    assert [facts["dns_answers"] for facts in told] == [True] * 4


@pytest.mark.parametrize("name", ["a" * 80 + ".example", "..", "\udcff.example"])
def test_what_can_be_no_name_is_no_such_name(name: str) -> None:
    facts = Names([name]).look_up()
    assert facts["dns_answers"] is False
    assert facts["dns_error"]


def test_every_failure_has_a_reason() -> None:
    assert reason(OSError(5, "Input/output error"), "broker.example") == "broker.example: Input/output error"


# --- The broker's door


@pytest.fixture
def silent_door() -> Iterator[int]:
    """The port of a door that opens, and then nobody speaks."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door.getsockname()[1]


def broker(port: int, scheme: str = "mqtt") -> Address:
    return Address(scheme, "localhost", port, "/mqtt")


def test_a_door_that_opens_tells_how_fast(silent_door: int) -> None:
    facts = connect(broker(silent_door), NO_TLS, LOOPBACK)
    assert set(facts) == {"broker_tcp_ms"}
    assert 0 <= facts["broker_tcp_ms"] < 1000


def test_without_an_address_nothing_is_said(silent_door: int) -> None:
    assert connect(broker(silent_door), NO_TLS, ()) == {}


def test_the_next_address_is_tried(silent_door: int) -> None:
    assert "broker_tcp_ms" in connect(broker(silent_door), NO_TLS, ("127.0.0.2", "::1", "127.0.0.1"))


def test_a_shut_door_is_told() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert connect(broker(nobody.getsockname()[1]), NO_TLS, LOOPBACK) == {
            "broker_error": "Connection refused"
        }


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
def test_a_broker_that_says_nothing_is_not_waited_for(silent_door: int, scheme: str) -> None:
    began_s = time.monotonic()
    facts = connect(broker(silent_door, scheme), NO_TLS, LOOPBACK, deadline_s=0.3)
    assert time.monotonic() - began_s < 2
    assert facts["broker_tls_error"] == "no answer in 0.3 s"
    assert "broker_tcp_ms" in facts


def test_a_broker_that_speaks_no_tls_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer() -> None:
            guest, _ = door.accept()
            with guest, contextlib.suppress(OSError):
                guest.recv(4096)
                guest.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        facts = connect(broker(door.getsockname()[1], "mqtts"), NO_TLS, LOOPBACK)
        thread.join(5)
    assert "wrong version number" in facts["broker_tls_error"]
    assert not {"broker_tls_ms", "broker_cert_time"} & set(facts)


def test_our_own_certificate_that_cannot_be_read_is_told(silent_door: int) -> None:
    tls = Tls(None, "/nowhere/kit.pem", "/nowhere/kit.key")
    facts = connect(broker(silent_door, "mqtts"), tls, LOOPBACK)
    assert facts["broker_tls_error"] == "our own certificate: No such file or directory"


def test_an_interface_that_is_not_there_is_told(silent_door: int) -> None:
    facts = connect(broker(silent_door), NO_TLS, LOOPBACK, interface="none7")
    assert facts == {"broker_error": "No such device"}
