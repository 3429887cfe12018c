"""What installs another version, and what never does: forged, older, for another machine, at a wrong time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import signing
from diemcau_agent import config
from diemcau_agent.commands.outcome import CommandError, Refused, Unanswerable
from diemcau_agent.commands.signature import Signed
from diemcau_agent.config import ConfigError, Settings
from diemcau_agent.keys import Keyring
from diemcau_agent.privileged.moment import Moment
from diemcau_agent.update import release
from diemcau_agent.update.look import Look, Part, unwell
from diemcau_agent.update.rules import GRACE_S, Installed, Past, check_window, decide

POINT = "xp-0417"
NOW_S = 1_795_332_600.0
SHA256 = "ab" * 32
RELEASE = {
    "schema": "diemcau.release/1", "package": "diemcau", "version": "1.2.0", "arch": "arm64",
    "sha256": SHA256, "size": 1000, "serial": 7,
}  # fmt: skip


def room(**changes: Any) -> Settings:
    return config.check(
        {
            "point": POINT,
            "broker": {"urls": ["mqtts://broker.example"]},
            "fleet_keys": [signing.public("fleet-1")],
            "release_keys": [signing.public("release-1")],
            **changes,
        }
    )


def older(version: str, than: str) -> bool:
    return [int(part) for part in version.split(".")] < [int(part) for part in than.split(".")]


class Kit:
    """One who asks root's process; everything is right unless it is changed."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.settings = room()
        self.past = Past()
        self.now = Moment("boot-1", 100.0, NOW_S, synced=True)
        self.installed = Installed("1.1.0", "arm64")
        self.release: dict[str, Any] = dict(RELEASE)
        self.release_by = "release-1"
        self.args: dict[str, Any] = {
            "version": "1.2.0", "url": "https://updates.example/diemcau.deb", "sha256": SHA256,
        }  # fmt: skip
        self.claims: dict[str, Any] = {}
        self.by = "op-1"

    def ask(self) -> release.Release:
        claims = {
            "id": "command-1", "aud": f"point/{POINT}", "verb": "update", "iss": self.by, "iat": int(NOW_S),
            "exp": int(NOW_S) + 60, "args": self.args, "nonce": "n", **self.claims,
        }  # fmt: skip
        signed = Signed(self.keyring, POINT, now=lambda: NOW_S, accepted=lambda: True)
        command_id, wanted = decide(
            signing.signed(claims, self.by),
            signing.signed(self.release, self.release_by),
            settings=self.settings,
            verifier=signed,
            past=self.past,
            now=self.now,
            installed=self.installed,
            older=older,
        )
        assert command_id == "command-1"
        return wanted

    def refused(self) -> str:
        with pytest.raises(CommandError) as caught:
            self.ask()
        return f"{caught.value.code}: {caught.value.detail}"


@pytest.fixture
def kit(tmp_path: Any) -> Kit:
    keyring = Keyring(tmp_path / "keys.json", [signing.public("fleet-1")])
    keyring.take(signing.key_list(signing.key("op-1"), signing.key("viewer-1", "viewer")))
    return Kit(keyring)


def test_what_the_release_key_has_signed_and_an_operator_orders_is_installed(kit: Kit) -> None:
    assert kit.ask().version == "1.2.0"
    kit.claims = {"aud": "group/all", "nonce": None}
    kit.args["spread_s"] = 600.0
    assert kit.ask().serial == 7


def _change(where: str, **values: Any) -> Callable[[Kit], None]:
    def change(kit: Kit) -> None:
        getattr(kit, where).update(values)

    return change


def _set(**values: Any) -> Callable[[Kit], None]:
    def change(kit: Kit) -> None:
        for name, value in values.items():
            setattr(kit, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set(release_by="fleet-1"), "not_permitted: the release: it is signed by none of this kit's"),
        (_set(release_by="op-1"), "not_permitted: the release: it is signed by none of this kit's"),
        (_set(settings=room(release_keys=[])), "not_permitted: this kit has no release_keys"),
        (_set(by="mallory"), "unknown_key"),
        (_set(by="viewer-1"), "not_permitted: viewer-1: to update takes an operator's key"),
        (_change("claims", aud="point/xp-0418"), "wrong_audience"),
        (_change("claims", aud="group/elsewhere"), "wrong_audience"),
        (_change("claims", verb="restart"), "unknown_verb"),
        (_change("claims", iat=1, exp=61), "expired"),
        (_change("args", force=True), "bad_args"),
        (_change("args", url="http://updates.example/x.deb"), "bad_args"),
        (_change("args", version="1.3.0"), "bad_args: args.version: got 1.3.0, expected 1.2.0"),
        (_change("args", sha256="cd" * 32), "bad_args: args.sha256"),
        (_change("release", sha256="cd" * 32), "bad_args: args.sha256"),
        (_change("release", arch="amd64"), "not_permitted: the release: arch: got amd64, expected arm64"),
        (_change("release", package="sudo"), "not_permitted: the release: package"),
        (_change("release", schema="diemcau.keys/1"), "not_permitted: the release: schema"),
        (_change("release", size=release.MAX_PACKAGE_BYTES + 1), "not_permitted: the release: size"),
        (_set(past=Past(serial=8)), "not_permitted: the release: serial: got 7, expected more than 8"),
        (_set(past=Past(serial=7, sha256="cd" * 32)), "not_permitted: the release: serial"),
        (_set(past=Past(ids=("command-1",))), "bad_nonce"),
        (_set(installed=Installed("1.2.1", "arm64")), "not_permitted: the release: version: got 1.2.0"),
    ],
)
def test_what_is_not_right_is_refused_and_says_why(kit: Kit, change: Callable[[Kit], None], why: str) -> None:
    change(kit)
    assert kit.refused().startswith(why)


def test_the_same_release_may_come_again_and_a_signed_downgrade_goes_down(kit: Kit) -> None:
    kit.past = Past(serial=7, sha256=SHA256)
    assert kit.ask().serial == 7
    kit.installed = Installed("2.0.0", "arm64")
    kit.release["downgrade"] = True
    assert kit.ask().downgrade
    kit.past = Past(serial=9)  # but never back into the past
    assert kit.refused().startswith("not_permitted: the release: serial")


def test_a_command_holds_for_the_time_that_its_download_may_take_and_no_longer(kit: Kit) -> None:
    kit.now = Moment("boot-1", 100.0, NOW_S + 60 + GRACE_S - 1, synced=True)
    assert kit.ask().serial == 7
    kit.now = Moment("boot-1", 100.0, NOW_S + 60 + GRACE_S, synced=True)
    assert kit.refused().startswith("expired")


def test_the_rooms_window_is_asked_by_a_true_clock_only(kit: Kit) -> None:
    local = time.localtime(NOW_S)
    kit.settings = room(update={"window": f"{local.tm_hour:02}:00-{local.tm_hour:02}:59"})
    assert (kit.ask().serial == 7) == (local.tm_min < 59)
    kit.now = Moment("boot-1", 100.0, NOW_S, synced=False)
    assert kit.refused().startswith("clock_unsynced: update.window")
    hour = (local.tm_hour + 2) % 24
    kit.settings = room(update={"window": f"{hour:02}:00-{hour:02}:30"})
    kit.now = Moment("boot-1", 100.0, NOW_S, synced=True)
    assert kit.refused().startswith("not_permitted: update.window: it is ")


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_opens_at_its_first_minute_closes_at_its_last_and_may_cross_midnight(
    begin: int, length: int, at: int
) -> None:
    end = (begin + length) % 1440
    window = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    noon = time.localtime(NOW_S)
    wall_s = time.mktime((noon.tm_year, noon.tm_mon, noon.tm_mday, at // 60, at % 60, 0, 0, 0, -1))
    inside = (at - begin) % 1440 < (length or 1440)
    try:
        check_window(window, wall_s, synced=True)
    except Refused:
        assert not inside
    else:
        assert inside


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_whatever_is_not_signed_is_no_release(text: bytes) -> None:
    with pytest.raises(Refused, match="not_permitted"):
        release.read(text, [signing.public("release-1")])


@given(
    st.fixed_dictionaries(
        {},
        optional={name: st.none() | st.integers() | st.text(max_size=8) for name in RELEASE},
    )
)
def test_what_is_signed_and_is_no_release_names_every_field(changes: dict[str, Any]) -> None:
    data = RELEASE | changes
    text = signing.signed(data, "release-1")
    try:
        read = release.read(text, [signing.public("release-1")])
    except Refused as error:
        refused = error.detail
    else:
        assert json.loads(json.dumps(data)) == {name: getattr(read, name) for name in RELEASE}
        return
    assert changes
    assert refused.startswith("the release: ")
    assert any(name in refused for name in changes)


def test_a_list_of_keys_is_no_release_even_where_the_same_key_signs(kit: Kit) -> None:
    with pytest.raises(Refused, match="schema"):
        release.read(signing.key_list(by="release-1"), [signing.public("release-1")])


def test_a_key_that_signs_lists_signs_no_packages() -> None:
    with pytest.raises(ConfigError, match=r"release_keys: got .* of fleet_keys too"):
        room(release_keys=[signing.public("fleet-1")])
    with pytest.raises(ConfigError, match=r"release_keys\[0\]"):
        room(release_keys=["_" * 43])
    with pytest.raises(ConfigError, match=r"update\.window"):
        room(update={"window": "25:00-26:00"})


def test_commands_that_are_off_install_nothing(kit: Kit) -> None:
    with pytest.raises(Refused, match="commands are off"):
        decide(
            b"", b"", settings=kit.settings, verifier=None, past=kit.past, now=kit.now,
            installed=kit.installed, older=older,
        )  # fmt: skip
    kit.claims = {"iss": "op-2"}
    with pytest.raises(Unanswerable):
        kit.ask()


# --- A good look


def look(version: str = "1.2.0", *, online: bool = True, parts: dict[str, Part] | None = None) -> Look:
    usual = {"camera": Part("ok", None, True), "host": Part("ok", None, True)}
    return Look(version, 3, online, usual | (parts or {}))


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (None, "the agent is not READY"),
        (look(version="1.1.0"), "version 1.1.0, expected 1.2.0"),
        (look(online=False), "the broker is not reached any more"),
        (Look("1.2.0", 3, True, {}), "has not looked at the room yet"),
        (look(parts={"camera": Part("unknown", None, False)}), "camera: not looked at yet"),
        (
            look(parts={"camera": Part("absent", "camera_absent", True)}),
            "camera: absent camera_absent, was ok",
        ),
        (look(parts={"host": Part("failed", "disk_full", True)}), "host: failed disk_full"),
    ],
)
def test_a_room_that_is_worse_than_before_is_not_well(now: Look | None, why: str) -> None:
    assert why in (unwell(now, "1.2.0", look(version="1.1.0")) or "")


def test_what_was_broken_before_may_stay_so_and_a_busy_host_is_no_fault() -> None:
    before = look(version="1.1.0", online=False, parts={"camera": Part("absent", "camera_absent", True)})
    assert unwell(look(online=False, parts=before.parts), "1.2.0", before) is None
    assert unwell(look(parts={"host": Part("degraded", "load_high", True)}), "1.2.0", look()) is None
    assert unwell(look(parts={"camera": Part("failed", None, True)}), "1.2.0", None) is None
