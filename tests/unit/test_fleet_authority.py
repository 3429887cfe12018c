"""What the authority signs, as OpenSSL and mosquitto will look at it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

import fleet
from diemcau_fleet.authority import CRL_DAYS, KIT_DAYS, SERVICE_DAYS, Authority, AuthorityError, Revoked

DAY_S = 86400


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path, "diemcau tests", time.time())


def verified(directory: Path, pem: bytes, *options: str) -> str:
    """What `openssl verify` says of a certificate."""
    (directory / "one.pem").write_bytes(pem)
    done = subprocess.run(
        ("openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", *options, "one.pem"),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_kits_certificate_is_good_for_a_client_and_for_nothing_else(
    authority: Authority, tmp_path: Path
) -> None:
    certificate = authority.client("xp-0417", fleet.ec_key().public_key(), time.time(), KIT_DAYS)
    assert verified(tmp_path, certificate.pem, "-purpose", "sslclient") == "one.pem: OK\n"
    assert "unsuitable certificate purpose" in verified(tmp_path, certificate.pem, "-purpose", "sslserver")
    usage = x509.load_der_x509_certificate(certificate.der).extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign


def test_a_servers_certificate_is_good_for_its_names_and_for_no_client(
    authority: Authority, tmp_path: Path
) -> None:
    names = ["broker.example", "10.0.0.1"]
    pem = authority.server("broker.example", names, fleet.ec_key().public_key(), time.time()).pem
    server = ("-purpose", "sslserver")
    assert verified(tmp_path, pem, *server, "-verify_hostname", names[0]) == "one.pem: OK\n"
    assert verified(tmp_path, pem, *server, "-verify_ip", names[1]) == "one.pem: OK\n"
    assert "hostname mismatch" in verified(tmp_path, pem, *server, "-verify_hostname", "other.example")
    assert "unsuitable certificate purpose" in verified(tmp_path, pem, "-purpose", "sslclient")


def test_a_certificate_begins_when_it_is_issued_since_a_kit_takes_its_time_from_it(
    authority: Authority,
) -> None:
    now_s = time.time()
    certificate = authority.client("xp-0417", fleet.ec_key().public_key(), now_s, KIT_DAYS)
    assert certificate.not_before_s == int(now_s)
    assert certificate.not_after_s == int(now_s) + KIT_DAYS * DAY_S


def test_no_certificate_outlives_the_authority(authority: Authority) -> None:
    late_s = authority.ends_s - DAY_S
    certificate = authority.client("xp-0417", fleet.ec_key().public_key(), late_s, KIT_DAYS)
    assert certificate.not_after_s == authority.ends_s
    with pytest.raises(AuthorityError, match="ended on"):
        authority.client("xp-0417", fleet.ec_key().public_key(), authority.ends_s, KIT_DAYS)


def test_nobody_can_found_an_authority_of_their_own_below_ours(authority: Authority, tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    constraints = certificate.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert authority.ends_s - time.time() > 3652 * DAY_S


def test_openssl_refuses_who_is_on_the_list_and_nobody_else(authority: Authority, tmp_path: Path) -> None:
    now_s = time.time()
    stolen, good = (
        authority.client(name, fleet.ec_key().public_key(), now_s, SERVICE_DAYS)
        for name in ("xp-0417", "xp-0418")
    )
    (tmp_path / "crl.pem").write_bytes(authority.crl(7, [Revoked(stolen.serial, int(now_s))], now_s))
    listed = ("-crl_check", "-CRLfile", "crl.pem")
    assert "certificate revoked" in verified(tmp_path, stolen.pem, *listed)
    assert verified(tmp_path, good.pem, *listed) == "one.pem: OK\n"


def test_a_list_holds_for_a_year_and_already_did_an_hour_ago(authority: Authority, tmp_path: Path) -> None:
    """Else a renewal that was forgotten, or a broker's slow clock, would lock out every kit."""
    now_s = int(time.time())
    good = authority.client("xp-0418", fleet.ec_key().public_key(), now_s - 3600, SERVICE_DAYS)
    (tmp_path / "crl.pem").write_bytes(authority.crl(7, [], now_s))
    listed = ("-crl_check", "-CRLfile", "crl.pem", "-attime")
    for moment_s in (now_s - 3599, now_s + (CRL_DAYS - 1) * DAY_S):
        # The authority itself was made now: its beginning is not what is looked at here.
        said = verified(tmp_path, good.pem, "-partial_chain", *listed, str(moment_s))
        assert "CRL" not in said
    assert "CRL has expired" in verified(tmp_path, good.pem, *listed, str(now_s + (CRL_DAYS + 1) * DAY_S))


def test_there_is_one_authority_and_its_key_is_its_own(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="already"):
        Authority.make(tmp_path, "another", time.time())
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    again = Authority.load(tmp_path)
    assert again.pem == authority.pem
    fleet.write_key(tmp_path / "ca.key", fleet.ec_key())
    with pytest.raises(AuthorityError, match="another key than that of"):
        Authority.load(tmp_path)
    (tmp_path / "ca.key").write_bytes(b"none")
    with pytest.raises(AuthorityError, match="no private key in PEM"):
        Authority.load(tmp_path)
    (tmp_path / "ca.pem").write_bytes(b"none")
    with pytest.raises(AuthorityError, match="no certificate in PEM"):
        Authority.load(tmp_path)
