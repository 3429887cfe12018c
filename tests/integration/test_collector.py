"""The collector with real brokers: exactly once, whoever is killed; each gap is repaired or told."""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector_points import Link, LossyBridge, Point
from collector_rig import (
    DEADLINE_S,
    PROGRAM,
    collecting,
    count,
    hasten,
    process,
    stored,
    until,
)
from diemcau_agent import topics
from diemcau_agent.exits import NOT, OK
from diemcau_sim.mosquitto import PrivateMosquitto
from point_documents import document

pytestmark = pytest.mark.mosquitto

KILLS = 5
MADE_UP: list[dict[str, Any]] = [{"seq": 2**60}, {"spool": ""}, {"time": "never"}]


@pytest.fixture
def broker() -> Iterator[PrivateMosquitto]:
    """Of the test's own: it may be killed, and holds nobody else's sessions."""
    with PrivateMosquitto() as broker:
        yield broker


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "collector.sqlite3"


@pytest.fixture
def point(broker: PrivateMosquitto) -> Iterator[Point]:
    point = Point(broker.url)
    yield point
    point.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


def test_killed_in_the_midst_of_a_flood_it_has_each_document_once(
    broker: PrivateMosquitto, point: Point, db: Path
) -> None:
    with process(broker.url, db) as first:
        first.until_says("connected")
        assert first.end() == OK
    enough = threading.Event()

    def flood() -> None:
        while not enough.wait(0.02) and len(point.made) < 30_000:  # some 2000 a second
            for _ in range(50):
                point.report("telemetry")
            point.report("event", wait=True)

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        chance, had = random.Random(4), 0
        for _ in range(KILLS):
            with process(broker.url, db) as running:
                until("takes more", lambda had=had: count(db) > had)
                time.sleep(chance.uniform(0, 0.2))
                assert running.end(kill=True) == -signal.SIGKILL
            had = count(db)
            assert flooding.is_alive(), "it was killed when all was done"
    finally:
        enough.set()
        flooding.join()
    with process(broker.url, db) as last:
        last.until_says("connected")  # all may be there already, and it not yet ready to be ended
        until("has all", lambda: count(db) == len(point.made))
        assert last.end() == OK
        assert " 0 gaps of 0 " in last.lines[-1]
    found = stored(db)
    assert found.documents == point.made
    assert (found.lost, found.rejected) == ({}, 0)


@pytest.mark.usefixtures("hasty")
def test_what_a_broker_that_is_killed_takes_with_it_is_sent_again(
    broker: PrivateMosquitto, point: Point, db: Path
) -> None:
    with collecting(broker.url, db):
        point.greet()
        for _ in range(100):
            point.report("event")
        until("has the first", lambda: count(db) == 100)
    for _ in range(100):  # nobody listens; the broker has them, and says so
        point.report("event", wait=True)
    broker.stop(kill=True)
    broker.start()
    until("the point is back", point.client.is_connected)
    with collecting(broker.url, db):
        point.greet()
        point.report("event")
        until("has all", lambda: count(db) == 201)
        broker.stop(kill=True)
        broker.start()
        until("the point is back", point.client.is_connected)
        point.greet()
        for _ in range(100):  # with or without the collector
            point.report("event", wait=True)
        until("the collector is back", lambda: point.report("event") is None and count(db) > 201)
        until("has all", lambda: count(db) == len(point.made))
    found = stored(db)
    assert found.documents == point.made
    assert found.lost == {}
    assert {"spool": point.spool, "stream": "event", "from": 101, "to": 200} in point.asked


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("seed", range(5))
def test_what_a_bridge_loses_is_found_and_repaired(broker: PrivateMosquitto, db: Path, seed: int) -> None:
    with PrivateMosquitto() as below:
        bridge = LossyBridge(below.url, broker.url, seed)
        points = [Point(below.url, f"xp-{number:04}") for number in range(3)]

        def close_spool(point: Point) -> None:
            """What comes last must come: nothing else shows that it was there."""
            for stream in topics.STREAMS:
                topic, payload = point.make(stream)
                bridge.spared.add(payload)
                point.publish(topic, payload)

        try:
            with collecting(broker.url, db):
                for point in points:
                    point.greet()
                bridge.loss = 0.2  # of what is sent again too
                for _ in range(100):
                    for point in points:
                        point.report("event")
                        point.report("telemetry")
                close_spool(points[0])
                points[0].replace_spool()
                for point in points:
                    close_spool(point)
                until("repaired", lambda: count(db) == sum(len(point.made) for point in points))
        finally:
            for point in points:
                point.close()
            bridge.close()
    found = stored(db)
    assert found.documents == {name: made for point in points for name, made in point.made.items()}
    assert found.lost == {}
    assert min(bridge.lost["event"], bridge.lost["telemetry"], bridge.doubled) > 30


@pytest.mark.usefixtures("hasty")
def test_what_a_point_no_longer_has_is_told_as_lost_and_why(
    broker: PrivateMosquitto, point: Point, db: Path
) -> None:
    with collecting(broker.url, db):
        point.greet()
        old = point.spool
        gone = {(point.point, old, "event", seq) for seq in range(1, 21)}
        for _ in range(20):
            point.make("event")
        point.forgotten |= gone
        point.report("event")
        dropped = {(point.point, old, "telemetry", seq) for seq in range(1, 6)}
        for _ in range(5):
            point.make("telemetry")
        point.replace_spool()  # which tells the old one's losses
        data = {"spool": old, "stream": "telemetry", "from": 1, "to": 5, "count": 5, "reason": "full"}
        point.report("event", kind="dropped", data=data)
        until("told", lambda: len(stored(db).lost) == 25)
    found = stored(db)
    assert found.lost == dict.fromkeys(gone, "missing at the point") | dict.fromkeys(dropped, "full")
    assert found.documents.keys() == point.made.keys() - gone - dropped
    assert [asked["stream"] for asked in point.asked] == ["event"]


def test_who_floods_it_with_what_is_no_document_is_counted_and_keeps_nobody_out(
    broker: PrivateMosquitto, point: Point, db: Path
) -> None:
    rubbish = [
        b"",
        b"[" * 50_000,
        b"\xff\xfe",
        b"x" * 200_000,
        *(json.dumps(document("event", **made_up)).encode() for made_up in MADE_UP),
    ]
    flooder = Link(broker.url, "flooder")
    try:
        with process(broker.url, db) as running:
            running.until_says("connected")
            for _ in range(300):
                for payload in rubbish:
                    flooder.publish("diemcau/v1/point/xp-0417/event", payload)
                point.report("event")
                flooder.publish("diemcau/v1/point/NO POINT/event", b"{}")
            running.until_says(" 2400 rejected")
            status = Path(f"/proc/{running.popen.pid}/status").read_text()
            assert running.end() == OK
    finally:
        flooder.close()
    found = stored(db)
    assert found.documents == point.made
    assert found.rejected == 1000
    (peak_kb,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    assert peak_kb < 200_000  # the broker waits while so many megabytes as Receive Maximum allows are judged
    with closing(sqlite3.connect(db)) as connection:
        reasons = {reason for (reason,) in connection.execute("SELECT DISTINCT reason FROM rejected")}
    for named in ("topic: got", "size: got 200000", "seq: got", "spool: got ''", "utf-8", "never"):
        assert any(named in reason for reason in reasons), (named, reasons)


def test_it_says_what_it_has_and_ends_in_order_when_it_is_told_to(
    broker: PrivateMosquitto, point: Point, db: Path
) -> None:
    with process(broker.url, db) as running:
        running.until_says("connected, 0 points, 0 documents")
        point.report("event")
        point.report("event")
        running.until_says("1 points, 2 documents (0 late), 0 duplicates, 0 gaps of 0")
        assert running.end() == OK
        assert running.lines[-1].startswith("connected, 1 points, 2 documents")


def test_without_a_broker_it_says_so_and_ends_at_once_when_it_is_told_to(db: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with process(f"mqtt://127.0.0.1:{nobody.getsockname()[1]}", db) as running:
            running.until_says("not connected (127.0.0.1:")
            assert "Connection refused" in running.lines[-1]
            began_s = time.monotonic()
            assert running.end() == OK
            assert time.monotonic() - began_s < 3


def test_the_rooms_are_told_beside_a_running_collector(
    broker: PrivateMosquitto, point: Point, db: Path
) -> None:
    with process(broker.url, db) as running:
        running.until_says("connected")
        point.greet()
        point.report("event")
        point.make("event")
        point.report("event")
        until("has both", lambda: count(db) == 2)
        told = subprocess.run(
            [PROGRAM, "collect", "--status", "--db", db],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert (told.returncode, told.stdout, told.stderr) == (OK, "xp-0417 online unknown missing=1\n", "")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--status", "--db", "/no/where"], NOT, "/no/where: SQLITE_CANTOPEN"),
        (["--broker", "mqtt://127.0.0.1:1", "--db", "/no/where"], NOT, "/no/where: "),
        (["--broker", "mqtts://127.0.0.1:1", "--db", "x", "--ca-file", "/no/ca"], 2, "--ca-file"),
        (["--broker", "http://127.0.0.1", "--db", "x"], 2, "expected mqtt://, mqtts:// or wss://"),
        (["--broker", "mqtt://127.0.0.1", "--db", "x", "--iss", "NO"], 2, "--iss: got 'NO', expected ^"),
        (["--broker", "mqtt://127.0.0.1", "--db", "x", "--history", "-1"], 2, "a whole number from 0"),
        (["--db", "x"], 2, "--broker --status is required"),
    ],
)
def test_wrong_usage_is_named(options: list[str], code: int, says: str) -> None:
    told = subprocess.run(
        [PROGRAM, "collect", *options], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert told.returncode == code, told.stderr
    assert says in told.stderr
