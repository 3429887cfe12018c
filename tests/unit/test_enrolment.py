"""A kit's identity: made on the kit, asked for once with a token, renewed by itself (RFC 7030)."""

from __future__ import annotations

import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from diemcau_agent.enrolment.errors import EnrolError
from diemcau_agent.enrolment.pair import Pair
from enrolling_kit import POINT, TOKEN, Kit
from est_authority import HOUR, Authority, now
from est_server import EstServer


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[EstServer]:
    with EstServer(authority, tmp_path) as running:
        yield running


@pytest.fixture
def kit(server: EstServer, tmp_path: Path) -> Kit:
    return Kit(tmp_path, server, time.time())


def refused(kit: Kit, *, renew: bool = False) -> EnrolError:
    with pytest.raises(EnrolError) as caught:
        kit.enrol(renew=renew)
    return caught.value


def test_a_new_kit_makes_its_key_and_gets_its_certificate_for_a_token(kit: Kit, server: EstServer) -> None:
    kit.given()
    assert kit.enrol().result == "enrolled"
    assert isinstance(kit.identity.key.curve, ec.SECP256R1)
    assert kit.identity.chain[0].public_key() == kit.identity.key.public_key()
    assert kit.store.ca_file.read_bytes() == server.authority.pem
    assert server.asked == ["simpleenroll", "cacerts"]
    assert sorted(path.name for path in kit.store.directory.iterdir()) == ["ca.pem", "identity.pem"]
    assert not kit.token_file.exists()


def test_nobody_else_can_read_the_key(kit: Kit) -> None:
    kit.given()
    kit.store.directory.mkdir(parents=True, mode=0o755)
    kit.enrol()
    assert stat.S_IMODE(kit.store.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(kit.store.identity_file.stat().st_mode) == 0o600


def test_the_brokers_tls_takes_the_identity_as_it_is(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    context = ssl.create_default_context(cafile=str(kit.store.ca_file))
    context.load_cert_chain(kit.store.identity_file)


def test_a_kit_that_is_enrolled_asks_nobody(kit: Kit, server: EstServer) -> None:
    kit.given()
    kit.enrol()
    server.asked.clear()
    assert kit.enrol().result == "nothing"
    assert server.asked == []


def test_it_renews_at_two_thirds_of_its_life_with_a_new_key(kit: Kit, server: EstServer) -> None:
    server.since, server.life = now() - 59 * HOUR, 90 * HOUR
    kit.given()
    kit.enrol()
    before = kit.identity
    assert before.due_s == before.not_before_s + 60 * 3600
    assert kit.enrol().result == "nothing"
    server.since = None
    kit.clock.wall_s = before.due_s
    server.asked.clear()
    assert kit.enrol().result == "renewed"
    assert server.asked == ["simplereenroll", "cacerts"]
    assert kit.identity.key.public_key() != before.key.public_key()
    assert kit.identity.chain[0] != before.chain[0]


def test_it_renews_when_it_is_told_to(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    before = kit.store.identity_file.read_bytes()
    assert kit.enrol(renew=True).result == "renewed"
    assert kit.store.identity_file.read_bytes() != before


def test_whom_to_believe_comes_back_where_it_was_lost(kit: Kit, server: EstServer) -> None:
    kit.given()
    kit.enrol()
    kit.store.ca_file.unlink()
    assert kit.enrol().result == "nothing"
    assert kit.store.ca_file.read_bytes() == server.authority.pem


def test_without_a_token_it_says_that_it_needs_one(kit: Kit, server: EstServer) -> None:
    assert refused(kit).code == "token_missing"
    kit.token_file.write_text("\n")
    assert refused(kit).code == "token_missing"
    assert server.asked == []


@pytest.mark.parametrize("content", [b"\xff\xfe", "mã".encode(), b"two\nlines", b"x" * 300])
def test_a_token_that_is_none_is_told_and_not_sent(kit: Kit, server: EstServer, content: bytes) -> None:
    kit.token_file.write_bytes(content)
    assert refused(kit).code == "token_unreadable"
    assert server.asked == []


def test_a_token_is_good_once(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    kit.store.identity_file.unlink()
    kit.token_file.write_text(TOKEN)
    assert refused(kit).code == "token_refused"
    assert kit.token_file.exists(), "nothing is thrown away that a person may want to look at"


def test_a_new_token_gives_an_enrolled_kit_a_new_identity(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    before = kit.identity
    kit.given("another")
    assert kit.enrol().result == "enrolled"
    assert kit.identity.chain[0] != before.chain[0]


def test_an_old_token_beside_a_good_identity_is_only_told(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    kit.token_file.write_text(TOKEN)
    enrolling = kit.enrolling()
    assert enrolling.run().result == "nothing"
    assert enrolling.notes.token_old


def test_a_certificate_that_has_run_out_needs_a_new_token(kit: Kit, server: EstServer) -> None:
    kit.given()
    kit.enrol()
    kit.clock.wall_s = kit.identity.not_after_s + 1
    server.asked.clear()
    assert refused(kit).code == "certificate_expired"
    assert server.asked == []
    kit.clock.wall_s = time.time()
    kit.given("another")
    assert kit.enrol().result == "enrolled"


def test_a_clock_that_nothing_keeps_does_not_decide_that_a_certificate_has_run_out(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    kit.clock.is_synced = False
    kit.clock.wall_s = kit.identity.not_after_s + 1
    assert kit.enrol().result == "renewed"


def test_a_revoked_kit_is_not_renewed_and_is_told_so(kit: Kit, server: EstServer) -> None:
    kit.given()
    kit.enrol()
    before = kit.store.identity_file.read_bytes()
    server.revoked.add(POINT)
    assert refused(kit, renew=True).code == "certificate_refused"
    assert kit.store.identity_file.read_bytes() == before


def test_a_damaged_identity_is_told_and_a_token_mends_it(kit: Kit) -> None:
    kit.given()
    kit.enrol()
    kit.store.identity_file.write_bytes(b"\0" * 4096)  # as a power cut on a bad card leaves it
    enrolling = kit.enrolling()
    with pytest.raises(EnrolError, match="token_missing"):
        enrolling.run()
    assert enrolling.notes.damaged is not None
    kit.given("another")
    assert kit.enrol().result == "enrolled"
    assert kit.identity.chain


def test_two_at_once_do_not_meet(kit: Kit) -> None:
    kit.given()
    with kit.store.alone():
        assert refused(kit).code == "busy"
    assert kit.enrol().result == "enrolled"


def test_a_token_that_cannot_be_deleted_is_told(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.given()

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(path))

    enrolling = kit.enrolling()
    monkeypatch.setattr(Path, "unlink", read_only)
    monkeypatch.setattr("diemcau_agent.files.replace", _replace_without_unlink)
    assert enrolling.run().result == "enrolled"
    assert enrolling.notes.token_left is not None
    assert "Read-only" in enrolling.notes.token_left


def _replace_without_unlink(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.write_bytes(data)


def test_the_life_of_a_pair_is_its_certificates() -> None:
    since = now()
    pair = Pair.new()
    chain = (Authority().sign(pair.key.public_key(), POINT, since=since, life=timedelta(days=90)),)
    pair = Pair(pair.key, chain)
    assert (pair.not_before_s, pair.not_after_s) == (since.timestamp(), since.timestamp() + 90 * 86400)
    assert pair.due_s == since.timestamp() + 60 * 86400


def test_the_daemon_imports_neither_cryptography_nor_an_enrolment() -> None:
    script = (
        "import sys, diemcau_agent.app;"
        "assert 'cryptography' not in sys.modules, 'cryptography';"
        "assert not [m for m in sys.modules if m.startswith('diemcau_agent.enrolment')]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=15)
