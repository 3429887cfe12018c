"""Another version, by the real process and the real dpkg: installed and kept, or the version before is
back."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from update_rig import SOON_S, Kit, sha256, wait_for

pytestmark = pytest.mark.mounts  # dpkg installs as root


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    """Version 1.0.0 is installed, and its technician has written its settings."""
    made = Kit(tmp_path)
    try:
        made.install(made.package("1.0.0", more={"usr/share/diemcau/only-old": "x"}))
        (made.root / "etc/diemcau/agent.toml").write_text("# the technician's own\n")
        yield made
    finally:
        made.close()


@pytest.fixture
def knowing(kit: Kit) -> Kit:
    kit.start()
    kit.know()
    return kit


def ended(kit: Kit) -> None:
    """The process that installs leaves once it is done."""
    assert kit.processes[-1].wait(SOON_S) == 0, kit.log


def step(kit: Kit) -> str:
    return str(json.loads((kit.state / "record.json").read_text())["pending"]["step"])


def settings_of(kit: Kit) -> str:
    return (kit.root / "etc/diemcau/agent.toml").read_text()


def test_a_signed_version_is_installed_and_the_settings_stay(knowing: Kit) -> None:
    new = knowing.package("1.1.0")
    assert knowing.order(new, "1.1.0") == {"ok": {"installing": True}}
    ended(knowing)
    assert (knowing.installed, knowing.running) == ("1.1.0", "1.1.0"), knowing.log
    assert knowing.ending() == {"state": "installed", "before": "1.0.0", "to": "1.1.0", "reason": ""}
    assert settings_of(knowing) == "# the technician's own\n"
    assert not (knowing.state / "new.deb").exists()
    assert (knowing.state / "before").readlink() == Path(sys.prefix)
    # The same command again does nothing, nor does an older release.
    assert knowing.order(new, "1.1.0")["error"]["code"] == "bad_nonce"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"active": "failed"}, "the agent is not READY"),
        ({"camera": "absent"}, "camera: absent camera_absent, was ok before"),
        ({"hook": "exit 1"}, "systemctl start: exit code 1"),
        ({"hook": "version=0.9; sleep 0 # it runs another than it says"}, "of version 0.9, expected 1.1.0"),
    ],
)
def test_a_version_that_is_not_well_is_taken_back_whole(
    knowing: Kit, how: dict[str, str], reason: str
) -> None:
    bad = knowing.package("1.1.0", **how, more={"usr/share/diemcau/only-new": "x"})
    assert knowing.order(bad, "1.1.0") == {"ok": {"installing": True}}
    ended(knowing)
    assert (knowing.installed, knowing.running) == ("1.0.0", "1.0.0"), knowing.log
    ending = knowing.ending()
    assert (ending["state"], ending["before"], ending["to"]) == ("rolled_back", "1.0.0", "1.1.0")
    assert reason in ending["reason"]
    share = {path.name for path in (knowing.root / "usr/share/diemcau").iterdir()}
    assert share == {"version", "link", "only-old"}
    assert (knowing.root / "usr/share/diemcau/link").is_symlink()
    assert settings_of(knowing) == "# the technician's own\n"
    assert "of two lines" in knowing.run("dpkg-query", "--status", "diemcau")
    # A mended one of the same serial may follow.
    good = knowing.package("1.1.1")
    assert knowing.order(good, "1.1.1", id="command-2") == {"ok": {"installing": True}}
    ended(knowing)
    assert knowing.installed == "1.1.1"
    assert settings_of(knowing) == "# the technician's own\n"
    assert "/etc/diemcau/agent.toml" in knowing.run("dpkg-query", "-W", "-f=${Conffiles}", "diemcau")


def test_while_the_agent_says_that_a_conference_is_on_nothing_is_installed(knowing: Kit) -> None:
    (knowing.root / "run/conference").touch()
    new = knowing.package("1.1.0")
    assert knowing.order(new, "1.1.0") == {"ok": {"installing": True}}
    ended(knowing)
    assert (knowing.installed, knowing.running) == ("1.0.0", "1.0.0")
    ending = knowing.ending()
    assert (ending["state"], ending["reason"]) == ("not_installed", "a conference is on")
    (knowing.root / "run/conference").unlink()
    assert knowing.order(new, "1.1.0", id="command-2") == {"ok": {"installing": True}}
    ended(knowing)
    assert knowing.installed == "1.1.0"


def test_what_is_forged_older_for_another_machine_or_changed_on_the_way_changes_nothing(knowing: Kit) -> None:
    new, other = knowing.package("1.1.0"), knowing.package("1.2.0")
    foreign = knowing.package("1.3.0", arch="riscv64")
    named = knowing.package("1.4.0", name="sudo")
    old = knowing.package("0.9.0")
    command = knowing.command(new, "1.1.0").decode()
    release = knowing.release(new, "1.1.0").decode()

    def ask(package: Path | None, **changes: str) -> str:
        request = {"do": "install", "command": command, "release": release, **changes}
        error = knowing.ask(package, **request)["error"]
        return f"{error['code']}: {error['detail']}"

    def of(package: Path, version: str, **changes: Any) -> dict[str, str]:
        return {
            "command": knowing.command(package, version).decode(),
            "release": knowing.release(package, version, **changes).decode(),
        }

    tries = {
        "no descriptor": ask(None),
        "by no release key": ask(new, release=knowing.release(new, "1.1.0", by="fleet-1").decode()),
        "by no operator": ask(new, command=knowing.command(new, "1.1.0", by="mallory").decode()),
        "another file": ask(other),
        "of the size, another content": ask(_altered(new)),
        "another release": ask(new, release=knowing.release(other, "1.2.0").decode()),
        "older": ask(old, **of(old, "0.9.0")),
        "for another machine": ask(foreign, **of(foreign, "1.3.0")),
        "another package": ask(named, **of(named, "1.4.0")),
        "a pipe": _with_a_pipe(knowing, command, release),
    }
    codes = {what: answer.partition(":")[0] for what, answer in tries.items()}
    assert codes == {
        "no descriptor": "bad_args",
        "by no release key": "not_permitted",
        "by no operator": "unknown_key",
        "another file": "bad_args",
        "of the size, another content": "bad_args",
        "another release": "bad_args",
        "older": "not_permitted",
        "for another machine": "internal",  # signed for this one: dpkg's own word is asked too
        "another package": "internal",
        "a pipe": "bad_args",
    }, tries
    assert (knowing.installed, knowing.running) == ("1.0.0", "1.0.0")
    assert not (knowing.state / "new.deb").exists()
    # None of them used the command up.
    assert knowing.order(new, "1.1.0") == {"ok": {"installing": True}}
    ended(knowing)
    assert knowing.installed == "1.1.0"


def _altered(package: Path) -> Path:
    data = bytearray(package.read_bytes())
    data[-1] ^= 1
    altered = package.with_name("altered.deb")
    altered.write_bytes(data)
    return altered


def _with_a_pipe(kit: Kit, command: str, release: str) -> str:
    read, write = os.pipe()
    try:
        pipe = Path(f"/proc/self/fd/{read}")
        error = kit.ask(pipe, do="install", command=command, release=release)["error"]
    finally:
        os.close(read)
        os.close(write)
    return f"{error['code']}: {error['detail']}"


def test_a_downgrade_comes_by_a_release_that_says_so_and_an_older_release_never_again(knowing: Kit) -> None:
    old = knowing.package("0.9.0")
    command = knowing.command(old, "0.9.0").decode()
    release = knowing.release(old, "0.9.0", downgrade=True, serial=5).decode()
    assert "ok" in knowing.ask(old, do="install", command=command, release=release)
    ended(knowing)
    assert knowing.installed == "0.9.0"
    knowing.start()
    new = knowing.package("1.1.0")
    refused = knowing.order(new, "1.1.0", id="command-2")["error"]  # serial 1
    assert (refused["code"], "serial" in refused["detail"]) == ("not_permitted", True)
    assert knowing.installed == "0.9.0"


@pytest.mark.parametrize("moment", ["unpacking", "configuring", "watching", "undoing"])
@pytest.mark.parametrize("at_boot", [True, False])
def test_killed_anywhere_with_dpkg_the_next_life_ends_it(knowing: Kit, moment: str, at_boot: bool) -> None:
    """The power is cut: the updater and dpkg die at once, and the record says where."""
    fifo = knowing.folder / "fifo"
    os.mkfifo(fifo)
    stop = f'[ -e "{knowing.folder}/again" ] || {{ touch "{knowing.folder}/there"; read -r x <"{fifo}"; }}'
    how: dict[str, Any] = {"hook": stop} if moment == "configuring" else {}
    if moment in ("watching", "undoing"):
        how = {"active": "activating"}
    new = knowing.package("1.1.0", **how)
    if moment == "unpacking":
        # The new files are there, the old ones not yet gone.
        postrm = knowing.root / "var/lib/dpkg/info/diemcau.postrm"
        postrm.write_text(f"#!/bin/sh\n{stop}\n")
        postrm.chmod(0o755)
    process = knowing.processes[-1]
    if moment == "undoing":
        systemctl = knowing.bin / "systemctl"
        stopping = f"set -eu\ncase $2 in *before*) {stop};; esac"
        systemctl.write_text(systemctl.read_text().replace("set -eu", stopping))
    assert knowing.order(new, "1.1.0") == {"ok": {"installing": True}}
    if moment == "watching":
        wait_for(lambda: step(knowing) == "watching")
    else:
        wait_for(lambda: (knowing.folder / "there").exists())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if moment in ("unpacking", "configuring"):
        assert not knowing.run("dpkg-query", "-W", "-f=${db:Status-Abbrev}", "diemcau").startswith("ii")
    (knowing.folder / "again").touch()
    if at_boot:
        knowing.start(at_boot=True)
        ended(knowing)
    ending = knowing.ending()
    assert ending["state"] == "rolled_back", knowing.log
    assert (knowing.installed, knowing.running) == ("1.0.0", "1.0.0")
    assert not (knowing.state / "new.deb").exists()


def test_a_new_version_that_was_cut_while_it_was_watched_stays_where_it_is_well(knowing: Kit) -> None:
    new = knowing.package("1.1.0", active="activating")
    process = knowing.processes[-1]
    assert knowing.order(new, "1.1.0") == {"ok": {"installing": True}}
    wait_for(lambda: step(knowing) == "watching")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (knowing.root / "run/active").write_text("active\n")  # the machine has booted, and the agent is READY
    knowing.start(at_boot=True)
    ended(knowing)
    assert knowing.installed == "1.1.0"
    assert knowing.ending()["state"] == "installed"


def test_the_package_of_the_version_before_is_what_was_installed(knowing: Kit) -> None:
    (knowing.root / "usr/share/diemcau/only-old").unlink()  # by whoever
    new = knowing.package("1.1.0")
    knowing.order(new, "1.1.0")
    ended(knowing)
    before = str(knowing.state / "before.deb")
    assert knowing.run("dpkg-deb", "--field", before, "Version") == "1.0.0"
    listed = [line.split() for line in knowing.run("dpkg-deb", "--contents", before).split("\n")]
    assert {(mode, owner, path) for mode, owner, _, _, _, path, *_ in listed} >= {
        ("drwxr-xr-x", "root/root", "./usr/share/diemcau/"),
        ("-rw-r--r--", "root/root", "./usr/share/diemcau/version"),
        ("lrwxrwxrwx", "root/root", "./usr/share/diemcau/link"),
    }
    assert not any("only-old" in line[5] for line in listed)
    assert not any("agent.toml" in line[5] for line in listed)
    assert sha256(knowing.state / "before.deb") != sha256(new)
