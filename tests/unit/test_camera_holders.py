"""Who holds a device, read from a /proc made for the test; and from the real one, by a real process."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diemcau_drivers.backends.holders import file_holder, known, lock_holder, refuse_if_drawn
from diemcau_drivers.contract import Busy


def process(proc: Path, pid: int, comm: str | None, opened: list[Path]) -> None:
    descriptors = proc / str(pid) / "fd"
    descriptors.mkdir(parents=True)
    if comm is not None:
        (proc / str(pid) / "comm").write_text(f"{comm}\n")
    for number, path in enumerate(opened):
        (descriptors / str(number)).symlink_to(path)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = tmp_path / "dev/video0"
    path.parent.mkdir()
    path.touch()
    return path


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    proc = tmp_path / "proc"
    (proc / "sys").mkdir(parents=True)  # not every entry is a process
    return proc


def test_the_program_that_has_the_node_open_is_named(proc: Path, node: Path) -> None:
    process(proc, 40, "bash", [Path("/dev/null")])
    process(proc, 41, "chromium", [Path("/dev/null"), node])
    assert file_holder([node], proc, own_pid=40) == "chromium"


def test_nobody_and_ourselves_are_no_holder(proc: Path, node: Path) -> None:
    process(proc, 40, "diemcau", [node])
    assert file_holder([node], proc, own_pid=40) is None
    assert file_holder([], proc, own_pid=1) is None


def test_a_holder_without_a_name_is_other(proc: Path, node: Path) -> None:
    process(proc, 41, None, [node])
    assert file_holder([node], proc, own_pid=40) == "other"


def test_a_proc_that_cannot_be_read_shows_nobody(tmp_path: Path, node: Path) -> None:
    assert file_holder([node], tmp_path / "none") is None
    assert lock_holder([node], tmp_path / "none") is None


def test_a_real_process_is_found_in_the_real_proc(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    code = "import sys; held = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        assert file_holder([held]) == known(Path(f"/proc/{child.pid}/comm").read_text())
        assert child.stdin is not None
        child.stdin.close()
    assert file_holder([held]) is None


def lock_line(node: Path, pid: int, kind: str = "POSIX ") -> str:
    status = node.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return f"1: {kind} ADVISORY  WRITE {pid} {place} 0 EOF\n"


def test_the_program_that_has_the_node_locked_is_named(proc: Path, node: Path) -> None:
    process(proc, 41, "libcamera-app", [node])
    process(proc, 42, "wireplumber", [node])  # open, but not locked
    (proc / "locks").write_text("garbage\n\n2: POSIX  ADVISORY  READ x y z 0\n" + lock_line(node, 41))
    assert lock_holder([node], proc, own_pid=40) == "libcamera"
    assert lock_holder([node], proc, own_pid=41) is None


def test_a_lock_of_a_process_out_of_sight_is_others(proc: Path, node: Path) -> None:
    (proc / "locks").write_text(lock_line(node, 0))
    assert lock_holder([node, node.with_name("gone")], proc) == "other"


def test_a_process_that_waits_for_the_lock_does_not_hold_it(proc: Path, node: Path) -> None:
    (proc / "locks").write_text(lock_line(node, 41, "-> POSIX "))
    assert lock_holder([node], proc) is None


def test_a_real_lock_is_found_in_the_real_proc(tmp_path: Path) -> None:
    node = tmp_path / "media0"
    with node.open("w") as opened:
        assert lock_holder([node], own_pid=1) is None
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as libcamera's MediaDevice::lock
        assert lock_holder([node], own_pid=1) == known(Path("/proc/self/comm").read_text())
        assert lock_holder([node]) is None


def test_words_are_not_put_where_a_compositor_hides_them(proc: Path, tmp_path: Path) -> None:
    card = tmp_path / "dri/card0"
    card.parent.mkdir()
    card.touch()
    refuse_if_drawn(card.parent, proc)
    process(proc, 41, "labwc", [card])
    with pytest.raises(Busy) as refused:
        refuse_if_drawn(card.parent, proc)
    assert refused.value.in_use_by == "labwc"


def test_a_program_named_after_a_person_is_other(proc: Path, node: Path) -> None:
    process(proc, 41, "ghi-hinh-lan-anh", [node])
    assert file_holder([node], proc, own_pid=40) == "other"
