"""The keeper of a broker's rules: what fails is tried again, and nobody is thrown out twice."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from diemcau_fleet.authority import Authority, Revoked
from diemcau_fleet.broker import command
from diemcau_fleet.broker.eviction import EvictionFailed
from diemcau_fleet.broker.keeper import Keeper, Look
from diemcau_fleet.broker.reload import ReloadFailed, by_command, by_pid_file
from diemcau_fleet.broker.settings import Listen, Settings
from diemcau_fleet.broker.source import SourceError, State
from diemcau_fleet.members import Kit, Members


class Registered:
    def __init__(self, place: Path) -> None:
        self.authority = Authority.make(place, "fleet", time.time())
        self.kits = {"xp-0001", "xp-0002", "xp-0003"}
        self.gone: set[str] = set()
        self.serials: dict[int, str] = {}
        self.lists = 0
        self.broken: str | None = None

    def revoke(self, name: str) -> None:
        self.kits.discard(name)
        self.gone.add(name)
        self.serials[len(self.serials) + 1] = name

    def look(self) -> State:
        if self.broken is not None:
            raise SourceError(self.broken)
        kits = tuple(Kit(name) for name in sorted(self.kits))
        return State(Members(kits=kits, revoked=tuple(sorted(self.gone))), self.serials, self.authority.pem)

    def crl(self) -> bytes:
        self.lists += 1
        now_s = time.time()
        revoked = [Revoked(f"{serial:x}", int(now_s)) for serial in self.serials]
        return self.authority.crl(self.lists, revoked, now_s)


class Door:
    def __init__(self) -> None:
        self.out: list[str] = []
        self.cleared: list[str] = []
        self.shut: set[str] = set()

    def throw_out(self, identity: str) -> None:
        if identity in self.shut:
            raise EvictionFailed(f"as {identity}")
        self.out.append(identity)

    def clear(self, identity: str) -> None:
        self.cleared.append(identity)


class Scene:
    def __init__(self, place: Path) -> None:
        self.registered = Registered(place)
        self.door = Door()
        self.reloads = 0
        self.running: bool | ReloadFailed = True
        self.settings = Settings(
            out=place / "out", place=place / "out", host_cert=place / "host.pem",
            host_key=place / "host.key", mqtts=(Listen("127.0.0.1", 8883),), user="root",
        )  # fmt: skip
        self.keeper = self.again()

    def again(self) -> Keeper:
        """Another life."""
        return Keeper(self.registered, self.settings, self.reload, self.door)

    def reload(self) -> bool:
        if isinstance(self.running, ReloadFailed):
            raise self.running
        self.reloads += self.running
        return self.running


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.keeper.look()
    return made


def test_where_nothing_changes_nothing_is_written_reloaded_or_signed(scene: Scene) -> None:
    for _ in range(3):
        look = scene.keeper.look()
        assert (look.changed, look.running, look.thrown_out, look.troubles) == (frozenset(), None, (), ())
    assert (scene.reloads, scene.registered.lists) == (1, 1)


def test_whoever_is_revoked_is_thrown_out_once(scene: Scene) -> None:
    scene.registered.revoke("xp-0001")
    assert scene.keeper.look().thrown_out == ("xp-0001",)
    assert scene.keeper.look().thrown_out == ()
    assert scene.door.cleared == ["xp-0001"]


def test_another_life_throws_out_whoever_is_revoked_again_since_it_may_have_been_cut_short(
    scene: Scene,
) -> None:
    scene.registered.revoke("xp-0001")
    scene.keeper.look()
    assert scene.again().look().thrown_out == ("xp-0001",)


def test_who_is_a_member_again_is_not_cleared_and_not_thrown_out_by_another_life(scene: Scene) -> None:
    scene.registered.revoke("xp-0001")
    scene.registered.gone.clear()
    scene.registered.kits.add("xp-0001")
    look = scene.keeper.look()
    assert (look.thrown_out, look.cleared) == (("xp-0001",), ())  # the stolen one's connection
    assert scene.door.cleared == []
    assert scene.again().look().thrown_out == ()


@pytest.mark.parametrize(
    ("again", "told"),
    [
        (False, "revoked: xp-0001: connection ended, retained documents cleared"),
        (True, "revoked: an old certificate of xp-0001, which is a member again: connection ended"),
    ],
)
def test_of_who_is_a_member_again_the_log_says_no_more_than_was_done(
    scene: Scene, caplog: pytest.LogCaptureFixture, again: bool, told: str
) -> None:
    caplog.set_level(logging.INFO)
    scene.registered.revoke("xp-0001")
    if again:
        scene.registered.gone.clear()
        scene.registered.kits.add("xp-0001")
    command._tell(scene.keeper.look(), Look())
    assert [line for line in caplog.messages if line.startswith("revoked")] == [told]


def test_one_that_cannot_be_thrown_out_does_not_keep_the_others_in(scene: Scene) -> None:
    scene.door.shut = {"xp-0001"}
    scene.registered.revoke("xp-0001")
    scene.registered.revoke("xp-0002")
    assert scene.keeper.look().troubles == ("as xp-0001",)
    look = scene.keeper.look()
    assert (look.thrown_out, look.troubles) == (("xp-0002",), ("as xp-0001",))
    scene.door.shut = set()
    assert scene.keeper.look().thrown_out == ("xp-0001",)


def test_a_reload_that_failed_is_tried_again_before_anybody_is_thrown_out(scene: Scene) -> None:
    scene.registered.revoke("xp-0001")
    scene.running = ReloadFailed("no right to")
    assert scene.keeper.look().troubles == ("no right to",)
    assert scene.door.out == []  # it would come straight back
    scene.running = True
    look = scene.keeper.look()
    assert (look.changed, look.running, look.thrown_out) == (frozenset(), True, ("xp-0001",))


def test_where_no_broker_runs_the_files_are_written_and_the_rest_waits_for_it(scene: Scene) -> None:
    scene.running = False
    scene.registered.revoke("xp-0001")
    look = scene.keeper.look()
    assert (look.running, look.thrown_out, look.troubles) == (False, (), ())
    assert "user xp-0001" in (scene.settings.out / "acl").read_text()
    scene.running = True
    assert scene.keeper.look().thrown_out == ("xp-0001",)


def test_what_was_written_in_part_is_read_by_the_broker_once_the_rest_is_written(scene: Scene) -> None:
    acl = scene.settings.out / "acl"
    acl.unlink()
    acl.mkdir()  # a disk on which this one cannot be written
    scene.registered.revoke("xp-0001")
    assert scene.keeper.look().troubles
    assert scene.door.out == []
    acl.rmdir()
    look = scene.keeper.look()
    assert (look.changed, look.running, look.thrown_out) == ({"acl"}, True, ("xp-0001",))


def test_a_registry_that_cannot_be_read_changes_nothing_and_is_told(scene: Scene) -> None:
    scene.registered.broken = "fleet.sqlite3: disk I/O error"
    look = scene.keeper.look()
    assert (look.changed, look.troubles) == (frozenset(), ("fleet.sqlite3: disk I/O error",))
    scene.registered.broken = None
    assert scene.keeper.look().troubles == ()


def test_a_reload_command_that_fails_says_why() -> None:
    assert by_command("true") is True
    with pytest.raises(ReloadFailed, match=r"exit code 2: .*nothing-there"):
        by_command("ls /nothing-there")
    with pytest.raises(ReloadFailed, match="nothing-there"):
        by_command("/nothing-there")
    with pytest.raises(ReloadFailed, match="quotation"):
        by_command("echo 'open")


def test_a_pid_file_of_rubbish_is_told_and_a_missing_one_means_that_no_broker_runs(tmp_path: Path) -> None:
    assert by_pid_file(tmp_path / "pid") is False
    (tmp_path / "pid").write_text("rubbish")
    with pytest.raises(ReloadFailed, match="pid"):
        by_pid_file(tmp_path / "pid")
