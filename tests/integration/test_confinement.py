"""What a device's process can do once its library is in somebody else's hands: nothing but its own trade.

Every try is made by a real process of that kind, from a backend that is loaded as any other. /dev is a
directory of the test's own in a mount namespace, with real device nodes in it (each a second /dev/null).
Sockets and other processes: test_confined_sockets.py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from device_process import DeviceProcess
from diemcau_agent.clock import SystemClock
from diemcau_agent.worker import Worker
from diemcau_drivers import landlock
from diemcau_drivers.backends import SHIPPED
from diemcau_drivers.confinement import HARMLESS
from diemcau_drivers.contract import PROCESSES, Broken
from diemcau_sim.server import serving
from diemcau_sim.world import World
from trespasser import NAME, Attempts, install, outcomes

pytestmark = pytest.mark.mounts
NODES = {
    "camera": ("video0", "media0", "v4l-subdev0", "dma_heap/linux,cma", "dri/renderD128"),
    "audio": ("snd/pcmC0D0c", "snd/controlC0"),
    "display": ("cec0", "fb0", "dri/card0", "i2c-1"),
    "panel": ("gpiochip0",),
    "presence": (),
    "host": (),
    None: ("ttyUSB0", "mem"),
}
"""process -> the nodes that are its own; None: nobody's."""
NULL = os.makedev(1, 3)


def plug(dev: Path, node: str) -> None:
    place = dev / node
    place.parent.mkdir(exist_ok=True)
    os.mknod(place, 0o20666, NULL)


@pytest.fixture(scope="module", autouse=True)
def abi() -> int:
    """Where the kernel has none there is nothing to prove, and that is said, not skipped."""
    abi = landlock.abi()
    assert abi > 0, "this kernel has no Landlock (or lsm= leaves it out): its proofs cannot be run here"
    return abi


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    dev = tmp_path / "dev"
    dev.mkdir()
    for nodes in (*NODES.values(), HARMLESS):
        for node in nodes:
            plug(dev, node)
    return dev


@pytest.fixture
def inside(dev: Path) -> tuple[str, ...]:
    """In front of a command: run it where ``dev`` is /dev, without root's capabilities."""
    script = f'mount --bind {shlex.quote(str(dev))} /dev && exec setpriv --bounding-set=-all -- "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    site = tmp_path / "site"
    site.mkdir()
    return {"PYTHONPATH": install(site)}


@pytest.fixture
def attempts(tmp_path: Path, env: dict[str, str], inside: tuple[str, ...]) -> Attempts:
    return Attempts(env, tmp_path / "run", inside)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_opens_the_device_nodes_of_its_own_kind_and_no_others(
    attempts: Attempts, process: str
) -> None:
    nodes = [(owner, node) for owner, names in NODES.items() for node in names]
    for how in ("read", "write"):
        told = attempts.of(process, *((how, f"/dev/{node}") for _, node in nodes))
        expected = ["ok" if owner == process else "EACCES" for owner, _ in nodes]
        assert dict(zip(nodes, told, strict=True)) == dict(zip(nodes, expected, strict=True))


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_reaches_no_key_no_spool_and_no_settings_and_writes_in_its_own_directory_only(
    attempts: Attempts, tmp_path: Path, process: str
) -> None:
    for name in ("state/identity/key.pem", "state/spool.sqlite3", "run/control.sock", "run/other/camera-off"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    own, run = attempts.own_dir(process), tmp_path / "run"
    forbidden = (
        ("read", tmp_path / "state/identity/key.pem"),
        ("read", tmp_path / "state/spool.sqlite3"),
        ("list", tmp_path / "state"),
        ("write", tmp_path / "state/spool.sqlite3"),
        ("read", "/etc/shadow"),
        ("list", "/etc"),
        ("list", "/root"),
        ("remove", run / "control.sock"),
        ("read", run / "other/camera-off"),
        ("remove", run / "other/camera-off"),
        ("create", run / "mark"),
        ("create", run / "other/mark"),
        ("create", tmp_path / "mark"),
        ("create", "/tmp/mark-of-a-trespasser"),
        ("create", "/usr/local/mark"),
        ("write", "/proc/sys/kernel/hostname"),
        ("link", own / "away"),
    )
    allowed = (("create", own / "mark"), ("rename", own / "mark"), ("remove", own / "mark-moved"))
    told = attempts.of(process, *forbidden, *allowed)
    assert dict(zip((*forbidden, *allowed), told, strict=True)) == {
        **dict.fromkeys(forbidden, "EACCES"),
        **dict.fromkeys(allowed, "ok"),
    }
    assert own.stat().st_mode & 0o777 == 0o700


def test_what_a_process_starts_is_shut_in_with_it(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "key.pem").touch()
    ran, read = attempts.of("camera", ("run", "true"), ("run", f"cat {tmp_path / 'key.pem'}"))
    assert ran == "ok"
    assert "Permission denied" in read


def test_a_program_that_is_no_package_of_the_system_is_not_run(attempts: Attempts) -> None:
    own = attempts.own_dir("camera")
    own.mkdir(parents=True)
    (own / "program").write_text("#!/bin/sh\n")
    (own / "program").chmod(0o755)
    assert attempts.of("camera", ("run", own / "program")) == ["EACCES"]


def test_every_librarys_import_and_the_screens_font_are_within_reach(attempts: Attempts) -> None:
    wanted = {
        "camera": ("numpy", "PIL.Image", "linuxpy.video.device", "fake_picamera2", "diemcau_sim.backends"),
        "audio": ("numpy", "sounddevice", "pyaudio", "diemcau_drivers.measure.sound"),
        "display": ("PIL.ImageDraw", "diemcau_drivers.backends.cards"),
        "panel": ("gpiozero", "gpiozero.pins.mock"),
    }
    for process, modules in wanted.items():
        told = attempts.of(process, *(("import", module) for module in modules))
        assert dict(zip(modules, told, strict=True)) == dict.fromkeys(modules, "ok")
    font = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
    assert attempts.of("display", ("font", font)) == ["ok"]


def test_a_backend_that_drives_something_else_is_given_what_the_settings_name(attempts: Attempts) -> None:
    tries = (("write", "/dev/ttyUSB0"), ("write", "/dev/mem"))
    assert attempts.of("panel", *tries, devices="ttyUSB*") == ["ok", "EACCES"]


ROWS = [
    (process, name)
    for process, names in SHIPPED.items()
    for name in (*names, *(("doubled",) if process in ("camera", "panel") else ()))
    if name != "picamera2"  # is a Pi's own: its double stands for it
]


@pytest.mark.parametrize(("process", "backend"), ROWS)
def test_each_shipped_backend_answers_from_within_and_its_process_lives_on(
    inside: tuple[str, ...], env: dict[str, str], tmp_path: Path, abi: int, process: str, backend: str
) -> None:
    """Its nodes are no real devices here: what it says of them is an error of the contract, and no crash."""
    with DeviceProcess(process, backend, {"runtime_dir": str(tmp_path / process)}, env, inside) as running:
        assert (running.ready["landlock"], running.ready["seccomp"]) == (abi, True)
        first, second = running.answer("probe"), running.answer("probe")
        assert first.keys() == second.keys()
        if process == "presence":
            assert first["ok"]["panel"] is True, "it sees the GPIO chip, which it cannot open"
        if backend == "doubled":
            assert first["ok"]["error"] is None
            assert first["ok"]["readings"]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_simulated_room_is_within_reach(tmp_path: Path, process: str) -> None:
    with serving(World(), tmp_path / "world.sock") as server:
        options = {"socket": str(server.path), "runtime_dir": str(tmp_path / "run" / process)}
        with DeviceProcess(process, "sim", options) as running:
            look = running.ask("probe")
            assert "error" not in look or look["error"] is None


@pytest.mark.parametrize("booted", [False, True])
def test_what_the_room_switched_off_stays_off_in_the_next_process(tmp_path: Path, booted: bool) -> None:
    places = {"runtime_dir": str(tmp_path / "run/camera"), "state_dir": str(tmp_path / "state/camera")}
    with serving(World(), tmp_path / "world.sock") as server:
        options = {"socket": str(server.path), **places}
        with DeviceProcess("camera", "sim", options) as running:
            running.ask("set", power=False)
        if booted:
            shutil.rmtree(tmp_path / "run/camera")
        with DeviceProcess("camera", "sim", options) as running:
            assert running.ask("state")["power"] is False
            assert running.ask("set", power=True)["power"] is True


def test_a_process_leaves_at_the_question_after_a_device_came_back_and_the_next_one_opens_it(
    attempts: Attempts, dev: Path
) -> None:
    with attempts.spawned("camera", ("read", "/dev/video0")) as first:
        assert outcomes(first) == ["ok"]
        (dev / "video0").unlink()
        assert outcomes(first) == ["ENOENT"], "what is gone gives no reason to leave"
        plug(dev, "video0")
        with pytest.raises(EOFError):
            first.answer("probe")
        assert first.ended() == 0, "in good order, as one that was idle"
    assert attempts.of("camera", ("read", "/dev/video0")) == ["ok"]


def test_a_process_does_not_leave_for_a_device_that_is_anothers(attempts: Attempts, dev: Path) -> None:
    with attempts.spawned("camera", ("read", "/dev/video0")) as running:
        plug(dev, "snd/pcmC1D0p")
        assert outcomes(running) == ["ok"]
        assert outcomes(running) == ["ok"]


async def test_the_daemons_question_finds_the_device_that_came_back(
    env: dict[str, str],
    dev: Path,
    inside: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, Any]] = []
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    worker = Worker(
        "camera",
        NAME,
        {"tries": [["read", "/dev/video0"]], "runtime_dir": str(tmp_path / "run/camera")},
        clock=SystemClock(),
        deadline_s=10.0,
        listener=lambda event, data: told.append((event, data)),
        command=(*inside, sys.executable, "-P", "-m", "diemcau_drivers"),
    )
    try:
        for _ in range(2):
            with pytest.raises(Broken, match='"ok"'):
                await worker.ask("probe")
            (dev / "video0").unlink()
            plug(dev, "video0")
    finally:
        await worker.close()
    assert [event for event, _ in told] == ["spawned", "spawned"]
    assert all(data["confined"] for _, data in told)
