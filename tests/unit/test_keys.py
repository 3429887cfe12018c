"""Whose commands are obeyed: lists that follow on each other, and never an older one."""

from __future__ import annotations

from pathlib import Path

import pytest

from diemcau_agent.commands.outcome import Unanswerable
from diemcau_agent.commands.signature import Signed
from diemcau_agent.keys import Keyring, KeysError, permits
from diemcau_agent.model import FleetKey
from signing import key, key_list, public, signed

ANCHORS = (public("fleet-1"),)


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys.json", ANCHORS)


def again(ring: Keyring) -> Keyring:
    """The next start's."""
    loaded = Keyring(ring._path, ring._anchors)
    loaded.load()
    return loaded


def test_a_list_that_the_fleet_signed_is_in_force_and_outlives_a_restart(ring: Keyring) -> None:
    assert ring.find("operator-1") is None
    assert ring.take(key_list(key("operator-1")))
    for one in (ring, again(ring)):
        found = one.find("operator-1")
        assert found is not None
        assert found.public == public("operator-1")
        assert one.find("operator-2") is None
    assert ring._path.stat().st_mode & 0o777 == 0o600


def test_the_same_list_again_is_no_news(ring: Keyring) -> None:
    assert ring.take(key_list(key("operator-1")))
    assert not ring.take(key_list(key("operator-1")))


def test_a_list_that_nobody_of_the_fleet_signed_is_refused(ring: Keyring) -> None:
    for forged in (
        key_list(key("operator-1"), by="operator-1"),
        key_list(key("operator-1"), by="fleet-2", fleet=("fleet-2",)),
        b"",
        b"{}",
    ):
        with pytest.raises(KeysError):
            ring.take(forged)
    assert ring.revision == 0


def test_an_older_list_never_comes_back_and_neither_does_who_was_revoked(ring: Keyring) -> None:
    old = key_list(key("operator-1"), key("operator-2"), revision=4)
    ring.take(old)
    ring.take(key_list(key("operator-1"), key("operator-2"), revision=5, revoked=["operator-2"]))
    for one in (ring, again(ring)):
        with pytest.raises(KeysError, match="expected more than 5"):
            one.take(old)
        assert one.find("operator-2") is None
        assert one.find("operator-1") is not None


def test_the_fleets_key_is_changed_in_two_steps_with_both_good_in_between(ring: Keyring) -> None:
    ring.take(key_list(key("operator-1"), revision=1, fleet=("fleet-1", "fleet-2")))
    ring.take(key_list(key("operator-1"), revision=2, fleet=("fleet-2",), by="fleet-2"))
    for one in (ring, again(ring)):
        with pytest.raises(KeysError, match="none of the fleet"):
            one.take(key_list(key("operator-3"), revision=3, by="fleet-1"))
        assert one.find("operator-1") is not None


def test_other_keys_in_the_rooms_settings_begin_anew(ring: Keyring) -> None:
    ring.take(key_list(key("operator-1")))
    other = Keyring(ring._path, (public("fleet-9"),))
    other.load()
    assert other.revision == 0
    assert other.take(key_list(key("operator-9"), by="fleet-9", fleet=("fleet-9",)))


def test_a_damaged_file_is_as_none(ring: Keyring) -> None:
    ring.take(key_list(key("operator-1")))
    for damage in (b"", b"\0" * 400, b"{", ring._path.read_bytes()[:-40] + b'x"}'):
        ring._path.write_bytes(damage)
        assert again(ring).revision == 0


def test_a_list_that_has_run_out_names_nobody_where_the_time_is_known(ring: Keyring) -> None:
    ring.take(key_list(key("operator-1"), exp=1000))
    assert ring.find("operator-1", 999) is not None
    assert ring.find("operator-1", 1000) is None
    assert ring.find("operator-1") is not None  # no clock: it cannot be told


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"revision": 0}, "revision"),
        ({"fleet": ()}, "fleet"),
        ({"exp": "soon"}, "exp"),
        ({"schema": "diemcau.conference/1"}, "schema"),
    ],
)
def test_a_list_that_is_none_says_which_field(ring: Keyring, changes: dict[str, object], why: str) -> None:
    with pytest.raises(KeysError, match=why):
        ring.take(key_list(key("operator-1"), **changes))  # pyright: ignore[reportArgumentType]


def test_every_contradiction_is_told_at_once(ring: Keyring) -> None:
    with pytest.raises(KeysError, match=r"operator-1 is named 2 times.*fitter-1: got no points"):
        ring.take(key_list(key("operator-1"), key("operator-1"), key("fitter-1", "installer")))


def test_each_role_may_what_it_may() -> None:
    def of(role: str, *points: str) -> FleetKey:
        return FleetKey(id="somebody", role=role, public="", points=points)  # pyright: ignore[reportArgumentType]

    for verb, operator, viewer, collector in (
        ("ping", True, True, True),
        ("logs", True, True, False),
        ("resend", True, False, True),
        ("restart", True, False, False),
        ("update", True, False, False),
    ):
        assert permits(of("operator"), verb, "xp-1", accepted=True) is operator
        assert permits(of("viewer"), verb, "xp-1", accepted=True) is viewer
        assert permits(of("collector"), verb, "xp-1", accepted=True) is collector
        assert permits(of("installer", "xp-1"), verb, "xp-1", accepted=False)
        assert not permits(of("installer", "xp-1"), verb, "xp-1", accepted=True)
        assert not permits(of("installer", "xp-1"), verb, "xp-2", accepted=False)
        assert not permits(of("operator", "xp-2"), verb, "xp-1", accepted=True)
    assert permits(of("operator"), "conference", "xp-1", accepted=True)
    for other in (of("operator", "xp-1"), of("installer", "xp-1"), of("viewer"), of("collector")):
        assert not permits(other, "conference", "xp-1", accepted=False)


def test_a_signature_is_of_the_key_that_the_claims_name(ring: Keyring) -> None:
    ring.take(key_list(key("operator-1"), key("viewer-1", "viewer")))
    verifier = Signed(ring, "xp-0417", lambda: 0.0, lambda: True)
    claims = {"iss": "operator-1", "verb": "restart"}
    assert verifier.open(signed(claims, "operator-1")) == b'{"iss": "operator-1", "verb": "restart"}'
    for forged, code in (
        (signed(claims, "viewer-1"), "bad_signature"),
        (signed({"iss": "nobody-1"}, "operator-1"), "unknown_key"),
        (signed({}, "operator-1"), "malformed"),
        (b'{"iss": "operator-1"}', "malformed"),
    ):
        with pytest.raises(Unanswerable) as error:
            verifier.open(forged)
        assert error.value.code == code
    assert verifier.permits("operator-1", "restart")
    assert not verifier.permits("viewer-1", "restart")
    assert not verifier.permits("nobody-1", "ping")
