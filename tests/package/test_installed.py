"""The package on the two Debians it is for, under a systemd of their own and without a network: what
installing, upgrading, going back, removing and purging do to a kit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from debs import BACKENDS, MENDED, SETTINGS, Fresh, built, once, root, spoiled

# From nothing a Debian is made and three packages are built; then some seconds an installation.
pytestmark = [pytest.mark.package, pytest.mark.timeout(600)]
OLD, NEW = "0.1.0", "0.2.0"
SPOOL = "/var/lib/diemcau/spool.sqlite3"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def old(shared: Path) -> Path:
    (deb,) = once(shared / "old", lambda folder: built(folder, VERSION=OLD)).iterdir()
    return deb


@pytest.fixture(scope="session")
def new(shared: Path) -> Path:
    (deb,) = once(shared / "new", lambda folder: built(folder, VERSION=NEW)).iterdir()
    return deb


@pytest.fixture(scope="session")
def broken(shared: Path, new: Path) -> Path:
    (deb,) = once(shared / "broken", lambda folder: spoiled(new, folder)).iterdir()
    return deb


@pytest.fixture(scope="session")
def fleet(shared: Path) -> Path:
    (deb,) = once(shared / "fleet", lambda folder: built(folder, "diemcau-fleet", VERSION=OLD)).iterdir()
    return deb


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Path:
    return root(request.param)


@pytest.fixture
def fresh(tmp_path: Path, debian: Path) -> Iterator[Fresh]:
    with Fresh(tmp_path, debian) as machine:
        yield machine


@pytest.fixture
def kit(fresh: Fresh, old: Path) -> Fresh:
    """Version 0.1.0, settings, its agent ready."""
    fresh.install(old)
    fresh.configure()
    fresh.agent()
    return fresh


def test_without_a_network_it_installs_and_says_what_it_waits_for(fresh: Fresh, old: Path) -> None:
    assert fresh.run("ls", "/sys/class/net").split() == ["lo"]
    said = fresh.install(old)
    assert "point: missing" in said
    assert "systemctl start diemcau-agent" in said
    assert fresh.version() == OLD
    assert fresh.property("diemcau-agent", "ActiveState") == "inactive"
    assert fresh.property("diemcau-reboot.socket", "ActiveState") == "active"
    assert fresh.property("diemcau-enrol.timer", "ActiveState") == "active"
    assert fresh.run("stat", "-c", "%U:%G %a", "/etc/diemcau/agent.toml", "/etc/diemcau") == (
        "root:diemcau 640\nroot:root 755\n"
    )
    groups = set(fresh.run("id", "-nG", "diemcau").split())
    assert groups == {"diemcau", "video", "audio", "gpio", "render", "i2c"}
    # As an update does: what finishes it is of the version before.
    fresh.run("mkdir", "--mode", "700", "/var/lib/diemcau-update")
    fresh.run("ln", "--symbolic", f"/opt/diemcau/{OLD}", "/var/lib/diemcau-update/before")
    assert "fatal" not in fresh.run("systemd-analyze", "verify", "--man=no", *_units(fresh)).lower()
    assert fresh.run("dpkg", "--verify", "diemcau") == ""
    if int(fresh.run("udevadm", "--version")) >= 254:  # bookworm's cannot
        assert "Success: 1" in fresh.run("udevadm", "verify", "/usr/lib/udev/rules.d/60-diemcau.rules")


def test_settings_that_were_there_first_are_kept_and_the_agent_starts_by_itself(
    fresh: Fresh, old: Path
) -> None:
    """As on a card that was prepared (provisioning/image)."""
    fresh.run("mkdir", "-p", "/etc/diemcau")
    fresh.write("/etc/diemcau/agent.toml", SETTINGS)
    fresh.install(old, "-o", "Dpkg::Options::=--force-confold")
    fresh.agent()
    assert fresh.run("cat", "/etc/diemcau/agent.toml") == SETTINGS
    assert fresh.run("stat", "-c", "%U:%G %a", "/etc/diemcau/agent.toml") == "root:diemcau 640\n"


def test_the_agent_is_ready_in_its_unit_with_no_broker_and_no_device(kit: Fresh) -> None:
    kit.until_answers()
    assert kit.property("diemcau-agent", "NRestarts") == "0"
    assert kit.run("stat", "-c", "%U %a", "/var/lib/diemcau", SPOOL) == "diemcau 700\ndiemcau 600\n"
    program = kit.run("cat", f"/proc/{kit.agent()}/cmdline").split("\0")[0]
    assert program == f"/opt/diemcau/{OLD}/bin/python"


def test_each_devices_process_finds_its_libraries_and_no_device(kit: Fresh) -> None:
    """The wheels and Debian's packages hold together: what is missing is the device."""
    for process, backend in BACKENDS.items():
        setup = {"backend": backend, "options": {"runtime_dir": f"/run/diemcau/trial-{process}"}}
        kit.write("/root/asked", f'{json.dumps(setup)}\n{{"id": 1, "do": "probe"}}\n')
        said = kit.run(
            "sh", "-c", "setpriv --reuid=diemcau --regid=diemcau --init-groups "
            f"/opt/diemcau/{OLD}/bin/python -P -m diemcau_drivers {process} </root/asked",
        )  # fmt: skip
        ready, answer = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
        assert ready["ready"]["backend"] == backend
        assert "ok" in answer or answer["error"]["kind"] == "absent", said


def test_an_upgrade_keeps_settings_and_spool_and_the_version_before(kit: Fresh, new: Path) -> None:
    kit.write("/etc/diemcau/agent.toml", MENDED)
    kit.run("chmod", "640", "/etc/diemcau/agent.toml")
    before, inode = kit.agent(), kit.run("stat", "-c", "%i", SPOOL)
    kit.install(new)
    assert kit.agent() != before
    assert kit.version() == NEW
    assert kit.in_use() == f"{NEW}/bin"
    assert kit.run("readlink", "/opt/diemcau/previous") == f"{OLD}\n"
    assert kit.run("cat", "/etc/diemcau/agent.toml") == MENDED
    assert kit.run("stat", "-c", "%i", SPOOL) == inode
    assert kit.run(f"/opt/diemcau/{OLD}/bin/diemcau-agent", "--version").split()[-1] == OLD


def test_a_package_that_is_not_whole_fails_with_a_reason_and_the_old_agent_goes_on(
    kit: Fresh, broken: Path
) -> None:
    before = kit.agent()
    with pytest.raises(AssertionError, match="the wheels cannot be installed") as failed:
        kit.install(broken)
    assert f"diemcau: {NEW} is not installed; in use is still: {OLD}\n" in str(failed.value)
    assert kit.agent() == before
    assert kit.in_use() == f"{OLD}/bin"
    assert not kit.exists(f"/opt/diemcau/{NEW}")


def test_after_a_failed_upgrade_the_old_package_or_a_whole_one_puts_it_right(
    kit: Fresh, broken: Path, old: Path, new: Path
) -> None:
    with pytest.raises(AssertionError, match="the wheels cannot be installed"):
        kit.install(broken)
    kit.install(old)
    assert kit.version() == OLD
    kit.agent()
    kit.install(new)
    assert kit.version() == NEW
    assert kit.run("dpkg", "--audit") == ""


def test_a_downgrade_is_an_installation_like_another(kit: Fresh, old: Path, new: Path) -> None:
    kit.install(new)
    after = kit.agent()
    kit.install(old)
    assert kit.version() == OLD
    assert kit.in_use() == f"{OLD}/bin"
    assert kit.agent() != after
    assert kit.run("cat", "/etc/diemcau/agent.toml") == SETTINGS
    assert kit.exists(SPOOL)


def test_what_was_switched_off_by_hand_stays_off_over_an_upgrade(kit: Fresh, new: Path) -> None:
    kit.run("systemctl", "disable", "--now", "diemcau-agent", "diemcau-enrol.timer")
    kit.install(new)
    for unit in ("diemcau-agent", "diemcau-enrol.timer"):
        assert kit.property(unit, "ActiveState") == "inactive", unit
        assert kit.property(unit, "UnitFileState") == "disabled", unit


def test_another_python_of_debians_makes_the_environment_anew(kit: Fresh) -> None:
    before = kit.agent()
    kit.write(f"/opt/diemcau/{OLD}/.whole", "made by a Python that has gone\n")
    kit.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    kit.run("dpkg", "--configure", "--pending")
    assert kit.version() == OLD
    assert kit.agent() != before
    assert kit.run("ls", "/opt/diemcau").split() == [OLD, "bin"]


def test_removed_it_leaves_settings_and_state_and_comes_back_with_them(kit: Fresh, old: Path) -> None:
    kit.run("apt-get", "remove", "--yes", "diemcau")
    assert not kit.exists("/opt/diemcau")
    assert not kit.exists("/usr/bin/diemcau-agent")
    assert kit.run("find", "/proc", "-maxdepth", "1", "-user", "diemcau") == ""
    assert kit.run("cat", "/etc/diemcau/agent.toml") == SETTINGS
    assert kit.exists(SPOOL)
    kit.install(old)
    kit.agent()


def test_purged_it_leaves_nothing_of_the_kit(kit: Fresh) -> None:
    kit.run("mkdir", "-p", "/var/lib/diemcau/identity", "/var/lib/diemcau-reboot")
    for secret in ("/var/lib/diemcau/identity/identity.pem", "/etc/diemcau/token", "/etc/diemcau/ca.pem"):
        kit.write(secret, "secret")
    kit.run("apt-get", "purge", "--yes", "diemcau")
    left = kit.run("find", "/etc", "/opt", "/run", "/usr", "/var", "-xdev", "-iname", "*diemcau*")
    others = ("/var/log/", "/run/log/", "/run/systemd/")  # what dpkg and systemd remember
    assert [line for line in left.splitlines() if not line.startswith(others)] == []
    assert kit.run("sh", "-c", "getent passwd diemcau; getent group diemcau; true") == ""


def test_the_centres_package_starts_nothing_and_its_purge_keeps_the_fleet(fresh: Fresh, fleet: Path) -> None:
    fresh.install(fleet)
    assert fresh.run("diemcau-fleet", "--version") == f"diemcau-fleet {OLD}\n"
    for unit in ("collector", "est", "reflector", "broker"):
        assert fresh.property(f"diemcau-{unit}", "UnitFileState") == "disabled"
    fresh.run("systemctl", "enable", "--now", "diemcau-reflector")
    fresh.run("diemcau-fleet", "ca", "init", "--dir", "/var/lib/diemcau-fleet")
    fresh.run("apt-get", "purge", "--yes", "diemcau-fleet")
    assert fresh.property("diemcau-reflector", "ActiveState") != "active"
    assert not fresh.exists("/opt/diemcau")
    for kept in ("ca.key", "fleet.key", "fleet.sqlite3"):
        assert fresh.exists(f"/var/lib/diemcau-fleet/{kept}")


def _units(machine: Fresh) -> list[str]:
    return machine.run("sh", "-c", "ls /usr/lib/systemd/system/diemcau*").split()
