"""A server that is wrong, broken or hostile: one clear reason, in time, and nothing of it is in force."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.enrolment import answer
from diemcau_agent.enrolment.answer import AnswerError
from diemcau_agent.enrolment.errors import EnrolError
from enrolling_kit import POINT, Kit
from est_authority import HOUR, YEAR, Authority, now
from est_server import EstServer, Handler, degenerate

AUTHORITY = Authority()
STRANGER = Authority("stranger")
STRANGER_OF_OUR_NAME = Authority()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EstServer]:
    with EstServer(AUTHORITY, tmp_path) as running:
        yield running


@pytest.fixture
def kit(server: EstServer, tmp_path: Path) -> Kit:
    made = Kit(tmp_path, server, time.time())
    made.given()
    return made


def refused(kit: Kit) -> EnrolError:
    with pytest.raises(EnrolError) as caught:
        kit.enrol()
    assert not kit.store.identity_file.exists()
    assert not kit.store.ca_file.exists()
    return caught.value


EMPTY = base64.b64encode(
    bytes.fromhex("302306092a864886f70d010702a016301402010131 00300b06092a864886f70d0107013100")
)
"""certs-only PKCS#7 without one."""


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/pkcs7-mime")
    handler.end_headers()
    while True:
        handler.wfile.write(b"MIIB" * 4096)


def slow_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/pkcs7-mime")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"M")
        time.sleep(0.05)


def slow_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def silent(handler: Handler) -> None:
    time.sleep(3)


def body(data: bytes, kind: str = "application/pkcs7-mime") -> Callable[[Handler], None]:
    return lambda handler: handler.say(200, data, kind)


def status(code: int, **more: str) -> Callable[[Handler], None]:
    return lambda handler: handler.say(code, b"x", "text/plain", **more)


def raw(data: bytes) -> Callable[[Handler], None]:
    def write(handler: Handler) -> None:
        handler.wfile.write(data)

    return write


HOSTILE: dict[str, tuple[str, Callable[[Handler], None], str]] = {
    "garbage": ("answer", body(b"\x00\xff" * 100), "no base64"),
    "no pkcs7": ("answer", body(base64.b64encode(b"0" * 500)), "no certs-only"),
    "empty": ("answer", body(b""), "simpleenroll"),
    "no certificates": ("answer", body(EMPTY), "no certificate data"),
    "a web page": ("answer", body(b"<html>", "text/html"), "got text/html"),
    "endless": ("answer", endless, "at most 65536"),
    "slow body": ("unreachable", slow_body, "no answer in 0.5 s"),
    "slow headers": ("unreachable", slow_headers, "no answer in 0.5 s"),
    "silence": ("unreachable", silent, "no answer in 0.5 s"),
    "no http": ("answer", raw(b"\x16\x03\x01\x00" * 20 + b"\r\n"), "BadStatusLine"),
    "cut short": ("answer", raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/pkcs7-mime\r\n"
                                b"Content-Length: 9\r\n\r\nMII"), "IncompleteRead"),
    "bad chunks": ("answer", raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/pkcs7-mime\r\n"
                                 b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "IncompleteRead"),
    "a header bomb": ("answer", raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000), "HTTPException"),
    "redirect": ("answer", status(302, Location="https://elsewhere.example/"), "302"),
    "not found": ("answer", status(404), "404"),
    "failure": ("server", status(500), "500"),
    "overloaded": ("server", status(503), "503"),
    "approval": ("not_approved", status(202, Retry_After="3600"), "Retry-After 3600"),
    "forbidden": ("token_refused", status(403), "403"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_bad_answer_has_its_reason_and_puts_nothing_in_force(
    kit: Kit, server: EstServer, what: str
) -> None:
    code, server.instead["simpleenroll"], detail = HOSTILE[what]
    kit.deadline_s = 0.5 if code == "unreachable" else 10.0
    began_s = time.monotonic()
    error = refused(kit)
    assert (error.code, detail in error.detail) == (code, True), error
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize("what", [what for what in HOSTILE if what != "forbidden"])
def test_the_same_of_whom_to_believe(kit: Kit, server: EstServer, what: str) -> None:
    code, server.instead["cacerts"], _ = HOSTILE[what]
    kit.deadline_s = 0.5 if code == "unreachable" else 10.0
    assert refused(kit).code == code


def test_a_certificate_over_another_key_is_not_ours(kit: Kit, server: EstServer) -> None:
    server.key = ec.generate_private_key(ec.SECP256R1()).public_key()
    error = refused(kit)
    assert (error.code, error.detail) == ("answer", "got 0 certificates over our key, expected 1")


def test_a_certificate_in_another_points_name_is_not_ours(kit: Kit, server: EstServer) -> None:
    server.subject = "xp-0001"
    error = refused(kit)
    assert (error.code, error.detail) == ("answer", f"got a certificate for CN xp-0001, expected {POINT}")


@pytest.mark.parametrize("other", [STRANGER, STRANGER_OF_OUR_NAME], ids=["stranger", "of our CA's name"])
def test_a_certificate_of_another_authority_is_not_put_in_force(
    kit: Kit, server: EstServer, other: Authority
) -> None:
    server.sign = other.sign
    error = refused(kit)
    assert error.code == "answer"
    assert "would not be believed" in error.detail
    assert not kit.store.request_file.exists()


def test_a_servers_certificate_is_no_kits(kit: Kit, server: EstServer) -> None:
    server.purpose = "server"
    assert "purpose" in refused(kit).detail


def test_a_certificate_that_has_run_out_when_it_comes_is_refused(kit: Kit, server: EstServer) -> None:
    server.since, server.life = now() - 5 * HOUR, HOUR
    assert "expired" in refused(kit).detail


def test_the_rest_of_the_chain_may_come_first(kit: Kit, server: EstServer) -> None:
    """RFC 7030, 4.2.3 promises no order."""
    server.instead["simpleenroll"] = lambda handler: handler.answer([AUTHORITY.certificate, *server.issued])
    assert kit.enrol().result == "enrolled"
    assert kit.identity.chain[0].subject.rfc4514_string() == f"CN={POINT}"


# --- Whose server it is


@pytest.mark.parametrize(
    ("authority", "how", "detail"),
    [
        (STRANGER, {}, "self-signed certificate"),
        (STRANGER_OF_OUR_NAME, {}, "signature|self-signed"),
        (AUTHORITY, {"host": "elsewhere.example"}, "Hostname mismatch"),
        (AUTHORITY, {"since": now() - YEAR, "life": timedelta(days=1)}, "expired"),
        (AUTHORITY, {"since": now() + YEAR}, "not yet valid"),
    ],
    ids=["another authority", "another of its name", "another host", "expired", "not yet valid"],
)
def test_the_token_goes_to_no_server_but_the_right_one(
    tmp_path: Path, authority: Authority, how: dict[str, object], detail: str
) -> None:
    with EstServer(authority, tmp_path, **how) as server:
        kit = Kit(tmp_path, server, time.time())
        kit.given()
        kit.ca_file.write_bytes(AUTHORITY.pem)
        error = refused(kit)
        assert error.code == "server_certificate"
        assert any(words in error.detail for words in detail.split("|")), error.detail
        assert server.asked == []


def test_a_server_that_is_not_there_or_has_no_name(kit: Kit) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        kit.url = f"https://localhost:{taken.getsockname()[1]}"
        assert refused(kit).code == "unreachable"
    kit.url = "https://est.invalid"
    assert refused(kit).code in ("name", "unreachable")


def test_a_ca_file_that_is_none_is_told(kit: Kit, server: EstServer) -> None:
    for content in (None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        kit.ca_file.unlink() if content is None else kit.ca_file.write_bytes(content)
        error = refused(kit)
        assert (error.code, "enrolment.ca_file" in error.detail) == ("server_certificate", True)
        kit.ca_file.touch()
    assert server.asked == []


# --- The parser


GOOD = degenerate([AUTHORITY.certificate, STRANGER.certificate])


def test_an_answer_is_read_in_its_order_with_or_without_line_breaks() -> None:
    wanted = (AUTHORITY.certificate, STRANGER.certificate)
    assert answer.read(GOOD) == wanted
    assert answer.read(GOOD.replace(b"\n", b"")) == wanted
    assert answer.read(GOOD.replace(b"\n", b"\r\n")) == wanted


def test_more_certificates_than_anybody_needs_are_refused() -> None:
    with pytest.raises(AnswerError, match="17 certificates"):
        answer.read(degenerate([Authority(f"ca-{number}").certificate for number in range(17)]))


@given(st.binary(max_size=400))
def test_any_bytes_are_an_answer_or_an_answer_error(data: bytes) -> None:
    for form in (data, base64.b64encode(data)):
        with pytest.raises(AnswerError):
            answer.read(form)


@given(st.data())
def test_a_broken_answer_is_an_answer_or_an_answer_error(data: st.DataObject) -> None:
    der = bytearray(base64.b64decode(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    for form in (bytes(der), bytes(der[:cut])):
        try:
            assert answer.read(base64.b64encode(form))
        except AnswerError:
            pass
