"""A kit's first boot, on a copy of this machine's own Debian: what it leaves, and the plug pulled in it.

Everything is real but systemd (which is not running in there) and the package (which has nothing in it)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import boot_card
from boot_card import TOKEN, Prepare

pytestmark = [pytest.mark.mounts, pytest.mark.fat]
# A root of its own over this machine's, kept in $WORK between boots as a card keeps it.
BOOT = """
root="$WORK/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$WORK/card/upper,workdir=$WORK/card/work" "$root"
mkdir -p "$root/boot/firmware" && mount --bind "$WORK/bootfs" "$root/boot/firmware"
mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/run" && mount --rbind /dev "$root/dev"
mount --bind "$WORK/bin" "$root/mnt"
exec chroot "$root" env -i CUT="$CUT" LC_ALL=C.UTF-8 \\
    PATH=/mnt:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "$RUN"
"""
# Counts what the first boot puts onto the card, and pulls the plug after so many: no process sees it coming.
SYNC = """#!/bin/sh
n=$(($(cat /mnt/count) + 1)); echo $n >/mnt/count
/bin/sync "$@" || exit
if [ "$n" = "$CUT" ]; then kill -KILL -1; fi
"""
POSTINST = "#!/bin/sh\ngetent group diemcau >/dev/null || groupadd --system diemcau\n"
FSTAB = """proc /proc proc defaults 0 0
PARTUUID=4d8fd085-01 /boot/firmware vfat defaults 0 2
PARTUUID=4d8fd085-02 / ext4 defaults,noatime 0 1
/var/swap none swap sw 0 0
"""


class Kit:
    """A machine with this card in it."""

    def __init__(self, work: Path, script: str = POSTINST) -> None:
        self.work = work
        self.bootfs = boot_card.boot_folder(work / "bootfs")
        self.card = work / "card/upper"
        self.package = boot_card.deb(work, script=script, architecture="all")
        for name in (
            "root",
            "bin",
            "card/work",
            "card/upper/etc/ssh/sshd_config.d",
            "card/upper/etc/diemcau",
        ):
            (work / name).mkdir(parents=True)
        (self.card / "etc/fstab").write_text(FSTAB)
        (work / "bin/sync").write_text(SYNC)
        (work / "bin/sync").chmod(0o755)

    def boot(self, cut: int = 0) -> tuple[int, str]:
        """What user-data starts at each boot until cloud-init is off; ``cut``: the plug, at that write."""
        user_data = (self.bootfs / "user-data").read_text()
        found = re.search(r'"([0-9a-f]{64})"', user_data)
        assert found is not None
        return self.shell(f"sh /boot/firmware/diemcau/first-boot.sh {found[1]}", cut)

    def shell(self, command: str, cut: int = 0) -> tuple[int, str]:
        (self.work / "bin/count").write_text("0")
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--net", "sh", "-euc", BOOT],
            env={**os.environ, "WORK": str(self.work), "CUT": str(cut), "RUN": command},
            capture_output=True,
            text=True,
            timeout=18,
        )
        return done.returncode, done.stdout + done.stderr

    @property
    def writes(self) -> int:
        return int((self.work / "bin/count").read_text())

    @property
    def is_done(self) -> bool:
        return (self.card / "etc/cloud/cloud-init.disabled").exists()

    def text(self, name: str) -> str:
        return (self.card / name).read_text()


@pytest.fixture
def prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    return Prepare(tmp_path, capsys)


@pytest.fixture
def kit(tmp_path: Path, prepare: Prepare) -> Kit:
    made = Kit(tmp_path / "kit-1")
    prepare.done(made.bootfs, "--package", made.package)
    return made


@pytest.fixture(autouse=True)
def work(tmp_path: Path) -> None:
    """The kit's folder has to be there before it is one."""
    (tmp_path / "kit-1").mkdir()


def test_the_first_boot_leaves_a_kit_that_needs_no_card_reader_any_more(kit: Kit) -> None:
    code, said = kit.boot()
    assert code == 0, said
    assert "đã cài đặt xong" in said
    assert "installed; restarting" in said
    assert kit.is_done
    assert kit.text("etc/diemcau/token") == TOKEN + "\n"
    modes = {
        name: oct((kit.card / "etc/diemcau" / name).stat().st_mode & 0o777)
        for name in ("agent.toml", "token")
    }
    assert modes == {"agent.toml": "0o640", "token": "0o600"}
    code, group = kit.shell(
        "stat -c %U:%G /etc/diemcau/agent.toml; dpkg-query -W -f '${db:Status-Status}' diemcau"
    )
    assert (code, group) == (0, "root:diemcau\ninstalled")
    assert "Installed: diemcau\t1.0" in (kit.bootfs / "diemcau/result.txt").read_text()
    # Nobody learns from the FAT partition what only the kit may know.
    left = "".join(path.read_text(errors="replace") for path in kit.bootfs.rglob("*") if path.is_file())
    assert TOKEN not in left
    assert "addresses" not in (kit.bootfs / "network-config").read_text()


def test_the_root_is_spared_and_the_watchdog_is_set(kit: Kit) -> None:
    code, said = kit.boot()
    assert code == 0, said
    rows = {line.split()[1]: line.split() for line in kit.text("etc/fstab").splitlines()}
    assert rows["/"][3:] == ["defaults,noatime,commit=60", "0", "1"]
    assert rows["/boot/firmware"][3:] == ["defaults,noatime,ro", "0", "2"]
    assert {at for at, row in rows.items() if row[2] == "tmpfs"} == {"/tmp", "/var/tmp", "/var/log"}
    assert "swap" not in kit.text("etc/fstab")
    code, said = kit.shell(
        "systemctl is-enabled diemcau-root.service; findmnt --verify --tab-file /etc/fstab"
    )
    assert said.startswith("enabled\n")
    assert "0 parse errors" in said
    assert "RuntimeWatchdogSec=14" in kit.text("etc/systemd/system.conf.d/50-diemcau.conf")
    assert "Storage=volatile" in kit.text("etc/systemd/journald.conf.d/50-diemcau.conf")
    assert os.access(kit.card / "usr/local/sbin/diemcau-root", os.X_OK)


@pytest.mark.parametrize("part", range(6))
def test_a_plug_pulled_at_any_write_of_the_first_boot_costs_nothing_but_another_boot(
    kit: Kit, part: int
) -> None:
    cuts = iter(range(1 + part, 100, 6))
    pulled = 0
    while not kit.is_done:
        code, said = kit.boot(cut := next(cuts))
        assert code == 137 if kit.writes == cut else (code, kit.is_done) == (0, True), said
        pulled += code == 137
    assert pulled >= 2
    assert kit.text("etc/diemcau/token") == TOKEN + "\n"
    assert kit.text("etc/fstab").count("/var/log") == 1
    code, state = kit.shell("dpkg-query -W -f '${db:Status-Status}' diemcau; dpkg --audit")
    assert (code, state) == (0, "installed")


def test_a_card_that_was_changed_installs_nothing_and_says_so(kit: Kit) -> None:
    (kit.bootfs / "diemcau/kit/agent.toml").write_text('point = "xp-0418"\n')
    code, said = kit.boot()
    assert code == 1
    assert "nội dung thẻ bị hỏng" in said
    assert "write it anew" in (kit.bootfs / "diemcau/problem.txt").read_text()
    assert not (kit.card / "etc/diemcau/agent.toml").exists()
    assert not kit.is_done


def test_a_package_that_cannot_be_installed_is_told_on_the_card_and_tried_again(
    tmp_path: Path, prepare: Prepare
) -> None:
    kit = Kit(
        tmp_path / "kit-1",
        script="#!/bin/sh\ntest -e /etc/mended || { echo no such thing; exit 1; }\n" + POSTINST[10:],
    )
    prepare.done(kit.bootfs, "--package", kit.package)
    code, _ = kit.boot()
    assert code == 1
    assert "không cài được gói" in (kit.bootfs / "diemcau/problem.txt").read_text()
    assert "no such thing" in (kit.bootfs / "diemcau/dpkg.txt").read_text()
    assert not kit.is_done
    (kit.card / "etc/mended").touch()
    code, said = kit.boot()
    assert code == 0, said
    assert not (kit.bootfs / "diemcau/problem.txt").exists()


def test_what_the_image_has_in_a_later_version_is_left_as_it_is(
    kit: Kit, tmp_path: Path, prepare: Prepare
) -> None:
    code, said = kit.boot()
    assert code == 0, said
    older = boot_card.deb(tmp_path, "diemcau-other", "all", "1.0")
    newer = boot_card.deb(tmp_path, "diemcau-other", "all", "2.0")
    shutil.copy(newer, kit.card / "newer.deb")
    assert kit.shell("dpkg --install /newer.deb")[0] == 0
    (kit.bootfs / "diemcau/result.txt").unlink()
    prepare.done(kit.bootfs, "--package", kit.package, "--package", older)
    code, said = kit.boot()
    assert code == 0, said
    assert kit.shell("dpkg-query -W -f '${Version}' diemcau-other") == (0, "2.0")


READ_ONLY = """set -eu
diemcau-root ro
diemcau-root ro
! touch /usr/written /etc/written /root/written 2>/dev/null
touch /var/lib/written /etc/diemcau/written
"""


def test_a_read_only_root_leaves_var_and_the_kits_settings_writable(kit: Kit) -> None:
    code, said = kit.boot()
    assert code == 0, said
    assert kit.shell(READ_ONLY) == (0, "")
    assert kit.shell(f"{READ_ONLY}diemcau-root rw; touch /usr/written") == (0, "")


def test_an_installation_opens_a_read_only_root_and_closes_it_behind_itself(kit: Kit, tmp_path: Path) -> None:
    code, said = kit.boot()
    assert code == 0, said
    shutil.copy(
        boot_card.deb(tmp_path, architecture="all", version="2.0", script=POSTINST), kit.card / "newer.deb"
    )
    upgrade = "dpkg --install /newer.deb >/var/lib/upgrade.log\n! touch /usr/after 2>/dev/null\n"
    code, said = kit.shell(
        f"{READ_ONLY}{upgrade}dpkg-query -W -f '${{Version}}' diemcau; cat /usr/share/diemcau"
    )
    assert (code, said) == (0, "2.02.0\n")
    # One that a technician has opened by hand stays open.
    code, said = kit.shell(
        "set -eu; diemcau-root ro; diemcau-root rw; dpkg --install /newer.deb >/dev/null; touch /usr/x"
    )
    assert (code, said) == (0, "")


def test_the_root_can_be_closed_only_where_nobody_writes_to_it_and_that_fails_no_installation(
    kit: Kit,
) -> None:
    code, said = kit.boot()
    assert code == 0, said
    code, said = kit.shell(
        "diemcau-root ro; diemcau-root hold me; exec 9>/usr/open; diemcau-root release me; echo $?"
    )
    assert code == 0
    assert "the root stays writable until the next boot" in said
    assert said.startswith("0\n")
    for wrong in ("on", "hold", ""):
        code, said = kit.shell(f"diemcau-root {wrong}")
        assert (code, f"got '{wrong}', expected ro, rw, hold WHO or release WHO" in said) == (2, True)


def test_who_has_opened_the_root_closes_it_and_nobody_before(kit: Kit, tmp_path: Path) -> None:
    """As for an update that an operator has sent: systemd opens it around a dpkg that may not mount."""
    code, said = kit.boot()
    assert code == 0, said
    shutil.copy(
        boot_card.deb(tmp_path, architecture="all", version="2.0", script=POSTINST), kit.card / "newer.deb"
    )
    code, said = kit.shell(
        f"""{READ_ONLY}diemcau-root hold update
setpriv --bounding-set -sys_admin dpkg --install /newer.deb >/var/lib/upgrade.log
touch /usr/still-open
diemcau-root release update
! touch /usr/after 2>/dev/null
dpkg-query -W -f '${{Version}}' diemcau"""
    )
    assert (code, said) == (0, "2.0")
