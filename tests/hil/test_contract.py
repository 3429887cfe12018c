"""The contract suite, unchanged, over the real libraries and device nodes, as the daemon's user."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from room import AGENT, PYTHON, Room

pytestmark = [pytest.mark.hil, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
PARTS = ("pyproject.toml", "tests", "hw-sim/diemcau_sim")
OPTIONS = {
    "camera-v4l2": {"identity": "vivid"},
    "audio": {"microphone": "RoomMic", "speaker": "RoomSpeaker"},
    "display": {"cec_device": "/dev/cec1"},
}
LEAST = 25


def test_every_backend_keeps_the_contract_on_its_device(room: Room, tmp_path: Path) -> None:
    packed = tmp_path / "suite.tar"
    with tarfile.open(packed, "w") as archive:
        for part in PARTS:
            archive.add(
                REPOSITORY / part, part, filter=lambda entry: None if "corpus" in entry.name else entry
            )
    room.kit.copy(packed, "/tmp/suite.tar")
    room.kit.shell(
        "rm -rf /tmp/suite; mkdir /tmp/suite; tar -xf /tmp/suite.tar -C /tmp/suite;"
        "chown -R diemcau /tmp/suite"
    )
    room.kit.run("systemctl", "stop", AGENT)
    try:
        told = room.kit.run(
            "setpriv", "--reuid=diemcau", "--regid=diemcau", "--init-groups", "--no-new-privs",
            "env", "-C", "/tmp/suite", "HOME=/tmp", "PYTHONPATH=tests:hw-sim", "DIEMCAU_KIT=1",
            f"DIEMCAU_KIT_OPTIONS={json.dumps(OPTIONS)}",
            *PYTHON, "-m", "pytest", "tests/contract", "-k", "real_device", "-p", "no:cacheprovider",
            "--timeout", "120", "-q", "-W", "ignore:setDaemon:DeprecationWarning",  # picamera2's own
            timeout_s=800, check=False,
        )  # fmt: skip
    finally:
        room.kit.run("systemctl", "start", AGENT, timeout_s=120)
    ended = re.search(r"(\d+) passed", told)
    assert ended, told[-6000:]
    assert not re.search(r"\d+ (failed|error)", told), told[-6000:]
    assert int(ended[1]) >= LEAST, told
