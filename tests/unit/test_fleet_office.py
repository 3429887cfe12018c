"""The office at the command line: exit codes, one line for what went wrong, and files that a kit can use."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from diemcau_agent import config
from diemcau_fleet import cli, signing_key
from diemcau_fleet.key_list import fleet_keys
from diemcau_fleet.members import Kit, Members, Service
from diemcau_fleet.registry import Registry
from signing import public


class Office:
    """``diemcau-fleet`` with this test's directory."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        """Its exit code, stdout and stderr."""
        try:
            code = cli.main([*(str(word) for word in words), "--dir", str(self.directory)])
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def done(self, *words: str | Path) -> str:
        code, out, err = self(*words)
        assert (code, err) == (0, ""), err
        return out


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    made = Office(tmp_path / "fleet", capsys)
    made.done("ca", "init", "--name", "Bộ")
    return made


def test_a_fleet_is_made_once_and_its_directory_is_its_own(office: Office) -> None:
    assert stat.S_IMODE(office.directory.stat().st_mode) == 0o700
    for name in ("ca.key", "fleet.key", "fleet.sqlite3"):
        assert stat.S_IMODE((office.directory / name).stat().st_mode) == 0o600
    code, out, err = office("ca", "init")
    assert (code, out) == (1, "")
    assert err.startswith("diemcau-fleet ca init: ")
    assert err.count("\n") == 1
    shown = office.done("ca", "show")
    with Registry.open(office.directory) as registry:
        assert f'fleet_keys = ["{fleet_keys(registry)[0]}"]' in shown


def test_where_there_is_no_fleet_every_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Office(tmp_path / "nowhere", capsys)
    for words in (("kit", "list"), ("keys",), ("operator", "list"), ("ca", "show"), ("service", "list")):
        code, _, err = nowhere(*words)
        assert code == 1
        assert str(nowhere.directory) in err


def test_a_new_kit_gets_a_token_once_and_settings_that_it_takes(office: Office) -> None:
    urls = ("--est-url", "https://est.example:8443", "--broker-url", "mqtts://broker.example:8883")
    out = office.done("kit", "add", "xp-0417", "--group", "hanoi", "--group", "ministry", *urls)
    settings = config.parse(out)  # the token's line is a comment
    assert settings.point == "xp-0417"
    assert settings.groups == ("hanoi", "ministry")
    assert settings.commands == "signed"
    assert settings.enrolment is not None
    assert settings.enrolment.url == "https://est.example:8443"
    token = out.splitlines()[1].removeprefix("# ")
    with Registry.open(office.directory) as registry:
        assert settings.fleet_keys == fleet_keys(registry)
        registry.check_token("xp-0417", token)
    assert token not in office.done("kit", "list")
    newer = office.done("kit", "token", "xp-0417").strip()
    assert len(newer) == len(token)
    assert newer != token


def test_what_a_kit_needs_is_put_into_a_directory_for_the_technician(office: Office, tmp_path: Path) -> None:
    out = tmp_path / "stick"
    office.done("kit", "add", "xp-0417", "--out", out, "--broker-url", "mqtts://broker.example")
    assert config.load(out / "agent.toml").broker.urls == ("mqtts://broker.example",)
    assert (out / "ca.pem").read_bytes() == (office.directory / "ca.pem").read_bytes()
    assert stat.S_IMODE((out / "token").stat().st_mode) == 0o600
    with Registry.open(office.directory) as registry:
        registry.check_token("xp-0417", (out / "token").read_text().strip())


def test_what_is_not_known_of_a_kit_is_left_for_somebody_to_fill_in(office: Office) -> None:
    out = office.done("kit", "add", "xp-0417")
    assert '# urls = ["mqtts://broker.example:8883"]' in out
    with pytest.raises(config.ConfigError, match=r"broker\.urls: missing"):
        config.parse(out)
    filled = out.replace("# urls", "urls")
    assert config.parse(filled).enrolment is None


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("kit", "add", "XP 0417"), "POINT: got 'XP 0417'"),
        (("kit", "add", "xp-0417", "--est-url", "est.example"), 'enrolment.url: got "est.example"'),
        (("kit", "add", "xp-0417", "--broker-url", "mqtt://broker"), "broker.urls[0]"),
        (("kit", "add", "xp-0417", "--valid-h", "0"), "--valid-h: got '0'"),
        (("operator", "add", "op-1", "--role", "operator", "--public", "AAAA"), "--public: got a key of 3"),
        (("operator", "add", "op-1", "--role", "operator"), "--out, --key-file or --public: missing"),
        (("operator", "add", "in-1", "--role", "installer", "--public", public("x")), "--point: missing"),
        (("ca", "server", "a b", "--out", "x"), "NAME: got 'a b'"),
        (("serve-est", "--listen", "8443", "--cert-file", "x", "--key-file", "x"), "--listen: got '8443'"),
        (("keys", "--valid-days", "x"), "--valid-days: got 'x'"),
    ],
)
def test_wrong_usage_names_the_option_what_it_got_and_what_it_expects(
    office: Office, words: tuple[str, ...], names: str
) -> None:
    code, out, err = office(*words)
    assert (code, out) == (2, "")
    assert names in err
    with Registry.open(office.directory) as registry:
        assert registry.members() == Members()


def test_services_and_operators_get_certificates_that_a_broker_takes(office: Office, tmp_path: Path) -> None:
    office.done("service", "add", "collector-1", "--role", "collector", "--out", tmp_path / "collector-1")
    key = tmp_path / "op-1.key"
    office.done(
        "operator", "add", "op-1", "--role", "operator", "--key-file", key, "--out", tmp_path / "op-1"
    )
    office.done("ca", "server", "broker.example", "--out", tmp_path / "broker")
    for name, purpose in (("collector-1", "sslclient"), ("op-1", "sslclient"), ("broker", "sslserver")):
        directory = tmp_path / name
        verify = ("openssl", "verify", "-CAfile", "ca.pem", "-purpose", purpose, "cert.pem")
        assert subprocess.run(verify, cwd=directory, capture_output=True, check=True).stdout
        assert stat.S_IMODE((directory / "key.pem").stat().st_mode) == 0o600
    with Registry.open(office.directory) as registry:
        services = (Service("collector-1", "collector"), Service("op-1", "operator"))
        assert registry.members() == Members(services=services)
    assert signing_key.public(signing_key.load(key)) in office.done("operator", "list")
    code, _, err = office("service", "add", "collector-2", "--role", "viewer", "--out", tmp_path / "op-1")
    assert code == 1
    assert "there is a key already" in err
    before = (tmp_path / "op-1" / "cert.pem").read_bytes()
    office.done("service", "renew", "op-1", "--out", tmp_path / "op-1")
    assert (tmp_path / "op-1" / "cert.pem").read_bytes() != before
    assert "with 2 certificates" in office.done("operator", "revoke", "op-1")
    assert "with 1 certificates" in office.done("service", "revoke", "collector-1")
    with Registry.open(office.directory) as registry:
        assert registry.members() == Members(revoked=("collector-1", "op-1"))


def test_an_operator_that_is_refused_leaves_no_key_behind(office: Office, tmp_path: Path) -> None:
    office.done("kit", "add", "xp-0417")
    key = tmp_path / "xp-0417.key"
    code, _, err = office("operator", "add", "xp-0417", "--role", "operator", "--key-file", key)
    assert code == 1
    assert "that of a kit" in err
    assert not key.exists()


def test_the_signed_list_goes_to_a_file_or_to_a_pipe(office: Office, tmp_path: Path) -> None:
    code, out, err = office("keys")
    assert (code, err) == (0, "revision 1, new\n")
    said = office.done("keys", "--out", tmp_path / "keys.jws")
    assert (tmp_path / "keys.jws").read_text() == out.strip()
    assert "revision 1, as before" in said


def test_a_kit_that_was_revoked_may_be_added_anew(office: Office) -> None:
    office.done("kit", "add", "xp-0417")
    assert office("kit", "add", "xp-0417")[0] == 1
    office.done("kit", "revoke", "xp-0417")
    assert "revoked" in office.done("kit", "list")
    assert office("kit", "token", "xp-0417")[0] == 1
    office.done("kit", "add", "xp-0417", "--group", "hue")
    with Registry.open(office.directory) as registry:
        assert registry.members() == Members(kits=(Kit("xp-0417", ("hue",)),))
