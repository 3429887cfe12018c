"""A kit gets its certificate by its one-time token, and the next by the one before; nobody else gets any."""

from __future__ import annotations

import base64
import http.client
import logging
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import fleet
from diemcau_fleet import registry_file
from diemcau_fleet.authority import KIT_DAYS, Authority
from diemcau_fleet.est import server
from diemcau_fleet.est.enrolment import ADDRESS_FAILURES, KIT_FAILURES, RENEWALS
from diemcau_fleet.est.request import MAX_BYTES
from est_rig import Answer, Est, serving

REFUSED = (ssl.SSLError, ConnectionError, http.client.HTTPException)
"""TLS 1.3 tells a client that it was refused when it first reads."""


@pytest.fixture
def est(tmp_path: Path) -> Iterator[Est]:
    with serving(tmp_path / "fleet") as running:
        yield running


def certificates(est: Est) -> int:
    return est.registry.rows("SELECT count(*) FROM certificate")[0][0]


def test_the_authoritys_certificate_is_told_to_everybody(est: Est) -> None:
    answer = est.ask("cacerts")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert answer.headers["Content-Transfer-Encoding"] == "base64"
    assert answer.certificate.public_bytes(Encoding.PEM) == (est.directory / "ca.pem").read_bytes()


def test_a_token_is_worth_one_certificate_that_begins_now(est: Est) -> None:
    token, key, before_s = est.registry.add_kit("xp-0417"), fleet.ec_key(), int(time.time())
    answer = est.enrol("xp-0417", token, key)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    certificate = answer.certificate
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "xp-0417"
    begins_s = certificate.not_valid_before_utc.timestamp()
    assert before_s <= begins_s <= time.time()
    assert certificate.not_valid_after_utc.timestamp() - begins_s == KIT_DAYS * 86400
    again = est.enrol("xp-0417", token)
    assert again.status == 401
    assert b"has been used" in again.body
    assert est.enrol("xp-0417", token, key).certificate == certificate  # its answer may have been lost
    assert certificates(est) == 1


def test_a_kit_renews_with_its_certificate(est: Est) -> None:
    identity, key = est.enrolled("xp-0417"), fleet.ec_key()
    answer = est.ask("simplereenroll", fleet.request("xp-0417", key), identity=identity)
    assert answer.status == 200
    assert answer.certificate.public_key() == key.public_key()
    assert certificates(est) == 2


@pytest.mark.parametrize("kit", ["xp-0417", "xp-0418", "xp-9999"])
def test_a_wrong_token_is_401_whoevers_it_is(est: Est, kit: str) -> None:
    for name in ("xp-0417", "xp-0418"):
        token = est.registry.add_kit(name)
    wrong = "guess" if kit == "xp-0418" else token
    answer = est.enrol(kit, wrong)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="diemcau"')
    assert answer.body == b"not its token\n"
    assert certificates(est) == 0


def test_a_token_that_has_run_out_is_401(est: Est) -> None:
    answer = est.enrol("xp-0417", est.registry.add_kit("xp-0417", valid_s=-1))
    assert (answer.status, answer.body) == (401, b"the token has run out\n")


def test_a_revoked_kit_does_not_enrol(est: Est) -> None:
    token = est.registry.add_kit("xp-0417")
    est.registry.revoke("xp-0417", "kit")
    assert est.enrol("xp-0417", token).status == 401


@pytest.mark.parametrize(
    "authorization", ["", "Bearer x", "Basic", "Basic ?", "Basic eHA=", "Basic //79", "Basic WFA6eA=="]
)
def test_without_well_formed_credentials_it_is_401(est: Est, authorization: str) -> None:
    answer = est.ask("simpleenroll", fleet.request("xp-0417"), Authorization=authorization)
    assert answer.status == 401
    assert "WWW-Authenticate" in answer.headers


def test_a_request_for_another_kit_is_refused_and_the_token_stays_good(est: Est) -> None:
    token = est.registry.add_kit("xp-0417")
    answer = est.ask("simpleenroll", fleet.request("xp-0418"), basic=("xp-0417", token))
    assert (answer.status, answer.body) == (403, b"subject: got xp-0418, expected xp-0417\n")
    assert est.enrol("xp-0417", token).status == 200
    identity = est.enrolled("xp-0419")
    assert est.ask("simplereenroll", fleet.request("xp-0417"), identity=identity).status == 403
    assert certificates(est) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff" * 100,
        base64.b64encode(b"garbage"),
        fleet.request("xp-0417", O="ministry"),
        fleet.request("xp-0417", rsa.generate_private_key(65537, 2048)),
    ],
    ids=["empty", "bytes", "garbage", "subject", "rsa"],
)
def test_what_is_no_request_for_an_ec_key_is_400_and_the_token_stays_good(est: Est, body: bytes) -> None:
    token = est.registry.add_kit("xp-0417")
    assert est.ask("simpleenroll", body, basic=("xp-0417", token)).status == 400
    assert est.enrol("xp-0417", token).status == 200


@pytest.mark.parametrize("told", [True, False], ids=["told", "chunked"])
def test_what_is_too_large_is_413_before_it_is_read_whole(est: Est, told: bool) -> None:
    token = est.registry.add_kit("xp-0417")
    headers = {"Authorization": f"Basic {base64.b64encode(f'xp-0417:{token}'.encode()).decode()}"}
    connection = http.client.HTTPSConnection("127.0.0.1", est.port, timeout=10, context=est.tls())
    body = b"A" * (MAX_BYTES + 1)
    if told:
        connection.putrequest("POST", server.PATH + "simpleenroll")
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            connection.putheader(name, value)
        connection.endheaders()  # and no body: the answer does not wait for it
    else:
        connection.request("POST", server.PATH + "simpleenroll", iter([body]), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert certificates(est) == 0


def test_without_a_certificate_nothing_is_renewed(est: Est) -> None:
    assert est.ask("simplereenroll", fleet.request("xp-0417")).status == 403


def test_a_certificate_of_another_authority_is_refused_by_tls(est: Est, tmp_path: Path) -> None:
    other, key = tmp_path / "other", fleet.ec_key()
    other.mkdir()
    foreign = Authority.make(other, "diemcau tests", time.time())
    est.registry.add_kit("xp-0417")
    identity = fleet.identity(other, key, foreign.client("xp-0417", key.public_key(), time.time(), 1))
    with pytest.raises(REFUSED):
        est.ask("simplereenroll", fleet.request("xp-0417"), identity=identity)
    assert certificates(est) == 0


def test_a_certificate_of_ours_that_is_no_kits_renews_nothing(est: Est) -> None:
    """A broker's is refused by TLS, a service's and one that the registry never saw by the registry."""
    key, now_s = fleet.ec_key(), time.time()
    est.registry.add_kit("xp-0417")
    broker = est.authority.server("xp-0417", ["localhost"], key.public_key(), now_s)
    with pytest.raises(REFUSED):
        est.ask("cacerts", identity=fleet.identity(est.directory, key, broker))
    service = est.registry.add_service(
        "viewer-1", "viewer", lambda: est.authority.client("viewer-1", key.public_key(), now_s, 1)
    )
    unknown = est.authority.client("xp-0417", key.public_key(), now_s, 1)
    for certificate, name in ((service, "viewer-1"), (unknown, "xp-0417")):
        identity = fleet.identity(est.directory, key, certificate)
        assert est.ask("simplereenroll", fleet.request(name), identity=identity).status == 403
    assert certificates(est) == 1


def test_a_certificate_that_has_run_out_renews_nothing(est: Est) -> None:
    key, token = fleet.ec_key(), est.registry.add_kit("xp-0417")
    old = est.authority.client("xp-0417", key.public_key(), time.time() - 2 * 86400, 1)
    est.registry.enrol("xp-0417", token, b"", lambda: old)
    with pytest.raises(REFUSED):
        est.ask("simplereenroll", fleet.request("xp-0417"), identity=fleet.identity(est.directory, key, old))
    assert certificates(est) == 1


def test_a_revoked_certificate_renews_nothing_at_once(est: Est) -> None:
    identity = est.enrolled("xp-0417")
    est.registry.revoke("xp-0417", "kit")
    answer = est.ask("simplereenroll", fleet.request("xp-0417"), identity=identity)
    assert (answer.status, answer.body) == (403, b"xp-0417 was revoked\n")
    est.registry.add_kit("xp-0417")
    assert est.ask("simplereenroll", fleet.request("xp-0417"), identity=identity).status == 403


def test_of_many_that_race_with_one_token_one_is_enrolled(est: Est) -> None:
    token, start = est.registry.add_kit("xp-0417"), threading.Barrier(5)
    answers: list[Answer] = []

    def race() -> None:
        body = fleet.request("xp-0417")
        start.wait(10)
        answers.append(est.ask("simpleenroll", body, basic=("xp-0417", token)))

    threads = [threading.Thread(target=race) for _ in range(start.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert sorted(answer.status for answer in answers) == [200, 401, 401, 401, 401]
    assert certificates(est) == 1


def test_who_guesses_is_made_to_wait_and_keeps_no_other_kit_out(est: Est) -> None:
    token, other = est.registry.add_kit("xp-0417"), est.registry.add_kit("xp-0418")
    for _ in range(KIT_FAILURES):
        assert est.enrol("xp-0417", "guess").status == 401
    late = est.enrol("xp-0417", token)
    assert late.status == 429
    assert 0 < int(late.headers["Retry-After"]) <= 600
    assert est.enrol("xp-0418", other).status == 200


def test_an_address_that_guesses_under_many_names_is_made_to_wait(est: Est) -> None:
    statuses = [est.enrol(f"xp-{number:04}", "guess").status for number in range(ADDRESS_FAILURES + 1)]
    assert statuses == [401] * ADDRESS_FAILURES + [429]


def test_a_kit_in_a_loop_fills_no_registry(est: Est) -> None:
    identity = est.enrolled("xp-0417")
    statuses = [
        est.ask("simplereenroll", fleet.request("xp-0417"), identity=identity).status
        for _ in range(RENEWALS + 1)
    ]
    assert statuses == [200] * RENEWALS + [429]


def test_what_is_not_served_is_said_so(est: Est) -> None:
    assert est.ask("serverkeygen", b"").status == 404
    assert est.ask("../../x").status == 404
    assert est.ask("simpleenroll").status == 405
    assert est.ask("cacerts", b"").status == 405


def test_nobody_speaks_to_it_in_an_old_tls_or_in_none(est: Est) -> None:
    old = est.tls()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own opinion of TLS 1.0
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    connection = http.client.HTTPSConnection("127.0.0.1", est.port, timeout=10, context=old)
    with pytest.raises(REFUSED):
        connection.request("GET", server.PATH + "cacerts")
    connection.close()
    plain = http.client.HTTPConnection("127.0.0.1", est.port, timeout=10)
    plain.request("GET", server.PATH + "cacerts")
    with pytest.raises(REFUSED):
        plain.getresponse()
    plain.close()
    assert est.ask("cacerts").status == 200


@pytest.mark.parametrize(
    "said",
    [b"", b"\x00" * 64, b"A" * 9000, b"POST " + server.PATH.encode() + b"simpleenroll HTTP/1.1\r\n"],
    ids=["nothing", "bytes", "a long word", "half a request"],
)
def test_who_stays_is_put_out_and_the_next_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(server, "CONNECTION_S", 0.5)
    monkeypatch.setattr(server, "CONNECTIONS", 1)
    with serving(tmp_path / "fleet") as est:
        with est.connect() as secured:
            secured.sendall(said)
            assert est.ask("cacerts").status == 200  # waits until there is room
            while secured.recv(4096):
                pass
        with socket.create_connection(("127.0.0.1", est.port)):  # does not even begin with TLS
            assert est.ask("cacerts").status == 200


def test_a_half_sent_body_issues_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTION_S", 0.5)
    with serving(tmp_path / "fleet") as est:
        token = est.registry.add_kit("xp-0417")
        basic = base64.b64encode(f"xp-0417:{token}".encode()).decode()
        with est.connect() as secured:
            secured.sendall(
                f"POST {server.PATH}simpleenroll HTTP/1.1\r\nHost: est\r\nAuthorization: Basic {basic}\r\n"
                "Content-Length: 400\r\n\r\nMIH".encode()
            )
            while secured.recv(4096):
                pass
        assert certificates(est) == 0
        assert est.enrol("xp-0417", token).status == 200


def test_while_the_registry_is_held_by_another_a_kit_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_file, "LOCK_WAIT_S", 0.1)
    with serving(tmp_path / "fleet") as est:
        token = est.registry.add_kit("xp-0417")
        with est.registry.transaction():
            answer = est.enrol("xp-0417", token)
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert est.enrol("xp-0417", token).status == 200


def test_every_outcome_is_logged_and_no_token_is(est: Est, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    token = est.registry.add_kit("xp-0417")
    est.enrol("xp-0417", "guess-of-somebody")
    est.enrol("xp-0417", token)
    est.ask("simpleenroll", b"", basic=(token, "xp-0417"))  # the wrong way round
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("diemcau_fleet")]
    assert lines == [
        "127.0.0.1: simpleenroll: xp-0417: 401 not its token",
        "127.0.0.1: simpleenroll: xp-0417 enrolled",
        "127.0.0.1: simpleenroll: ?: 401 the credentials are malformed",
    ]
    assert token not in caplog.text
    assert "guess-of-somebody" not in caplog.text
    assert est.registry.rows("SELECT actor FROM log WHERE what = 'enrol'") == [("est 127.0.0.1",)]
