"""The daemon's user opens its devices and nothing else, by udev's modes and the unit's cgroup; a device's
process opens its own and no other's, by Landlock on Debian's kernel."""

from __future__ import annotations

import json
import shlex
from fnmatch import fnmatch

import pytest

from centre import POINT
from room import AGENT, PYTHON, Room

pytestmark = [pytest.mark.hil, pytest.mark.timeout(300)]

OURS = ("video*", "media*", "v4l-subdev*", "snd/*", "gpiochip*", "cec*", "dri/*", "fb*", "dma_heap/*")
ANYBODYS = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts/*")
"""DevicePolicy=closed leaves them to everybody (systemd.resource-control(5))."""
# Into the agent's own control group, with the user, the groups and the rights that its unit gives.
OPEN_ALL = """
import grp, json, os, pwd, stat, sys
open("/sys/fs/cgroup/system.slice/diemcau-agent.service/cgroup.procs", "w").write(str(os.getpid()))
user = pwd.getpwnam("diemcau")
os.setgroups(os.getgrouplist("diemcau", user.pw_gid)); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
opened = []
for folder, _, names in os.walk("/dev"):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.islink(path) or not (stat.S_ISCHR(mode := os.stat(path).st_mode) or stat.S_ISBLK(mode)):
            continue
        for how in (os.O_RDWR, os.O_RDONLY):
            try:
                os.close(os.open(path, how | os.O_NONBLOCK))
            except OSError:
                continue
            opened.append(path.removeprefix("/dev/"))
            break
print(json.dumps(opened))
"""
TRESPASS = """
import sys
from diemcau_drivers.confinement import confine
print("abi", confine(sys.argv[1], {}).abi)
for path in sys.argv[2:]:
    try:
        open(path, "rb", buffering=0).close()
        print("opened", path)
    except PermissionError:
        print("refused", path)
"""


def test_the_daemons_user_opens_its_devices_and_nothing_else(room: Room) -> None:
    room.online()
    opened: list[str] = json.loads(room.kit.run("python3", "-c", OPEN_ALL))
    foreign = [name for name in opened if not any(fnmatch(name, one) for one in (*OURS, *ANYBODYS))]
    assert foreign == []
    for kind in ("video*", "media*", "snd/pcm*", "gpiochip*", "cec*", "dma_heap/*", "dri/card*", "fb*"):
        assert any(fnmatch(name, kind) for name in opened), (kind, opened)


@pytest.mark.parametrize(
    ("process", "own", "others"),
    [
        ("camera", "/dev/media0", ("/dev/snd/controlC0", "/dev/gpiochip0", "/dev/cec1")),
        ("audio", "/dev/snd/controlC0", ("/dev/video0", "/dev/gpiochip0")),
        ("panel", "/dev/gpiochip0", ("/dev/video0", "/dev/snd/controlC0")),
        ("display", "/dev/cec1", ("/dev/video0", "/dev/snd/controlC0", "/dev/gpiochip0")),
    ],
)
def test_a_devices_process_opens_its_own_device_and_no_others(
    room: Room, process: str, own: str, others: tuple[str, ...]
) -> None:
    secrets = ("/var/lib/diemcau/identity/identity.pem", "/etc/diemcau/agent.toml")
    told = room.kit.run(
        "setpriv", "--reuid=diemcau", "--regid=diemcau", "--init-groups", "--no-new-privs",
        *PYTHON, "-P", "-c", TRESPASS, process, own, *others, *secrets,
    ).splitlines()  # fmt: skip
    assert int(told[0].split()[1]) >= 6, told  # Linux 6.12
    assert told[1] == f"opened {own}", told
    assert told[2:] == [f"refused {path}" for path in (*others, *secrets)], told


def test_every_device_process_says_that_it_is_confined(room: Room) -> None:
    room.until_code("panel", None, 240)
    host = room.witness.health[POINT]["host"]["readings"]
    assert host["processes"] == host["processes_confined"] > 0, host
    exposure = room.kit.run("systemd-analyze", "security", "--no-pager", AGENT, check=False)
    assert "Overall exposure level" in exposure


def test_a_device_whose_driver_comes_after_the_agent_is_open_to_it(room: Room) -> None:
    """systemd asks /proc/devices what kinds there are when it starts the unit, and never again."""
    room.online()
    room.kit.shell("systemctl stop diemcau-agent kit-television && modprobe -r vivid && modprobe -r cec")
    kinds = "sed -n 's/^ *[0-9]* \\(cec\\)$/\\1/p' /proc/devices"
    try:
        assert room.kit.shell(kinds) == ""
        room.kit.run("systemctl", "start", "diemcau-agent")
        assert room.kit.shell(kinds) == "cec\n"
    finally:
        room.kit.run("systemctl", "start", "diemcau-agent")
        room.kit.run("kit-vivid")
    opened: list[str] = json.loads(room.kit.run("python3", "-c", OPEN_ALL))
    assert any(fnmatch(name, "cec*") for name in opened), opened
    room.online()


def test_a_panels_brightness_is_given_to_the_daemons_group(room: Room) -> None:
    """The kernel plays no panel: its rule is tried on a device that has another file of the kind."""
    rule = room.kit.shell("grep backlight /usr/lib/udev/rules.d/60-diemcau.rules")
    played = rule.replace('"backlight"', '"net", KERNEL=="lo"').replace("brightness", "ifalias")
    place = "/run/udev/rules.d/99-played.rules"
    room.kit.shell(f"mkdir -p /run/udev/rules.d && echo {shlex.quote(played)} >{place}")
    room.kit.run("udevadm", "control", "--reload")
    for action in ("add", "change"):
        room.kit.shell("chown root:root /sys/class/net/lo/ifalias && chmod 644 /sys/class/net/lo/ifalias")
        room.kit.run("udevadm", "trigger", "--settle", f"--action={action}", "/sys/class/net/lo")
        assert room.kit.run("stat", "-c", "%G %a", "/sys/class/net/lo/ifalias").split() == ["video", "664"]
    room.kit.run("rm", place)
    room.kit.run("udevadm", "control", "--reload")
