"""What is written for a broker: pure text from members and settings, and the command's own refusals."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.topics import is_id
from diemcau_fleet.authority import Authority, Revoked, private_pem
from diemcau_fleet.broker.acl import MembersError, acl
from diemcau_fleet.broker.configuration import SettingsError, configuration
from diemcau_fleet.broker.rules import RulesError, check_pair, crl_serves, write
from diemcau_fleet.broker.settings import Bridge, Listen, Settings
from diemcau_fleet.cli import main
from diemcau_fleet.members import Kit, Members, Service

KIT = Kit("xp-0001", ("all", "north"), "bridge-1")


def settings(out: Path, **more: object) -> Settings:
    plain = Settings(
        out=out, place=out, host_cert=Path("/etc/host.pem"), host_key=Path("/etc/host.key"),
        mqtts=(Listen("0.0.0.0", 8883),),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **more)


def section(text: str, user: str) -> list[str]:
    """The lines of ``user``, none where there is no section."""
    after = text.partition(f"\nuser {user}\n")[2]
    return after.partition("\n\n")[0].splitlines()


def test_a_kit_has_lines_of_its_own_for_its_groups_alone() -> None:
    text = acl(Members(kits=(KIT, Kit("xp-0002"), Kit("xp-0003", ("all",)))))
    assert section(text, "xp-0001") == ["topic read diemcau/v1/group/north/command/+"]
    assert "xp-0002" not in text
    assert "xp-0003" not in text


def test_a_bridge_speaks_for_the_kits_that_come_through_it() -> None:
    members = Members(kits=(KIT, Kit("xp-0002")), services=(Service("bridge-1", "bridge"),))
    lines = section(acl(members), "bridge-1")
    assert lines[0] == "topic deny diemcau/v1/point/bridge-1/#"
    assert "topic write diemcau/v1/point/xp-0001/+" in lines
    assert not any("xp-0002" in line for line in lines)


def test_a_provinces_broker_has_no_rules_for_the_kits_of_others() -> None:
    members = Members(kits=(KIT, Kit("xp-0002", ("north",))), services=(Service("bridge-1", "bridge"),))
    text = acl(members, "bridge-1")
    assert section(text, "xp-0001")
    assert "xp-0002" not in text
    assert not any("write" in line for line in section(text, "bridge-1"))  # there it is no client


def test_who_is_revoked_is_denied_everything_also_where_it_is_listed_as_a_member() -> None:
    members = Members(kits=(KIT,), services=(Service("op-1", "operator"),), revoked=("op-1", "xp-0001"))
    text = acl(members)
    assert section(text, "xp-0001") == section(text, "op-1") == ["topic deny #"]
    assert text.count("user xp-0001") == 1


@given(st.text() | st.from_regex(r"[a-z0-9-]{0,40}"))
def test_a_name_that_is_no_id_never_becomes_a_line(name: str) -> None:
    for members in (
        Members(kits=(Kit(name, ("north",)),)),
        Members(kits=(Kit("xp-0001", (name,)),)),
        Members(services=(Service(name, "viewer"),)),
        Members(kits=(Kit(name, (), "bridge-1"),), services=(Service("bridge-1", "bridge"),)),
    ):
        if is_id(name):
            assert f"{name}" in acl(members) or name == "all"
        else:
            with pytest.raises(MembersError, match="expected"):
                acl(members)
    if not is_id(name):  # a server's name may be revoked: it is no client
        assert acl(Members(revoked=(name,))) == acl(Members())


@given(st.text())
def test_where_to_listen_is_read_or_refused_with_what_is_expected(text: str) -> None:
    try:
        listen = Listen.parse(text, 8883)
    except ValueError:
        with pytest.raises(ValueError, match=r"got .*, expected HOST\[:PORT\]"):
            Listen.parse(text, 8883)
    else:
        assert 1 <= listen.port <= 65535
        assert listen.host.strip() == listen.host != ""


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("0.0.0.0", "0.0.0.0", 8883), ("0.0.0.0:443", "0.0.0.0", 443), ("[::]:443", "::", 443),
     ("[::1]", "::1", 8883), ("broker.example:1", "broker.example", 1)],
)  # fmt: skip
def test_an_address_with_and_without_a_port(text: str, host: str, port: int) -> None:
    assert Listen.parse(text, 8883) == Listen(host, port)


def test_every_mqtts_listener_asks_for_the_revoked_and_no_listener_for_less_than_a_certificate() -> None:
    made = settings(
        Path("/etc/mosquitto/diemcau"),
        mqtts=(Listen("0.0.0.0", 8883), Listen("0.0.0.0", 443)), wss=(Listen("0.0.0.0", 8443),),
    )  # fmt: skip
    listeners = configuration(made).split("\nlistener ")[1:]
    assert len(listeners) == 3
    assert ["crlfile" in text.replace("No crlfile", "") for text in listeners] == [True, True, False]
    for text in listeners:
        for line in (
            "require_certificate true", "use_identity_as_username true", "use_username_as_clientid true",
            "tls_version tlsv1.2",
        ):  # fmt: skip
            assert f"\n{line}\n" in text


def test_a_bridge_hands_over_and_takes_in_named_topics_that_do_not_meet(tmp_path: Path) -> None:
    bridge = Bridge("bridge-1", "centre.example", 8883, Path("/a"), Path("/b"), Path("/c"))
    topics = [
        line.split()[1:]
        for line in configuration(settings(tmp_path, bridge=bridge)).splitlines()
        if line.startswith("topic ")
    ]
    ways = {way: {name for name, other, _ in topics if other == way} for way in ("in", "out")}
    assert {len(ways["out"]), len(ways["in"])} == {7, 4}
    assert not ways["in"] & ways["out"]
    assert not any("#" in name for name, _, _ in topics)
    assert {qos for _, _, qos in topics} == {"1"}


@pytest.mark.parametrize("path", ["/etc/a\nallow_anonymous true", " /etc/a", "/etc/a\u2028b", "/etc/a\x00"])
def test_a_path_of_two_lines_is_refused_and_named(path: str) -> None:
    with pytest.raises(SettingsError, match="cert: got"):
        configuration(settings(Path("/out"), host_cert=Path(path)))


def test_files_are_written_where_they_differ_and_only_there(tmp_path: Path) -> None:
    made = settings(tmp_path / "out", user="root")
    first = write(made, Members(), ca=b"ca", crl=b"crl")
    assert first == {"acl", "authority", "configuration", "crl"}
    assert write(made, Members(), ca=b"ca", crl=None) == set()
    assert write(made, Members(revoked=("xp-0001",)), ca=b"ca", crl=None) == {"acl"}
    assert (tmp_path / "out" / "crl.pem").read_bytes() == b"crl"
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()] == [0o400] * 4


def test_a_list_serves_while_it_is_young_and_names_all(tmp_path: Path) -> None:
    now_s = time.time()
    authority = Authority.make(tmp_path, "fleet", now_s)
    path = tmp_path / "crl.pem"
    now = datetime.fromtimestamp(now_s, UTC)
    assert not crl_serves(path, [], now)
    path.write_bytes(b"no list")
    assert not crl_serves(path, [], now)
    path.write_bytes(authority.crl(1, [Revoked("a", int(now_s)), Revoked("b", int(now_s))], now_s))
    assert crl_serves(path, [10, 11], now)
    assert crl_serves(path, [10], now)  # the other has run out
    assert not crl_serves(path, [12], now)
    assert not crl_serves(path, [10], now + timedelta(days=31))


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path, "fleet", time.time())
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = authority.server("localhost", ["localhost"], key.public_key(), time.time())
    (tmp_path / "host.pem").write_bytes(made.pem)
    (tmp_path / "host.key").write_bytes(private_pem(key))
    check_pair("--host-cert", tmp_path / "host.pem", tmp_path / "host.key")
    (tmp_path / "host.key").write_bytes(private_pem(other))
    with pytest.raises(RulesError, match=r"--host-cert: got .*host\.key, expected the key of .*host\.pem"):
        check_pair("--host-cert", tmp_path / "host.pem", tmp_path / "host.key")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "nowhere:"], "expected HOST[:PORT]"),
        (["--bridge-to", "mqtt://centre"], "expected mqtts:// and a host"),
        (["--bridge-to", "mqtts://centre"], "--bridge-id, --bridge-cert, --bridge-key: expected"),
        (["--bridge-id", "Bridge!"], "got 'Bridge!'"),
        (["--follow", "0"], "expected a whole number from 1 to 240"),
        ([], "--host-cert, --host-key: [Errno 2]"),
    ],
)
def test_wrong_usage_names_the_option_and_what_is_expected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    host = [f"--{name}={tmp_path / name}" for name in ("host-cert", "host-key")]
    try:
        code = main(["broker", "--dir", str(tmp_path), "--out", str(tmp_path / "out"), *host, *arguments])
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
