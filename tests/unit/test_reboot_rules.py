"""What restarts a machine, and what never does: whatever is sent, in whatever order, while clocks jump."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import signing
from diemcau_agent import config, jws
from diemcau_agent.config import Settings
from diemcau_agent.reboot.guard import Guard
from diemcau_agent.reboot.record import Record
from diemcau_agent.reboot.rules import DAY_S, KEEP_IDS, Moment, Past, surely_over

POINT = "xp-0417"
BEGAN_S = 1_795_332_600.0
NO_NONCE = "0" * 32
MEMORY = Path("/dev/shm")


def room(**changes: Any) -> Settings:
    return config.check(
        {
            "point": POINT,
            "broker": {"urls": ["mqtts://broker.example"]},
            "fleet_keys": [signing.public("fleet-1")],
            **changes,
        }
    )


class Kit:
    """A guard on a folder, a machine that it restarts, and time as it truly passes."""

    def __init__(self, folder: Path) -> None:
        self.record = Record(folder, folder)
        self.true_s = BEGAN_S
        self.boot, self.boot_s = 1, BEGAN_S
        self.off_s = 0.0
        """By how much the clock is wrong; it is synced where by nothing."""
        self.settings = room()
        self.restarts: list[float] = []
        self.guard = Guard(lambda: self.settings, self.record, frozenset(), self._restart, self.now)
        self.ids = 0

    def now(self) -> Moment:
        wall_s = self.true_s + self.off_s
        return Moment(f"boot-{self.boot}", self.true_s - self.boot_s, wall_s, self.off_s == 0)

    def _restart(self) -> None:
        self.restarts.append(self.true_s)
        self.start_again()

    def start_again(self) -> None:
        self.true_s += 20
        self.boot, self.boot_s = self.boot + 1, self.true_s

    def ask(self, **request: str) -> dict[str, Any]:
        return self.guard.answer(json.dumps(request).encode())

    @property
    def nonce(self) -> str:
        return str(self.ask(do="nonce")["ok"]["reboot_nonce"])

    def claims(self, **changes: Any) -> dict[str, Any]:
        self.ids += 1
        now_s = int(self.true_s)
        return {
            "id": f"command-{self.ids}",
            "aud": f"point/{POINT}",
            "verb": "restart",
            "iss": "op-1",
            "iat": now_s,
            "exp": now_s + 60,
            "args": {"target": "host", "reboot_nonce": self.nonce},
            "nonce": "the daemon's own",
            **changes,
        }

    def order(self, command: bytes) -> str | None:
        """The code with which it was refused; None where the machine restarted."""
        before = len(self.restarts)
        answer = self.ask(do="reboot", command=command.decode())
        assert ("ok" in answer) == (len(self.restarts) == before + 1)
        return None if "ok" in answer else str(answer["error"]["code"])


class Hostile(RuleBasedStateMachine):
    """A taken-over daemon and a taken-over broker: they have every command and every list that ever was."""

    def __init__(self) -> None:
        super().__init__()
        # In memory: what reaches a card is others' test, and an fsync takes its time.
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.kit = Kit(self.folder)
        self.sent: list[bytes] = []
        self.lists: list[bytes] = []
        self.revoked = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize()
    def first_list(self) -> None:
        self.new_list(revoke=False)

    def new_list(self, revoke: bool) -> None:
        self.revoked |= revoke
        keys = [
            signing.key("op-1"),
            signing.key("op-2"),
            signing.key("viewer-1", "viewer"),
            signing.key("installer-1", "installer", [POINT]),
            signing.key("op-else", "operator", ["xp-9999"]),
        ]
        revoked = ["op-2"] if self.revoked else []
        self.lists.append(signing.key_list(*keys, revision=len(self.lists) + 1, revoked=revoked))
        answer = self.kit.ask(do="keys", list=self.lists[-1].decode())
        assert answer == {"ok": {"revision": len(self.lists)}}

    @rule(revoke=st.booleans())
    def the_fleet_makes_a_new_list(self, revoke: bool) -> None:
        self.new_list(revoke)

    @rule(data=st.data())
    def an_old_list_comes_again(self, data: st.DataObject) -> None:
        text = data.draw(st.sampled_from(self.lists))
        answer = self.kit.ask(do="keys", list=text.decode())
        assert "ok" in answer or answer["error"]["code"] == "bad_keys"

    @rule()
    def a_list_of_nobodys_comes(self) -> None:
        text = signing.key_list(signing.key("mallory"), revision=1000, by="mallory")
        assert self.kit.ask(do="keys", list=text.decode())["error"]["code"] == "bad_keys"

    @rule(seconds=st.sampled_from([1.0, 50.0, 3_600.0, 40_000.0, DAY_S]))
    def time_passes(self, seconds: float) -> None:
        self.kit.true_s += seconds

    @rule(off_s=st.sampled_from([0.0, 0.0, -BEGAN_S, DAY_S, -DAY_S, 1e8]))
    def the_clock_is_lost_or_found(self, off_s: float) -> None:
        self.kit.off_s = off_s

    @rule()
    def the_power_goes(self) -> None:
        self.kit.start_again()

    @rule(allowed=st.booleans())
    def the_room_changes_its_policy(self, allowed: bool) -> None:
        self.kit.settings = room(policy={"host_restart": allowed})

    @rule()
    def an_operator_orders_a_restart(self) -> None:
        """What is as it must be is done, but for policy and count."""
        command = signing.signed(self.kit.claims(), "op-1")
        self.sent.append(command)
        before = len(self.kit.restarts)
        code = self.kit.order(command)
        if not self.kit.settings.policy.host_restart:
            assert code == "not_permitted"
        elif before < 3:
            assert code is None
        else:
            assert code in (None, "too_often")

    @rule(data=st.data())
    def an_old_command_comes_again(self, data: st.DataObject) -> None:
        if self.sent:
            assert self.kit.order(data.draw(st.sampled_from(self.sent))) is not None

    @rule(
        fault=st.sampled_from(
            [
                ({}, "viewer-1"), ({}, "installer-1"), ({}, "op-else"), ({}, "mallory"), ({}, "fleet-1"),
                ({"iss": "op-1"}, "mallory"), ({"iss": "op-1"}, "viewer-1"),
                ({"aud": "group/all"}, "op-1"), ({"aud": "point/xp-0418"}, "op-1"), ({"aud": ""}, "op-1"),
                ({"verb": "ping"}, "op-1"), ({"verb": "update"}, "op-1"),
                ({"args": {"target": "host"}}, "op-1"), ({"args": {}}, "op-1"),
                ({"args": {"target": "host", "reboot_nonce": NO_NONCE}}, "op-1"),
                ({"args": {"target": "host", "reboot_nonce": ""}}, "op-1"),
                ({"args": {"target": "host", "reboot_nonce": ["x"]}}, "op-1"),
                ({"exp": int(BEGAN_S) + 10**9}, "op-1"), ({"iat": 0, "exp": 0}, "op-1"),
                ({"exp": 0}, "op-1"), ({"id": "x"}, "op-1"), ({"more": 1}, "op-1"),
            ]
        )
    )  # fmt: skip
    def a_command_that_is_not_as_it_must_be(self, fault: tuple[dict[str, Any], str]) -> None:
        changes, by = fault
        claims = self.kit.claims(**({"iss": by} | changes))
        command = signing.signed(claims, by)
        assert self.kit.order(command) is not None

    @rule()
    def a_command_of_a_key_that_was_revoked(self) -> None:
        if self.revoked:
            assert self.kit.order(signing.signed(self.kit.claims(iss="op-2"), "op-2")) == "unknown_key"

    @rule(what=st.sampled_from(["camera", "agent", "Host", ""]))
    def a_restart_of_something_else(self, what: str) -> None:
        args = {"target": what, "reboot_nonce": self.kit.nonce}
        assert self.kit.order(signing.signed(self.kit.claims(args=args), "op-1")) is not None

    @rule(late_s=st.integers(61, 10**6))
    def a_command_comes_late(self, late_s: int) -> None:
        """It is late by a true clock only; without one its nonce is what holds."""
        command = signing.signed(self.kit.claims(), "op-1")
        self.kit.true_s += late_s
        if self.kit.off_s == 0:
            assert self.kit.order(command) == "expired"

    @rule(data=st.data())
    def a_command_is_stripped_or_forged(self, data: st.DataObject) -> None:
        claims = json.dumps(self.kit.claims()).encode()
        header, payload, signature = signing.signed(self.kit.claims(), "op-1").split(b".")
        none = jws.encoded(b'{"alg":"none"}')
        forged = data.draw(
            st.sampled_from(
                [
                    claims,
                    none + b"." + payload + b".",
                    none + b"." + payload + b"." + signature,
                    header + b"." + payload + b".",
                    header + b"." + jws.encoded(claims) + b"." + signature,
                    header + b"." + payload + b"." + signature[:-2],
                    b"", b"..", b"{}",
                ]
            )
        )  # fmt: skip
        assert self.kit.order(forged) is not None

    @rule(line=st.binary(max_size=200))
    def noise(self, line: bytes) -> None:
        assert set(self.kit.guard.answer(line)) == {"error"}

    @invariant()
    def never_more_than_three_in_a_day(self) -> None:
        times = self.kit.restarts
        assert all(later - first >= DAY_S for first, later in zip(times, times[3:], strict=False))


Hostile.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWhateverIsSent = Hostile.TestCase


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = Kit(tmp_path)
    kit.ask(do="keys", list=signing.key_list(signing.key("op-1")).decode())
    return kit


def ordered(kit: Kit, **changes: Any) -> str | None:
    return kit.order(signing.signed(kit.claims(**changes), "op-1"))


def test_three_restarts_a_day_and_the_next_once_the_first_is_a_day_old(kit: Kit) -> None:
    for _ in range(3):
        assert ordered(kit) is None
        kit.true_s += 3600
    assert ordered(kit) == "too_often"
    kit.true_s = kit.restarts[0] + DAY_S
    assert ordered(kit) is None
    assert ordered(kit) == "too_often"


@pytest.mark.parametrize("off_s", [-BEGAN_S, 10 * DAY_S])
def test_a_kit_that_has_lost_its_clock_counts_by_how_long_it_is_up(kit: Kit, off_s: float) -> None:
    for _ in range(3):
        assert ordered(kit) is None
    kit.off_s = off_s
    assert ordered(kit) == "too_often"
    kit.true_s += DAY_S
    assert ordered(kit) is None


def test_a_restart_that_lies_ahead_of_the_clock_counts() -> None:
    then = Moment("boot-1", 10.0, BEGAN_S + 7 * DAY_S, synced=True)
    assert not surely_over(then, Moment("boot-2", 10.0, BEGAN_S, synced=True))


def test_within_a_boot_its_own_clock_says_what_is_a_day_ago() -> None:
    """A restart that was ordered and never came: the boot is older than a day, the restart is not."""
    then = Moment("boot-1", 23 * 3600.0, BEGAN_S, synced=True)
    for hours, over in ((25, False), (46.9, False), (47, True)):
        now = Moment("boot-1", hours * 3600.0, BEGAN_S + 30 * DAY_S, synced=True)
        assert surely_over(then, now) == over


def test_a_restart_that_could_not_be_ordered_is_used_up_and_counts(kit: Kit, tmp_path: Path) -> None:
    def fails() -> None:
        raise OSError("systemctl reboot: exit code 1")

    guard = Guard(lambda: kit.settings, kit.record, frozenset(), fails, kit.now)
    nonce, command = kit.nonce, signing.signed(kit.claims(), "op-1").decode()
    request = json.dumps({"do": "reboot", "command": command}).encode()
    assert guard.answer(request) == {"error": {"code": "internal", "detail": "systemctl reboot: exit code 1"}}
    assert kit.nonce != nonce
    assert kit.order(command.encode()) == "bad_nonce"
    assert len(Record(tmp_path, tmp_path).past(kit.now()).restarts) == 1


def test_what_cannot_be_written_down_does_not_happen(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(past: Past) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kit.record, "keep", full)
    assert ordered(kit) == "internal"
    assert kit.restarts == []


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"[]", b'{"ids": 3}', b"\xff", b"[" * 5000])
def test_a_damaged_record_shuts_the_door_for_a_day_and_no_longer(
    kit: Kit, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "past.json").write_bytes(damage)
    assert ordered(kit) == "too_often"
    kit.true_s += DAY_S
    assert ordered(kit) is None


def test_a_new_boot_has_a_new_nonce_and_the_old_one_is_worth_nothing(kit: Kit) -> None:
    before = kit.nonce
    assert kit.nonce == before
    assert len(before) == 32
    kit.start_again()
    assert kit.nonce != before
    assert ordered(kit, args={"target": "host", "reboot_nonce": before}) == "bad_nonce"


def test_a_command_that_was_refused_today_is_not_done_tomorrow(kit: Kit) -> None:
    """Else who holds it back waits until the policy, the count or the clock lets it pass."""
    kit.settings = room(policy={"host_restart": False})
    command = signing.signed(kit.claims(), "op-1")
    assert kit.order(command) == "not_permitted"
    kit.settings = room()
    assert kit.order(command) == "bad_nonce"


def test_who_does_not_know_the_nonce_does_not_use_it_up(kit: Kit) -> None:
    nonce = kit.nonce
    assert ordered(kit, args={"target": "host", "reboot_nonce": NO_NONCE}) == "bad_nonce"
    assert kit.order(signing.signed(kit.claims(), "mallory")) == "bad_signature"
    assert kit.nonce == nonce


def test_the_record_keeps_the_newest_ids(kit: Kit, tmp_path: Path) -> None:
    old = tuple(f"old-{number}" for number in range(KEEP_IDS))
    kit.record.keep(Past(old))
    assert ordered(kit) is None
    ids = Record(tmp_path, tmp_path).past(kit.now()).ids
    assert (len(ids), ids[0], ids[-1]) == (KEEP_IDS, "old-1", f"command-{kit.ids}")


def test_a_room_whose_commands_are_off_is_restarted_by_nobody(kit: Kit) -> None:
    kit.settings = room(commands="off")
    assert ordered(kit) == "not_permitted"


def test_a_command_of_more_than_16_kib_is_not_looked_at(kit: Kit) -> None:
    args = {"target": "host", "reboot_nonce": kit.nonce, "padding": "x" * 16_384}
    assert ordered(kit, args=args) == "too_large"
