"""The kit's own command against the fleet's own EST server, both as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from diemcau_agent import config, files
from diemcau_agent.enrolment import command
from kit_in_1970 import Faked

POINT = "xp-0417"
FLEET = (sys.executable, "-c", "import sys; from diemcau_fleet.cli import main; sys.exit(main())")


def fleet(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        (*FLEET, *arguments, "--dir", str(folder / "fleet")), check=True, capture_output=True, text=True,
        timeout=15,
    )  # fmt: skip
    return done.stdout


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """Its URL."""
    files_of = (
        "--cert-file",
        str(folder / "est" / "cert.pem"),
        "--key-file",
        str(folder / "est" / "key.pem"),
    )
    with (folder / "est.log").open("w") as log:
        server = subprocess.Popen(
            (*FLEET, "serve-est", "--listen", "127.0.0.1:0", *files_of, "--dir", str(folder / "fleet")),
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said.startswith("listening on"), (folder / "est.log").read_text()
        yield f"https://localhost:{said.rpartition(':')[2].strip()}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


class Room:
    """What a technician holds: the files that ``kit add`` wrote, as if in /etc/diemcau."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.identity = folder / "state" / "identity" / "identity.pem"
        self.token = folder / "kit" / "token"
        fleet(
            folder, "kit", "add", POINT, "--est-url", url, "--broker-url", "mqtts://broker.example",
            "--out", str(folder / "kit"),
        )  # fmt: skip
        self.settings_file = folder / "kit" / "agent.toml"
        text = self.settings_file.read_text().replace("/etc/diemcau", str(folder / "kit"))
        self.settings_file.write_text(
            f'state_dir = "{folder}/state"\n'
            + text.replace("[enrolment]", f'[enrolment]\ntoken_file = "{self.token}"')
        )

    def enrol(self, *more: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            (sys.executable, "-W", "error", "-m", "diemcau_agent", "enrol", "--json",
             "--config", str(self.settings_file), *more),
            capture_output=True, text=True, timeout=15,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    fleet(tmp_path, "ca", "init")
    fleet(tmp_path, "ca", "server", "est", "--san", "localhost", "--out", str(tmp_path / "est"))
    with serving(tmp_path) as url:
        yield Room(tmp_path, url)


@pytest.mark.timeout(60)
def test_a_kit_enrols_renews_and_is_put_out(room: Room) -> None:
    code, told = room.enrol()
    assert (code, told["result"]) == (0, "enrolled"), told
    assert not room.token.exists()
    first = room.identity.read_bytes()
    assert room.enrol()[1]["result"] == "nothing"
    code, told = room.enrol("--renew")
    assert (code, told["result"]) == (0, "renewed"), told
    second = room.identity.read_bytes()
    assert second != first
    fleet(room.folder, "kit", "revoke", POINT)
    code, told = room.enrol("--renew")
    assert (code, told["code"]) == (1, "certificate_refused"), told
    assert room.identity.read_bytes() == second


@pytest.mark.timeout(60)
def test_a_power_cut_after_the_servers_answer_costs_no_token(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet's server gives the certificate again, for the same token with the same key."""

    class PowerCut(BaseException):
        pass

    kept, written = files.replace, 0

    def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
        nonlocal written
        written += 1
        if written == 2:  # the key was the first, the answer is the second
            raise PowerCut
        kept(path, data, mode)

    settings = config.load(room.settings_file)
    monkeypatch.setattr(files, "replace", replace)
    with pytest.raises(PowerCut):
        command.enrol(settings, renew=False, as_json=True, language="en")
    monkeypatch.undo()
    assert "xp-0417 enrolled" in (room.folder / "est.log").read_text()
    assert not room.identity.exists()
    code, told = room.enrol()
    assert (code, told["result"]) == (0, "enrolled"), told


@pytest.mark.timeout(60)
def test_a_first_boot_in_1970_gets_through(room: Room) -> None:
    authority = (room.folder / "fleet" / "ca.pem").read_bytes()
    faked = Faked(room.folder, room.url, authority, room.token.read_text().strip(), folder_name="in-1970")
    told = faked.enrol()
    assert told.get("result") == "enrolled", told
    assert told["clock_set"] is not None
    assert abs(told["ended_s"] - room.settings_file.stat().st_mtime) < 2 * 3600


def test_the_files_of_a_kit_are_such_that_only_its_own_user_writes_there(room: Room) -> None:
    """As root in another's directory it would leave what the agent cannot read."""
    (room.folder / "state").mkdir()
    os.chown(room.folder / "state", 12345, 12345)
    done = subprocess.run(
        (sys.executable, "-m", "diemcau_agent", "enrol", "--config", str(room.settings_file)),
        capture_output=True, text=True, timeout=15,
    )  # fmt: skip
    assert (done.returncode, "uid 12345" in done.stderr) == (2, True), done.stderr
    assert room.token.exists()
