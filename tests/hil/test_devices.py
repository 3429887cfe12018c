"""The room's devices through the agent, the libraries and the kernel's real interfaces."""

from __future__ import annotations

import pytest

from centre import POINT
from room import AGENT, PYTHON, Room

pytestmark = [pytest.mark.hil, pytest.mark.timeout(600)]
quick = pytest.mark.quick

TEST_S = 120.0
LOOK_S = 240.0
"""Within this every device was looked at once, and what was found confirmed."""
VIVID = "/dev/v4l/by-id/kit-vivid-video-index0"
PULL = f"""
output=$(grep -l -- -vid-out /sys/class/video4linux/*/name)
output=${{output%/name}}
exec 3</dev/${{output##*/}}
v4l2-ctl -d {VIVID} -c disconnect=1
echo pulled >/run/kit-hand
exec sleep infinity
"""
CHIRP = """
import sys, numpy as np
from diemcau_drivers.backends import load
from diemcau_drivers.measure.signals import Sweep, after_silence
from diemcau_drivers.measure.sound import hear
sweep, lead_s = Sweep(), 0.3
backend = load("audio", sys.argv[1])({"microphone": "RoomMic", "speaker": "RoomSpeaker"})
heard = max((hear(backend.play_and_record(after_silence(lead_s, sweep.samples), 2.5), sweep, lead_s)
             for _ in range(4)), key=lambda heard: heard.correlation)
print(heard.found, round(heard.correlation, 3), heard.delay_ms)
"""
PICTURES = """
from diemcau_drivers.backends import load
camera = load("camera", "picamera2")({})
print(dict(camera.identity()))
camera.open()
frames, fps = camera.grab(2)
print(len(frames), frames[0].shape, float(frames[0].mean()), round(fps, 2))
data, width, height = camera.jpeg(80, 640)
print(width, height, data[:2].hex())
camera.close()
"""


def as_daemon(program: str, *arguments: str) -> tuple[str, ...]:
    """A Python program as the daemon's user, with its groups and no right of root's."""
    return ("setpriv", "--reuid=diemcau", "--regid=diemcau", "--init-groups", "--no-new-privs",
            "env", "-C", "/tmp", "HOME=/tmp", "TMPDIR=/tmp", *PYTHON, "-c", program, *arguments)  # fmt: skip


@quick
def test_a_press_of_the_button_starts_a_self_test_and_the_lights_show_it(room: Room) -> None:
    room.until_code("panel", None, LOOK_S)

    def breathes() -> bool:
        shares = room.lights()
        return 0.1 < shares["green"] < 1.0 and shares["red"] == shares["blue"] == 0.0

    before = room.press()
    # The first look may still see what was shown before the press.
    room.kit.until(breathes, 6, "breathing green, and nothing but green")
    assert room.selftest(before, TEST_S)["data"]["trigger"] == "button"


@quick
def test_the_lights_agree_with_what_the_room_says_of_itself(room: Room) -> None:
    room.until_code("panel", None, LOOK_S)

    def agree() -> bool:
        seen = {colour for colour, share in room.lights().items() if share > 0}
        expected = {"ready": {"green"}, "degraded": {"red", "green"}, "not_ready": {"red"}}
        return seen == expected.get(room.witness.health[POINT]["readiness"])

    room.kit.until(agree, TEST_S, "lights as readiness")


@quick
@pytest.mark.parametrize("library", ["sounddevice", "pyaudio"])
def test_the_chirp_goes_out_of_one_card_and_is_found_in_the_other(room: Room, library: str) -> None:
    room.kit.run("systemctl", "stop", AGENT)
    try:
        told = room.kit.run(*as_daemon(CHIRP, library), timeout_s=180).splitlines()[-1].split()
    finally:
        room.kit.run("systemctl", "start", AGENT, timeout_s=120)
    found, correlation, delay_ms = told
    assert found == "True", told
    assert float(correlation) > 0.9, told
    assert 0 < float(delay_ms) < 2000, told  # the air has buffers of its own


@quick
def test_a_usb_cameras_way_gives_pictures_that_live(room: Room) -> None:
    """vivid, through V4L2."""
    look = room.until_code("camera", None, LOOK_S)
    assert look["readings"]["fps"] > 1
    assert look["readings"]["motion_db"] > -60


@quick
def test_picamera2_takes_pictures_through_libcamera(room: Room) -> None:
    """vimc: a sensor, a scaler and a capture node below Debian's libcamera; not the Pi's ISP."""
    told = room.kit.run(*as_daemon(PICTURES), timeout_s=240).splitlines()
    assert "vimc" in told[-3], told
    count, *_ = told[-2].split()
    assert count == "2"
    width, height, begins = told[-1].split()
    assert int(width) <= 640
    assert int(height) > 0
    assert begins == "ffd8"


@quick
def test_the_television_goes_to_standby_and_comes_back_by_cec(room: Room) -> None:
    room.until_code("display", None, LOOK_S)
    replies = room.centre.command("display", "power=false", wait_s=90)
    assert replies[-1]["state"] == "done", replies
    assert '"power":false' in replies[-1]["rest"], replies
    room.until_code("display", "display_standby", LOOK_S)
    replies = room.centre.command("display", "power=true", wait_s=90)
    assert '"power":true' in replies[-1]["rest"], replies
    room.until_code("display", None, LOOK_S)


@quick
def test_an_unplugged_television_is_absent_and_comes_back(room: Room) -> None:
    room.until_code("display", None, LOOK_S)
    socket = "/sys/class/drm/card*-HDMI-A-1/status"
    room.kit.shell(f"v4l2-ctl -d {VIVID} -c hdmi_000_0_is_connected_to=1; echo off | tee {socket}")
    try:
        room.until_code("display", "display_absent", LOOK_S)
    finally:
        room.kit.shell(f"v4l2-ctl -d {VIVID} -c hdmi_000_0_is_connected_to=2; echo on | tee {socket}")
    room.until_code("display", None, LOOK_S)


def test_a_camera_that_was_pulled_out_is_absent_and_comes_back(room: Room) -> None:
    """vivid's own control: from then on each call of its nodes fails as a pulled out device's does, until the
    last who has one open lets go. The nodes stay, so it is a look that finds it: at rest every five minutes,
    here by the self-test of somebody who presses the button."""
    room.until_code("camera", None, LOOK_S)
    room.kit.run(
        "systemd-run", "--quiet", "--collect", "--expand-environment=no", "--unit=kit-hand",
        "sh", "-euc", PULL,
    )  # fmt: skip
    try:
        room.kit.until(lambda: room.kit.run("cat", "/run/kit-hand") == "pulled\n", 60, "it is pulled out")
        room.press()
        room.until_code("camera", "camera_absent", LOOK_S)
    finally:
        room.kit.shell("systemctl stop kit-hand; rm -f /run/kit-hand")
    room.until_code("camera", None, LOOK_S)
