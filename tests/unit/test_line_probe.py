"""``diemcau-agent probe`` promises: the same record for people and for programs, an exit code that says
whether replies came, and wrong usage told by name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from array import array
from typing import Any

import msgspec
import pytest

from diemcau_agent import cli, exits
from diemcau_agent.line.probe import Wanted, lines
from diemcau_agent.line.record import Record, Train, record
from diemcau_agent.line.train import Address
from diemcau_agent.wording import speaking
from scripted_reflector import Reflector, Request, answer, good

SPREAD = ["min", "mean", "p50", "p95", "p99", "max"]


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def target(reflector: Reflector) -> str:
    host = reflector.address.host
    return f"[{host}]:{reflector.address.port}" if ":" in host else f"{host}:{reflector.address.port}"


QUICK = ["--count", "10", "--interval-ms", "5"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_json_is_the_record_and_what_was_measured(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    def script(request: Request) -> list[bytes]:
        return {2: [], 3: [], 5: good(request) * 2}.get(request.n, good(request))

    with Reflector(script, host=host) as reflector:
        assert cli.main(["probe", target(reflector), *QUICK, "--json"]) == exits.OK
    document = told(capsys)
    assert set(document) == {
        "target",
        "address",
        "port",
        "interval_ms",
        "size_bytes",
        *Record.__struct_fields__,
    }
    expected = {
        "target": target(reflector),
        "address": host,
        "sent": 10,
        "received": 8,
        "lost": 2,
        "duplicates": 1,
        "reordered": 0,
        "loss_percent": 20.0,
        "loss_bursts": [2],
        "size_bytes": 72,
        "dscp": 46,
        "error": None,
    }
    assert {key: document[key] for key in expected} == expected
    for spread in (document["rtt_ms"], document["jitter_ms"]):
        assert list(spread) == SPREAD
        assert all(value == round(value, 3) for value in spread.values())
    assert 0 < document["rtt_ms"]["min"] <= document["rtt_ms"]["p50"] <= document["rtt_ms"]["max"]
    assert 0 < document["r_factor"] < 100
    assert 1 < document["mos"] < 4.5
    assert {len(request.data) for request in reflector.requests} == {72}
    assert {request.tos for request in reflector.requests} == {46 << 2}


def test_size_dscp_count_and_interval_are_those_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with Reflector() as reflector:
        asked = ["--count", "7", "--interval-ms", "30", "--size", "1200", "--dscp", "34"]
        assert cli.main(["probe", target(reflector), *asked, "--json"]) == exits.OK
    document = told(capsys)
    assert (document["sent"], document["size_bytes"], document["dscp"]) == (7, 1200, 34)
    assert document["interval_ms"] == pytest.approx(30, rel=0.2)
    assert {len(request.data) for request in reflector.requests} == {1200}
    assert {request.tos for request in reflector.requests} == {34 << 2}


@pytest.mark.parametrize("language", ["en", "vi"])
def test_people_read_it_in_their_language(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Reflector(lambda request: [] if request.n == 4 else good(request)) as reflector:
        assert cli.main(["probe", target(reflector), *QUICK, "--language", language]) == exits.OK
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 8
    assert printed[0].startswith(f"{target(reflector)} (127.0.0.1): 10 ")
    assert ("sent 10, received 9, lost 1 (10.00 %)" in printed[1]) is (language == "en")
    assert ("đã gửi 10, nhận lại 9, mất 1 (10,00 %)" in printed[1]) is (language == "vi")
    assert [name for name in SPREAD if f"  {name} " in printed[2]] == SPREAD
    assert printed[-1].startswith("R ")
    assert "None" not in "".join(printed)


def test_where_no_reply_came_it_exits_1_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with Reflector() as reflector:
        pass  # nobody listens there any more
    assert cli.main(["probe", target(reflector), *QUICK]) == exits.NOT
    printed = capsys.readouterr().out
    assert "sent 10, received 0, lost 10 (100.00 %)" in printed
    assert "Connection refused" in printed
    assert "No reply came." in printed
    assert cli.main(["probe", target(reflector), *QUICK, "--json"]) == exits.NOT
    document = told(capsys)
    assert (document["lost"], document["rtt_ms"], document["mos"]) == (10, None, None)
    assert document["error"] == "Connection refused"


def test_forged_replies_alone_are_no_replies(capsys: pytest.CaptureFixture[str]) -> None:
    with Reflector(lambda request: [answer(request, stamp=1)]) as reflector:
        assert cli.main(["probe", target(reflector), *QUICK, "--json"]) == exits.NOT
    document = told(capsys)
    assert (document["received"], document["strange"]) == (0, 10)


def test_a_host_without_an_address_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    host = "a" * 70
    assert cli.main(["probe", host]) == exits.NOT
    assert capsys.readouterr().err == f"{host}: not a host name\n"
    assert cli.main(["probe", host, "--json"]) == exits.NOT
    assert told(capsys) == {"error": {"code": "not_sent", "detail": f"{host}: not a host name"}}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "the following arguments are required: HOST[:PORT]"),
        (["h:0"], "got 'h:0', expected HOST, HOST:PORT or [IPV6]:PORT, a port from 1 to 65535"),
        (["h:65536"], "got 'h:65536', expected"),
        (["h:port"], "got 'h:port', expected"),
        (["h:"], "got 'h:', expected"),
        ([":862"], "got ':862', expected"),
        (["a b"], "got 'a b', expected"),
        (["[::1"], "got '[::1', expected"),
        (["[::1]862"], "got '[::1]862', expected"),
        (["[host]:862"], "got '[host]:862', expected"),
        (["1:2:3"], "got '1:2:3', expected"),
        (["h", "--count", "0"], "--count: got '0', expected packets from 1 to 240000"),
        (["h", "--count", "1.5"], "--count: got '1.5', expected packets"),
        (["h", "--interval-ms", "0.1"], "--interval-ms: got '0.1', expected milliseconds from 0.5 to 60000"),
        (["h", "--interval-ms", "nan"], "--interval-ms: got 'nan', expected"),
        (["h", "--size", "46"], "--size: got '46', expected bytes from 48 to 1472, or 44"),
        (["h", "--size", "1473"], "--size: got '1473', expected"),
        (["h", "--dscp", "64"], "--dscp: got '64', expected a DSCP from 0 to 63"),
    ],
)
def test_every_bad_value_is_wrong_usage_told_by_name(
    asked: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["probe", *asked])
    assert stopped.value.code == exits.USAGE
    assert message in capsys.readouterr().err


def test_a_measurement_that_takes_too_long_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["probe", "name.invalid", "--count", "200", "--interval-ms", "1000"]) == exits.USAGE
    assert "count, interval_ms: got 200 s, expected at most 120 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("centre.example", "centre.example", 862),
        ("centre.example:8620", "centre.example", 8620),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("2001:db8::1", "2001:db8::1", 862),
        ("[2001:db8::1]", "2001:db8::1", 862),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("[fe80::1%eth0]:862", "fe80::1%eth0", 862),
    ],
)
def test_a_target_is_a_host_with_or_without_a_port(text: str, host: str, port: int) -> None:
    arguments = cli.parser().parse_args(["probe", text])
    assert arguments.target == (host, port)
    defaults = (arguments.count, arguments.interval_ms, arguments.size, arguments.dscp)
    assert defaults == (100, 20.0, 72, 46)


def test_ctrl_c_ends_it_with_what_has_come_so_far() -> None:
    some = threading.Event()

    def script(request: Request) -> list[bytes]:
        if request.n == 20:
            some.set()
        return good(request)

    with Reflector(script) as reflector:
        line = ["probe", target(reflector), "--count", "5000", "--interval-ms", "10", "--json"]
        child = subprocess.Popen(
            [sys.executable, "-m", "diemcau_agent", *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert some.wait(10)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=5)
    assert child.returncode == exits.OK, err.decode()
    document = json.loads(out)
    assert 20 <= document["sent"] < 1000
    assert document["lost"] == 0
    assert document["error"] == "stopped"
    assert err == b""


def test_synced_clocks_and_every_fault_have_their_words() -> None:
    """As a line could tell it where both clocks are synced, which no test can make of this machine."""
    good_train = record([Train(at_s=0, rtts_ms=array("d", [1.5, 2.0]), interval_ms=20)])
    spread = good_train.rtt_ms
    assert spread is not None
    known = msgspec.structs.replace(
        good_train,
        forward_ms=msgspec.structs.replace(spread, p50=0.75),
        backward_ms=msgspec.structs.replace(spread, p50=-0.25),
        lost=4,
        loss_bursts=(1, 3),
        lost_forward=3,
        reflector_dscp=46,
        returned_dscp=0,
        error="stopped: loss 34 % over 1 s",
    )
    wanted = Wanted(host="centre", port=862, count=2, interval_ms=20, size_bytes=72, dscp=46)
    printed = "\n".join(lines(wanted, Address("192.0.2.1", 862), known, speaking("en")))
    for words in (
        "centre:862 (192.0.2.1): 2 packets of 72 bytes, one every 20 ms",
        "longest burst 3, 3 on the way there · stopped: loss 34 % over 1 s",
        "one way: there 0.75 ms, back -0.25 ms",
        "DSCP sent 0, arrived there 46, came back 0",
    ):
        assert words in printed
