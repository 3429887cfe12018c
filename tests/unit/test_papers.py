"""``--as DIR``: one word for who we are; and an operator's key, made in the office or by himself."""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from diemcau_fleet import cli, papers, signing_key
from diemcau_fleet.broker.rules import RulesError, check_readable


@pytest.fixture
def fleet(tmp_path: Path) -> list[str]:
    place = ["--dir", str(tmp_path / "fleet")]
    assert cli.main(["ca", "init", *place]) == 0
    return place


def test_a_folder_stands_for_every_option_that_was_not_given(tmp_path: Path, fleet: list[str]) -> None:
    folder = tmp_path / "an-nguyen"
    assert cli.main(["operator", "add", "an-nguyen", "--role", "operator", "--out", str(folder), *fleet]) == 0
    words = ["command", "xp-0417", "ping", "--as", str(folder), "--ca-file", "other.pem"]
    arguments = cli.parser().parse_args(words)
    papers.unfold(arguments)
    assert (arguments.iss, arguments.key) == ("an-nguyen", folder / "signing.key")
    assert (arguments.ca_file, arguments.cert_file) == ("other.pem", folder / "cert.pem")
    assert arguments.key_file == folder / "key.pem"
    assert signing_key.load(arguments.key)


def test_a_command_of_nobody_is_not_signed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["command", "xp-0417", "ping", "--iss", "an-nguyen"]) == 2
    assert capsys.readouterr().err == ("diemcau-fleet command: --key: missing, expected these or --as DIR\n")


@pytest.mark.parametrize("content", [None, b"no certificate"])
@pytest.mark.parametrize(
    "words",
    [
        ("command", "xp-0417", "ping"),
        ("conference", "c.toml"),
        ("publish", "keys.jws", "--broker", "mqtts://broker.example"),
        ("collect", "--db", "rooms.sqlite3", "--broker", "mqtts://broker.example"),
    ],
)
def test_a_folder_without_a_certificate_is_named(
    words: tuple[str, ...], content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "cert.pem").write_bytes(content)
    assert cli.main([*words, "--as", str(tmp_path)]) == 2
    assert f"--as: {tmp_path}/cert.pem: " in capsys.readouterr().err


def test_who_says_nothing_of_a_folder_keeps_what_he_said() -> None:
    arguments = argparse.Namespace(folder=None, iss=None, ca_file="ca.pem")
    papers.unfold(arguments)
    assert (arguments.iss, arguments.ca_file) == (None, "ca.pem")


def test_a_key_that_openssl_made_is_registered_by_its_public_half(
    tmp_path: Path, fleet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    key, public = tmp_path / "signing.key", tmp_path / "an-nguyen.pub"
    subprocess.run(("openssl", "genpkey", "-algorithm", "ed25519", "-out", key), check=True)
    subprocess.run(("openssl", "pkey", "-in", key, "-pubout", "-out", public), check=True)
    add = ("operator", "add", "an-nguyen", "--role", "operator", *fleet)
    assert cli.main([*add, "--public", str(public)]) == 0
    assert signing_key.public(signing_key.load(key)) in capsys.readouterr().out
    assert cli.main([*add, "--public", str(key)]) == 2
    assert f"--public: {key}: got no public key in PEM" in capsys.readouterr().err


def test_an_operators_key_has_a_place_to_be_kept(
    fleet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["operator", "add", "an-nguyen", "--role", "operator", *fleet]) == 2
    assert "--out, --key-file or --public: missing" in capsys.readouterr().err


def test_a_key_that_the_broker_cannot_read_is_told_before_it_does_not_start(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if os.geteuid() != 0:  # only root can look with another's eyes
        check_readable("--host-key", tmp_path / "none", pwd.getpwuid(os.geteuid()).pw_name)
        return
    place = Path(tempfile.mkdtemp())  # pytest's own folder is closed to others further up
    place.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(place))
    key = place / "key.pem"
    key.touch(0o600)
    with pytest.raises(RulesError, match=r"--host-key: .*key\.pem cannot be read by nobody; chown it"):
        check_readable("--host-key", key, "nobody")
    os.chown(key, pwd.getpwnam("nobody").pw_uid, -1)
    check_readable("--host-key", key, "nobody")
    with pytest.raises(RulesError, match="--user: got 'no-one-here', expected a user of this machine"):
        check_readable("--host-key", key, "no-one-here")
