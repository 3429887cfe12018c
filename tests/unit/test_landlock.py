"""Landlock on this kernel, as each of its versions would have it; and kernels that have none, or fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diemcau_drivers import landlock
from diemcau_drivers.landlock import Access

SEAL = """
import errno, json, socket, sys
from pathlib import Path
from diemcau_drivers import landlock

version, allowed, port = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

def truncate():
    (allowed / "readable").write_text("")

landlock.seal([(allowed, landlock.READ | landlock.Access.WRITE_FILE), (allowed / "missing", landlock.READ),
               (allowed / "one", landlock.KEEP)], version)
print(json.dumps({
    "allowed": outcome((allowed / "readable").read_bytes),
    "outside": outcome((allowed.parent / "secret").read_bytes),
    "created": outcome((allowed / "new").touch),
    "file": outcome((allowed / "one").read_bytes),
    "truncated": outcome(truncate),
    "tcp": outcome(lambda: socket.socket().connect(("127.0.0.1", port))),
}))
"""
"""A file in a rule with rights of directories; a path that is not there; both are no error."""
WORKER = """
import sys
from diemcau_drivers import landlock
landlock.{call} = 9999
from diemcau_drivers.__main__ import main
sys.exit(main())
"""
"""A device's process on a kernel that does not know one of the calls."""


def worker(call: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WORKER.format(call=call), "presence"],
        input=json.dumps({"backend": "sysfs", "options": options}) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def abi() -> int:
    abi = landlock.abi()
    assert abi > 0, "this kernel has no Landlock: its proofs cannot be run here"
    return abi


@pytest.mark.parametrize("version", range(1, 8))
def test_each_version_refuses_what_it_knows_of(tmp_path: Path, abi: int, version: int) -> None:
    assert abi >= version, f"this kernel has ABI {abi} only"
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    for name in ("allowed/readable", "allowed/one", "secret"):
        (tmp_path / name).touch()
    done = subprocess.run(
        [sys.executable, "-c", SEAL, str(version), str(allowed), "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told == {
        "allowed": "ok",
        "outside": "EACCES",
        "created": "EACCES",
        "file": "ok",
        "truncated": "EACCES" if version >= 3 else "ok",
        "tcp": "EACCES" if version >= 4 else "ECONNREFUSED",
    }


def test_rights_of_a_newer_version_are_not_asked_of_an_older_one() -> None:
    """The kernel refuses what it does not know (EINVAL), so a right too many would shut nothing in."""
    known = {version: landlock._known(version) for version in (1, 2, 3, 4, 5, 7, 99)}
    assert known[1] == Access(0x1FFF)
    assert known[2] ^ known[1] == Access.REFER
    assert known[3] ^ known[2] == Access.TRUNCATE
    assert known[4] == known[3]
    assert known[5] ^ known[4] == Access.IOCTL_DEV
    assert known[99] == known[7] == known[5]


def test_a_kernel_without_landlock_is_told_and_the_process_goes_on() -> None:
    done = worker("_CREATE_RULESET")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ready"]["landlock"] == 0


@pytest.mark.parametrize("call", ["_RESTRICT_SELF", "_ADD_RULE"])
def test_a_kernel_that_has_landlock_and_refuses_ends_the_process_before_it_imports_anything(
    call: str,
) -> None:
    done = worker(call)
    assert (done.returncode, done.stdout) == (3, "")
    assert "presence: cannot be shut in: Landlock (ABI" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "options", [{"devices": "/etc/*"}, {"runtime_dir": "/proc/version/own"}], ids=["devices", "runtime_dir"]
)
def test_options_with_which_it_cannot_be_shut_in_are_told(options: dict[str, str]) -> None:
    done = worker("UNKNOWN", **options)
    assert (done.returncode, done.stdout) == (3, "")
    assert "presence: cannot be shut in: " in done.stderr
    assert "Traceback" not in done.stderr
