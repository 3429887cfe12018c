"""Which places a device's process names before it shuts itself in; nothing is sealed here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diemcau_drivers import confinement
from diemcau_drivers.confinement import Confinement
from diemcau_drivers.contract import PROCESSES
from diemcau_drivers.landlock import Access


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for node in ("dev/video0", "dev/snd/pcmC0D0c", "sys/class/backlight/panel/brightness"):
        (tmp_path / node).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / node).touch()
    return tmp_path


def named(rules: Iterator[confinement.Rule]) -> set[str]:
    return {str(path) for path, _ in rules}


def test_a_backlight_is_the_displays_to_set(root: Path) -> None:
    brightness = root / "sys/class/backlight/panel/brightness"
    for process in PROCESSES:
        rules = dict(confinement._own(process, {}, root))
        assert bool(rules.get(brightness, Access(0)) & Access.WRITE_FILE) == (process == "display")


def test_another_cec_adapter_is_the_displays_as_well(root: Path) -> None:
    assert "/dev/cec-of-the-room" in named(
        confinement._own("display", {"cec_device": "/dev/cec-of-the-room"}, root)
    )


def test_the_sound_servers_directory_and_alsas_settings_are_where_the_environment_says(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/990")
    monkeypatch.setenv("ALSA_CONFIG_PATH", "/usr/share/alsa/alsa.conf:/srv/room.conf")
    monkeypatch.setenv("HOME", "/var/lib/diemcau")
    audio = named(confinement._own("audio", {}, root))
    assert {"/run/user/990/pulse", "/srv/room.conf", "/var/lib/diemcau/.asoundrc"} <= audio
    assert "/var/lib/diemcau" not in audio
    assert not named(confinement._own("camera", {}, root)) & audio


def test_the_working_directory_is_no_place_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit's is "/": a rule for it would name every file there is."""
    monkeypatch.setattr(sys, "path", ["/", "/usr/lib/python3"])
    monkeypatch.setattr(sys, "prefix", "/opt/diemcau")
    assert {"/usr/lib/python3", "/opt/diemcau"} <= confinement._python()
    assert not {"/", ""} & confinement._python()


def test_what_was_plugged_in_since_is_outgrown_and_what_went_is_not(root: Path) -> None:
    sealed = Confinement(7, "camera", {}, root)
    assert not sealed.outgrown()
    (root / "dev/video0").rename(root / "dev/unplugged")
    assert not sealed.outgrown()
    (root / "dev/video0").touch()
    assert sealed.outgrown(), "the name is as before, the device is not"


def test_the_first_of_a_kind_in_a_directory_that_was_not_there_is_seen(root: Path) -> None:
    sealed = Confinement(7, "camera", {}, root)
    (root / "dev/dma_heap").mkdir()
    (root / "dev/dma_heap/linux,cma").touch()
    assert sealed.outgrown()


def test_a_file_of_the_system_that_an_upgrade_replaced_is_seen(root: Path) -> None:
    """ld.so.cache is a new file after each ldconfig: a library that is loaded later would not be found."""
    (root / "etc").mkdir()
    cache = root / "etc/ld.so.cache"
    cache.touch()
    sealed = Confinement(7, "panel", {}, root)
    assert not sealed.outgrown()
    (root / "etc/ld.so.cache~").touch()
    (root / "etc/ld.so.cache~").replace(cache)
    assert sealed.outgrown()


def test_nothing_outgrows_a_process_that_is_not_confined(root: Path) -> None:
    free = Confinement(0, "camera", {}, root)
    (root / "dev/video1").touch()
    assert not free.outgrown()
