"""Who belongs to the fleet: whatever the order of adding, enrolling, revoking, by however many processes."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import fleet
from diemcau_fleet.authority import KIT_DAYS, Authority, Certificate
from diemcau_fleet.members import Kit, Members, Service
from diemcau_fleet.registry import CertificateError, Registry, TokenError
from diemcau_fleet.registry_file import RegistryError
from fakeclock import FakeClock
from signing import public

HOUR_S = 3600.0


@pytest.fixture
def registry(tmp_path: Path, clock: FakeClock) -> Iterator[Registry]:
    with fleet.found(tmp_path / "fleet", clock.wall) as made:
        yield made


def issued(registry: Registry, name: str) -> Certificate:
    authority = Authority.load(registry.directory)
    return authority.client(name, fleet.ec_key().public_key(), registry.now_s, KIT_DAYS)


def enrolled(registry: Registry, name: str, token: str, key: bytes = b"key") -> Certificate:
    made = issued(registry, name)
    der = registry.enrol(name, token, key, lambda: made)
    return Certificate.of(x509.load_der_x509_certificate(der))


def test_a_token_enrols_once(registry: Registry) -> None:
    token = registry.add_kit("xp-0417")
    enrolled(registry, "xp-0417", token)
    with pytest.raises(TokenError, match="has been used"):
        enrolled(registry, "xp-0417", token, b"another key")


def test_an_answer_that_was_lost_on_the_way_is_given_again(registry: Registry) -> None:
    """The same token with the same key: else a cut line would cost a journey to the room."""
    token = registry.add_kit("xp-0417")
    first = enrolled(registry, "xp-0417", token)
    assert enrolled(registry, "xp-0417", token).serial == first.serial
    assert registry.rows("SELECT count(*) FROM certificate WHERE id = 'xp-0417'") == [(1,)]


def test_a_token_runs_out_and_a_new_one_voids_the_one_before(registry: Registry, clock: FakeClock) -> None:
    token = registry.add_kit("xp-0417", valid_s=HOUR_S)
    newer = registry.new_token("xp-0417", HOUR_S)
    with pytest.raises(TokenError, match="not its token"):
        registry.check_token("xp-0417", token)
    clock.wall_s += HOUR_S - 1
    registry.check_token("xp-0417", newer)
    clock.wall_s += 1
    with pytest.raises(TokenError, match="run out"):
        enrolled(registry, "xp-0417", newer)


def test_another_kits_token_and_an_unknown_kits_are_refused_alike(registry: Registry) -> None:
    token = registry.add_kit("xp-0417")
    registry.add_kit("xp-0418")
    for name in ("xp-0418", "xp-0419"):
        with pytest.raises(TokenError, match="not its token"):
            enrolled(registry, name, token)


def test_a_token_is_kept_nowhere(registry: Registry) -> None:
    token = registry.add_kit("xp-0417")
    enrolled(registry, "xp-0417", token)
    for path in registry.directory.iterdir():
        assert token.encode() not in path.read_bytes()


def test_a_revoked_kit_is_out_until_it_is_added_anew_and_its_old_certificate_for_ever(
    registry: Registry,
) -> None:
    token = registry.add_kit("xp-0417")
    old = enrolled(registry, "xp-0417", token)
    assert registry.revoke("xp-0417", "kit") == 1
    assert registry.members() == Members(revoked=("xp-0417",))
    for attempt in (lambda: enrolled(registry, "xp-0417", token), lambda: registry.new_token("xp-0417")):
        with pytest.raises(RegistryError):
            attempt()
    with pytest.raises(CertificateError, match="revoked"):
        registry.check_certificate(old.serial, old.der)
    newer = enrolled(registry, "xp-0417", registry.add_kit("xp-0417"))
    assert registry.check_certificate(newer.serial, newer.der) == "xp-0417"
    with pytest.raises(CertificateError, match="revoked"):
        registry.check_certificate(old.serial, old.der)
    assert registry.members() == Members(kits=(Kit("xp-0417"),))


def test_a_kit_renews_with_a_certificate_that_is_good_and_with_no_other(
    registry: Registry, clock: FakeClock
) -> None:
    first = enrolled(registry, "xp-0417", registry.add_kit("xp-0417"))
    next_one = issued(registry, "xp-0417")
    assert registry.renew(first.serial, first.der, lambda _: next_one) == next_one.der
    for certificate in (first, next_one):
        assert registry.check_certificate(certificate.serial, certificate.der) == "xp-0417"
    stranger = issued(registry, "xp-0417")
    with pytest.raises(CertificateError, match="unknown"):
        registry.check_certificate(stranger.serial, stranger.der)
    clock.wall_s = next_one.not_after_s
    with pytest.raises(CertificateError, match="run out"):
        registry.renew(next_one.serial, next_one.der, lambda name: issued(registry, name))


def test_a_services_certificate_renews_no_kit(registry: Registry) -> None:
    made = registry.add_service("collector-1", "collector", lambda: issued(registry, "collector-1"))
    with pytest.raises(CertificateError, match="is no kit"):
        registry.check_certificate(made.serial, made.der)


def test_an_id_belongs_to_one_kind_for_ever_and_an_operators_to_one_key(registry: Registry) -> None:
    registry.add_kit("xp-0417")
    registry.add_operator("op-1", "operator", public("op-1"))
    registry.add_server("broker-1", lambda: issued(registry, "broker-1"))
    for name in ("xp-0417", "op-1", "broker-1"):
        with pytest.raises(RegistryError, match=name):
            registry.add_service(name, "viewer", lambda: issued(registry, "x"))
    registry.revoke("op-1", "operator")
    with pytest.raises(RegistryError, match="for ever"):
        registry.add_operator("op-1", "operator", public("op-2"))
    with pytest.raises(RegistryError, match="op-1 has, or had, this key"):
        registry.add_operator("op-2", "operator", public("op-1"))
    with pytest.raises(RegistryError, match="that of a kit"):
        registry.add_operator("xp-0417", "operator", public("op-2"))


def test_the_brokers_learn_who_is_there_and_operators_with_a_certificate_are(registry: Registry) -> None:
    registry.add_service("bridge-1", "bridge", lambda: issued(registry, "bridge-1"))
    registry.add_kit("xp-0417", ("hanoi", "ministry"), "bridge-1")
    registry.add_operator("op-1", "operator", public("op-1"))
    registry.add_operator("in-1", "installer", public("in-1"), ("xp-0417",), lambda: issued(registry, "in-1"))
    assert registry.members() == Members(
        kits=(Kit("xp-0417", ("hanoi", "ministry"), "bridge-1"),),
        services=(Service("bridge-1", "bridge"), Service("in-1", "operator")),
    )
    with pytest.raises(RegistryError, match="no such service"):
        registry.add_kit("xp-0418", via="bridge-2")
    with pytest.raises(RegistryError, match="expected a service of the role bridge"):
        registry.add_kit("xp-0418", via="in-1")


def test_the_list_of_the_revoked_grows_in_number_and_forgets_what_has_run_out(
    registry: Registry, clock: FakeClock
) -> None:
    stolen = enrolled(registry, "xp-0417", registry.add_kit("xp-0417"))
    good = enrolled(registry, "xp-0418", registry.add_kit("xp-0418"))
    registry.revoke("xp-0417", "kit")
    first = x509.load_pem_x509_crl(registry.crl())
    assert first.get_revoked_certificate_by_serial_number(int(stolen.serial, 16)) is not None
    assert first.get_revoked_certificate_by_serial_number(int(good.serial, 16)) is None
    clock.wall_s = stolen.not_after_s
    second = x509.load_pem_x509_crl(registry.crl())
    assert len(second) == 0
    numbers = [
        one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for one in (first, second)
    ]
    assert numbers[0] < numbers[1]


def test_every_change_is_in_the_log_and_the_log_is_not_changed(registry: Registry) -> None:
    token = registry.add_kit("xp-0417")
    enrolled(registry, "xp-0417", token)
    registry.revoke("xp-0417", "kit")
    logged = [row[0] for row in registry.rows("SELECT what FROM log ORDER BY number")]
    assert logged == ["ca init", "kit add", "enrol", "kit revoke"]
    assert not registry.rows("SELECT 1 FROM log WHERE instr(detail, ?)", token)
    other = sqlite3.connect(registry.path)
    for statement in ("DELETE FROM log", "UPDATE log SET actor = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError, match="the log is not"):
            other.execute(statement)
    other.close()


def test_a_refused_change_leaves_no_trace(registry: Registry) -> None:
    registry.add_kit("xp-0417")
    before = registry.rows("SELECT count(*) FROM log")
    for attempt in (
        lambda: registry.add_kit("xp-0417"),
        lambda: registry.revoke("xp-9999", "kit"),
        lambda: registry.add_operator("op-1", "installer", public("op-1"), ("xp-9999",)),
    ):
        with pytest.raises(RegistryError):
            attempt()
    assert registry.rows("SELECT count(*) FROM log") == before
    assert not registry.rows("SELECT 1 FROM member WHERE id = 'op-1'")


def test_of_two_that_race_for_one_token_one_is_enrolled(registry: Registry) -> None:
    token = registry.add_kit("xp-0417")
    made = [issued(registry, "xp-0417") for _ in range(8)]
    start, outcomes = threading.Barrier(len(made)), list[str]()

    def race(number: int) -> None:
        with Registry.open(registry.directory, lambda: registry.now_s) as own:
            start.wait(10)
            try:
                own.enrol("xp-0417", token, f"key {number}".encode(), lambda: made[number])
            except TokenError as error:
                outcomes.append(str(error))
            else:
                outcomes.append("enrolled")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert sorted(outcomes) == ["enrolled"] + ["the token has been used"] * 7
    assert registry.rows("SELECT count(*) FROM certificate WHERE id = 'xp-0417'") == [(1,)]


def test_there_is_one_registry_and_where_there_is_none_it_is_said_how_to_make_one(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match="one already"):
        Registry.open(registry.directory, create=True)
    with pytest.raises(RegistryError, match="ca init"):
        Registry.open(tmp_path)
    assert registry.path.stat().st_mode & 0o777 == 0o600


NAMES = st.sampled_from(("xp-0001", "xp-0002"))


class Life(RuleBasedStateMachine):
    """Against a model: which token is good for what, which certificate."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.registry = fleet.found(Path(self.place.name) / "fleet", self.clock.wall)
        self.authority = Authority.load(self.registry.directory)
        self.key = fleet.ec_key().public_key()
        self.good: dict[str, tuple[str, float]] = {}
        """kit -> its token that is still unused, and until when it is good."""
        self.certificates: dict[str, list[Certificate]] = {}
        """kit -> those that are not revoked."""
        self.revoked: list[Certificate] = []
        self.tokens: list[str] = ["", "guess"]
        self.present: set[str] = set()
        self.gone: set[str] = set()

    def teardown(self) -> None:
        self.registry.close()
        self.place.cleanup()

    @rule(name=NAMES)
    def add(self, name: str) -> None:
        try:
            token = self.registry.add_kit(name, valid_s=HOUR_S)
        except RegistryError:
            assert name in self.present
            return
        assert name not in self.present
        self.present.add(name)
        self.gone.discard(name)
        self._got(name, token)

    @rule(name=NAMES)
    def another_token(self, name: str) -> None:
        try:
            token = self.registry.new_token(name, HOUR_S)
        except RegistryError:
            assert name not in self.present
            return
        assert name in self.present
        self._got(name, token)

    @rule(name=NAMES, pick=st.integers(0, 99))
    def enrol_with_any_token(self, name: str, pick: int) -> None:
        self._enrol(name, self.tokens[pick % len(self.tokens)])

    @precondition(lambda self: self.good)
    @rule(pick=st.integers(0, 1))
    def enrol_with_the_right_token(self, pick: int) -> None:
        name = sorted(self.good)[pick % len(self.good)]
        self._enrol(name, self.good[name][0])

    def _enrol(self, name: str, token: str) -> None:
        made = self.authority.client(name, self.key, self.clock.wall_s, KIT_DAYS)
        good = self.good.get(name)
        allowed = good is not None and good[0] == token and self.clock.wall_s < good[1]
        try:
            self.registry.enrol(name, token, made.der, lambda: made)
        except TokenError:
            assert not allowed
            return
        assert allowed
        del self.good[name]
        self.certificates.setdefault(name, []).append(made)

    @rule(name=NAMES)
    def revoke(self, name: str) -> None:
        try:
            self.registry.revoke(name, "kit")
        except RegistryError:
            assert name not in self.present
            return
        self.present.discard(name)
        self.gone.add(name)
        self.good.pop(name, None)
        self.revoked += self.certificates.pop(name, [])

    @precondition(lambda self: any(self.certificates.values()))
    @rule()
    def renew(self) -> None:
        name, held = next((name, held) for name, held in self.certificates.items() if held)
        made = self.authority.client(name, self.key, self.clock.wall_s, KIT_DAYS)
        try:
            self.registry.renew(held[0].serial, held[0].der, lambda _: made)
        except CertificateError:
            assert self.clock.wall_s >= held[0].not_after_s
            return
        held.append(made)

    @rule(hours=st.sampled_from((0.5, 1, 24 * 50)))
    def pass_time(self, hours: float) -> None:
        self.clock.wall_s += hours * HOUR_S

    @invariant()
    def only_what_is_good_is_good(self) -> None:
        now_s = self.clock.wall_s
        for name, held in self.certificates.items():
            for one in held:
                if now_s < one.not_after_s:
                    assert self.registry.check_certificate(one.serial, one.der) == name
        for one in self.revoked:
            with pytest.raises(CertificateError):
                self.registry.check_certificate(one.serial, one.der)
        members = self.registry.members()
        assert {kit.id for kit in members.kits} == self.present
        assert set(members.revoked) == self.gone
        listed = {f"{one.serial_number:x}" for one in x509.load_pem_x509_crl(self.registry.crl())}
        assert listed == {one.serial for one in self.revoked if now_s < one.not_after_s}

    def _got(self, name: str, token: str) -> None:
        self.good[name] = (token, self.clock.wall_s + HOUR_S)
        self.tokens.append(token)


Life.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase
