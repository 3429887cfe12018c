"""The list of keys that the office signs, taken by a kit's own keyring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fleet
from diemcau_agent.keys import Keyring, KeysError
from diemcau_fleet import key_list
from diemcau_fleet.key_list import KeyListError
from diemcau_fleet.registry import Registry
from diemcau_fleet.registry_file import RegistryError
from fakeclock import FakeClock
from signing import public

DAY_S = 86400


@pytest.fixture
def registry(tmp_path: Path, clock: FakeClock) -> Iterator[Registry]:
    with fleet.found(tmp_path / "fleet", clock.wall) as made:
        yield made


@pytest.fixture
def kit(registry: Registry, tmp_path: Path) -> Keyring:
    """A kit that was set up when the fleet was new."""
    return Keyring(tmp_path / "keys.json", key_list.fleet_keys(registry))


def test_a_kit_obeys_who_was_added_and_no_more_who_was_revoked(registry: Registry, kit: Keyring) -> None:
    registry.add_kit("xp-0417")
    registry.add_operator("op-1", "operator", public("op-1"))
    registry.add_operator("in-1", "installer", public("in-1"), ("xp-0417",))
    assert kit.take(key_list.issue(registry).text)
    operator, installer = kit.find("op-1"), kit.find("in-1")
    assert operator is not None
    assert operator.public == public("op-1")
    assert installer is not None
    assert installer.points == ("xp-0417",)
    registry.revoke("op-1", "operator")
    assert kit.take(key_list.issue(registry).text)
    assert kit.find("op-1") is None
    assert kit.find("in-1") is not None


def test_the_revision_grows_where_the_content_differs_and_only_there(registry: Registry) -> None:
    first = key_list.issue(registry)
    assert (first.revision, first.fresh) == (1, True)
    again = key_list.issue(registry)
    assert (again.revision, again.text, again.fresh) == (1, first.text, False)
    registry.add_kit("xp-0417")
    assert key_list.issue(registry).revision == 1
    registry.add_operator("op-1", "operator", public("op-1"))
    assert key_list.issue(registry).revision == 2


def test_a_list_with_an_end_is_a_new_one_each_time_since_the_kits_take_no_other(
    registry: Registry, kit: Keyring, clock: FakeClock
) -> None:
    registry.add_operator("op-1", "operator", public("op-1"))
    for _ in range(2):
        clock.wall_s += DAY_S
        assert kit.take(key_list.issue(registry, valid_s=30 * DAY_S).text)
    assert kit.find("op-1", clock.wall_s + 30 * DAY_S - 1) is not None
    assert kit.find("op-1", clock.wall_s + 30 * DAY_S) is None


def test_the_fleets_key_is_changed_in_two_steps_and_a_kit_that_saw_both_follows(
    registry: Registry, kit: Keyring
) -> None:
    kit.take(key_list.issue(registry).text)
    (old,) = key_list.fleet_keys(registry)
    new = key_list.rotate_begin(registry)
    assert key_list.fleet_keys(registry) == (old, new)
    with pytest.raises(RegistryError, match="under way"):
        key_list.rotate_begin(registry)
    with pytest.raises(RegistryError, match="no list that names both"):
        key_list.rotate_finish(registry)
    assert kit.take(key_list.issue(registry).text)
    assert kit.trusted == (old, new)
    assert key_list.rotate_finish(registry) == new
    assert kit.take(key_list.issue(registry).text)
    assert kit.trusted == (new,)
    assert key_list.fleet_keys(registry) == (new,)
    with pytest.raises(RegistryError, match="no change"):
        key_list.rotate_finish(registry)


def test_a_kit_that_saw_no_list_in_between_refuses_the_last(registry: Registry, kit: Keyring) -> None:
    """So the office waits until every kit has been online."""
    kit.take(key_list.issue(registry).text)
    key_list.rotate_begin(registry)
    key_list.issue(registry)
    key_list.rotate_finish(registry)
    with pytest.raises(KeysError, match="none of the fleet"):
        kit.take(key_list.issue(registry).text)


def test_a_change_of_keys_that_was_cut_short_goes_on_where_it_was(registry: Registry) -> None:
    directory = registry.directory
    made = key_list._make(directory / key_list.NEXT_KEY)  # and killed before it was in the registry
    assert key_list.rotate_begin(registry) == made
    key_list.issue(registry)
    (directory / key_list.NEXT_KEY).rename(directory / "elsewhere")
    key_list.rotate_finish(registry)  # and killed before the file had its new name
    (directory / "elsewhere").rename(directory / key_list.NEXT_KEY)
    assert key_list.issue(registry).revision == 2


def test_the_fleets_key_may_be_kept_elsewhere_but_must_be_it(registry: Registry, tmp_path: Path) -> None:
    offline = tmp_path / "stick.key"
    (registry.directory / key_list.KEY).rename(offline)
    with pytest.raises(KeyListError, match=r"fleet\.key: expected the fleet's key"):
        key_list.issue(registry)
    assert key_list.issue(registry, offline).revision == 1
    other = tmp_path / "other.key"
    key_list._make(other)
    registry.add_operator("op-1", "operator", public("op-1"))
    with pytest.raises(KeyListError, match=r"other\.key: expected"):
        key_list.issue(registry, other)


def test_a_registry_from_a_backup_goes_on_after_what_the_kits_have(registry: Registry, kit: Keyring) -> None:
    old = key_list.issue(registry)
    kit.take(key_list.issue(registry, after=7).text)
    assert kit.revision == 8
    registry.rows("DELETE FROM key_list WHERE revision > ?", old.revision)  # the backup
    registry.add_operator("op-1", "operator", public("op-1"))
    assert key_list.issue(registry).revision == 2
    assert kit.take(key_list.issue(registry, after=8).text)
    assert kit.find("op-1") is not None


def test_the_fleets_own_key_is_nobodys_key(registry: Registry) -> None:
    (own,) = key_list.fleet_keys(registry)
    with pytest.raises(RegistryError, match="of the fleet itself"):
        registry.add_operator("op-1", "operator", own)
