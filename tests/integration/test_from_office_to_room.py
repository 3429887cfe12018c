"""docs/first-room.md as it is typed: from nothing to a commanded room and out again, by command lines.

Real programs on loopback: mosquitto on the written configuration, the EST server, a simulated room with the
real agent in it, the collector.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import msgspec
import pytest

from broker_rig import reachable
from diemcau_sim.mosquitto import free_port, program

pytestmark = pytest.mark.mosquitto

BIN = Path(sys.executable).parent
POINT = "xp-0417"
SEEN = [str(Path(folder).absolute()) for folder in os.environ.get("PYTHONPATH", "").split(":") if folder]
"""A worktree's own code: the programs run in a folder of their own."""
ENV = {**os.environ, "LC_ALL": "C.UTF-8", **({"PYTHONPATH": ":".join(SEEN)} if SEEN else {})}
WAIT_S = 20.0
EVICTION_S = 10.0
"""With a look a second; by default 30 s more."""


class Said(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str

    @property
    def last(self) -> list[str]:
        """The first words of the last line: point, state, code."""
        return (self.out.splitlines() or [""])[-1].split()[:3]


class Country:
    """One folder, short (a socket's path has an end): the office's, the broker's, a stick, a room."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self.broker_port = free_port()
        self.broker = f"mqtts://localhost:{self.broker_port}"
        self.fleet = ("--dir", str(place / "fleet"))
        self._stack = stack

    def run(self, tool: str, *words: str) -> Said:
        done = subprocess.run(
            (BIN / tool, *words), cwd=self.place, capture_output=True, text=True, timeout=WAIT_S, env=ENV,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def office(self, *words: str) -> str:
        said = self.run("diemcau-fleet", *words, *self.fleet)
        assert said.code == 0, said
        return said.out

    def operator(self, who: str, *words: str) -> Said:
        return self.run("diemcau-fleet", words[0], *words[1:], "--as", who, "--broker", self.broker)

    def command(self, *words: str, who: str = "an-nguyen") -> Said:
        return self.operator(who, "command", *words)

    def agent(self, *words: str) -> Said:
        return self.run("diemcau-agent", *words)

    def start(self, name: str, *words: str | Path) -> subprocess.Popen[str]:
        """Runs until the test ends; what it says is in ``name.log``."""
        log: IO[str] = self._stack.enter_context((self.place / f"{name}.log").open("w"))
        child = subprocess.Popen(words, cwd=self.place, env=ENV, stdout=log, stderr=log, text=True)
        self._stack.callback(stop, child)
        return child

    def log(self, name: str) -> str:
        return (self.place / f"{name}.log").read_text(errors="replace")

    def until(self, true: Callable[[], bool], within_s: float = WAIT_S) -> float:
        """How long it took."""
        began_s = time.monotonic()
        while not true():
            logs = [f"== {path.name}\n{path.read_text()[-1500:]}" for path in self.place.glob("*.log")]
            assert time.monotonic() - began_s < within_s, "\n".join(logs)
            time.sleep(0.1)
        return time.monotonic() - began_s

    def online(self) -> bool:
        return "● online" in self.agent("status", "--runtime-dir", "room/run", "--language", "en").out


def stop(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise


@pytest.fixture
def country() -> Iterator[Country]:
    place = Path(tempfile.mkdtemp(prefix="f-"))
    place.chmod(0o755)  # mosquitto goes through it, as a user of its own
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, place)
        yield Country(place, stack)


def found_the_office(country: Country) -> None:
    country.office("ca", "init", "--name", "Ministry")
    country.office("ca", "server", "localhost", "--san", "localhost", "127.0.0.1", "--out", "hosts")
    country.office("operator", "add", "an-nguyen", "--role", "operator", "--out", "an-nguyen")
    country.office("operator", "add", "collector", "--role", "collector", "--out", "collector")
    country.office("service", "add", "publisher-1", "--role", "publisher", "--out", "publisher-1")


def start_the_broker(country: Country) -> None:
    """As Debian's unit with our drop-in does."""
    hosts = country.place / "hosts"
    user = "mosquitto" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    words = (
        "broker", *country.fleet, "--out", str(country.place / "etc"), "--user", user,
        "--host-cert", str(hosts / "cert.pem"), "--host-key", str(hosts / "key.pem"),
        "--state", str(country.place / "state"), "--pid-file", str(country.place / "run/mosquitto.pid"),
        "--listen", f"127.0.0.1:{country.broker_port}",
    )  # fmt: skip
    for folder in ("state", "run"):
        (country.place / folder).mkdir()
    if os.geteuid() == 0:
        refused = country.run("diemcau-fleet", *words)  # as first typed: the key is root's still
        assert (refused.code, "cannot be read by mosquitto" in refused.err) == (2, True), refused
        for path in ("hosts", "hosts/key.pem", "state", "run"):
            shutil.chown(country.place / path, user)
    assert country.run("diemcau-fleet", *words).code == 0
    country.start("mosquitto", program(), "-c", country.place / "etc/mosquitto.conf")
    country.until(lambda: reachable(country.broker_port) and (country.place / "run/mosquitto.pid").exists())
    country.start("keeper", BIN / "diemcau-fleet", *words, "--follow", "1")


def start_the_est_server(country: Country) -> str:
    """Its URL."""
    files = ("--cert-file", "hosts/cert.pem", "--key-file", "hosts/key.pem")
    country.start(
        "est", BIN / "diemcau-fleet", "serve-est", "--listen", "127.0.0.1:0", *files, *country.fleet
    )
    country.until(lambda: "listening on" in country.log("est"))
    return f"https://localhost:{country.log('est').split(':')[1].split()[0]}"


def send_the_keys(country: Country) -> None:
    country.office("keys", "--out", "keys.jws")
    assert country.operator("publisher-1", "publish", "keys.jws").code == 0


def set_the_room_up(country: Country, est: str) -> None:
    """What the technician does, in a room that is simulated: its state is its own folder's."""
    country.office(
        "kit", "add", POINT, "--group", "hanoi", "--out", "stick", "--est-url", est,
        "--broker-url", country.broker,
    )  # fmt: skip
    settings = country.place / "stick/agent.toml"
    text = settings.read_text().replace("/etc/diemcau", str(country.place / "stick"))
    settings.write_text(
        text.replace("[enrolment]", f'[enrolment]\ntoken_file = "{country.place}/stick/token"')
    )
    country.start(
        "room", BIN / "diemcau-sim", "room", "--point", POINT, "--broker", country.broker,
        "--config", "stick/agent.toml", "--room", "room", "--verbose",
    )  # fmt: skip
    country.until(lambda: "not enrolled yet" in country.log("room"))
    enrolled = country.agent("enrol", "--config", "room/agent.toml", "--language", "en")
    assert (enrolled.code, enrolled.out.startswith("Enrolled: this kit is xp-0417")) == (0, True), enrolled
    country.until(country.online)
    country.until(lambda: "list of keys" in country.log("room"))


@pytest.fixture
def commanded(country: Country) -> Country:
    found_the_office(country)
    start_the_broker(country)
    send_the_keys(country)
    set_the_room_up(country, start_the_est_server(country))
    return country


@pytest.mark.timeout(90)
def test_a_room_is_commanded_and_its_policy_and_the_conference_stand_above_that(commanded: Country) -> None:
    assert commanded.command(POINT, "ping").last[:2] == [POINT, "done"]
    assert commanded.command(POINT, "restart", "target=camera").last[:2] == [POINT, "done"]
    refused = commanded.command(POINT, "camera", "snapshot=true")
    assert (refused.code, refused.last) == (1, [POINT, "refused", "not_permitted"])
    group = commanded.command("--group", "hanoi", "ping", "spread_s=1", "--wait-s", "3")
    assert group.out.splitlines()[-1] == "1 points: 1 done, 0 failed, 0 refused", group
    restarted = commanded.command(POINT, "restart", "target=host")
    assert (restarted.code, "boot_before" in restarted.out) == (0, True), restarted

    file = commanded.place / "national-1.toml"
    now = datetime.now(UTC).replace(microsecond=0)
    plan = (
        f'id = "national-1"\nrevision = 1\nstart = {(now - timedelta(minutes=5)).isoformat()}\n'
        f'end = {(now + timedelta(hours=1)).isoformat()}\ngroups = ["all"]\n'
        "freeze = {before_s = 1800, after_s = 300}\n"
    )
    file.write_text(plan)
    assert commanded.operator("an-nguyen", "conference", "national-1.toml").code == 0
    commanded.until(lambda: commanded.log("room").count("conference national-1") > 0)
    frozen = commanded.command(POINT, "restart", "target=camera")
    assert (frozen.code, frozen.last) == (1, [POINT, "refused", "frozen"])
    assert commanded.command(POINT, "restart", "target=camera", "force=true").code == 0
    file.write_text(plan.replace("revision = 1", "revision = 2"))
    assert commanded.operator("an-nguyen", "conference", "national-1.toml", "--cancel").code == 0
    commanded.until(lambda: commanded.command(POINT, "restart", "target=camera").code == 0)


@pytest.mark.timeout(90)
def test_the_centre_has_all_that_the_room_says_and_finds_its_record_whole(commanded: Country) -> None:
    where = ("--broker", commanded.broker, "--db", "rooms.sqlite3")
    collector = commanded.start(
        "collector", BIN / "diemcau-fleet", "collect", "--as", "collector", *where, "--stats-s", "1"
    )

    def status() -> str:
        return commanded.run("diemcau-fleet", "collect", "--status", "--db", "rooms.sqlite3").out

    commanded.until(lambda: status().startswith(f"{POINT} online"))
    # Its document shows what came before the collector did: that is asked for, signed.
    assert commanded.command(POINT, "restart", "target=camera").code == 0
    commanded.until(
        lambda: re.search(r" 0 gaps of 0 \([1-9]\d* resends", commanded.log("collector")) is not None
    )
    assert status() == f"{POINT} online ready missing=0\n"
    stop(collector)
    newest = (
        "SELECT json_extract(payload, '$.data.audit.n') || ':' || json_extract(payload, '$.data.audit.hash') "
        "FROM document JOIN spool ON spool = id WHERE point = 'xp-0417' AND kind = 'command' "
        "ORDER BY session DESC, mono_ms DESC LIMIT 1"
    )
    with closing(sqlite3.connect(commanded.place / "rooms.sqlite3")) as rooms:
        ((head,),) = rooms.execute(newest)
    audit = ("audit", "verify", "--config", "room/agent.toml", "--language", "en")
    verified = commanded.agent(*audit, "--head", head)
    assert verified.out.splitlines()[-1] == "The entry that was asked for is in it.", (head, verified)
    assert verified.code == 0
    record = commanded.place / "room/state/audit.jsonl"
    record.write_text(record.read_text().replace("an-nguyen", "ba-nguyen", 1))
    assert commanded.agent(*audit).code == 1


@pytest.mark.timeout(90)
def test_who_is_revoked_is_out(commanded: Country) -> None:
    commanded.office("operator", "add", "binh-le", "--role", "operator", "--out", "binh-le")
    send_the_keys(commanded)
    commanded.until(lambda: commanded.command(POINT, "ping", who="binh-le").code == 0)

    commanded.office("operator", "revoke", "an-nguyen")
    send_the_keys(commanded)
    commanded.until(lambda: "revoked: an-nguyen: connection ended" in commanded.log("keeper"), EVICTION_S)
    out = commanded.command(POINT, "ping")
    assert (out.code, "it may not take our certificate" in out.err) == (1, True), out

    commanded.office("kit", "revoke", POINT)
    took_s = commanded.until(lambda: not commanded.online(), EVICTION_S)
    print(f"off {took_s:.1f} s after `kit revoke`")
    gone = commanded.command(POINT, "ping", who="binh-le")
    assert (gone.code, "the broker has no status of it" in gone.err) == (1, True), gone
    renewed = commanded.agent("enrol", "--renew", "--config", "room/agent.toml", "--language", "en")
    assert (renewed.code, "may be revoked" in renewed.err) == (1, True), renewed
