"""Who holds the clock, from what chrony 4.3 and systemd-timesyncd 252 really printed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.path import timesource

CHRONY = (
    "0A000001,10.0.0.1,3,1795578089.020205813,-0.000004510,-0.000000126,0.000001007,"
    "0.049,-0.002,0.638,0.000013335,0.000001318,1.0,Normal\n"
)
CHRONY_ALONE = (
    "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,"
    "0.000,0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised\n"
)
NO_CHRONYD = "506 Cannot talk to daemon\n"
STAMPS_US = (1795578120523789, 1795578120523861, 1795578120523930, 1795578120523940)
TIMESYNCD = (
    '{"type":"(iay)","data":[2,[10,0,0,1]]}\n'
    '{"type":"(uuuuittayttttbtt)","data":[0,4,4,2,-25,0,0,[127,127,1,1],'
    "1795578120523789,1795578120523861,1795578120523930,1795578120523940,false,1,0]}\n"
)


def timesyncd(*, behind_us: int = 0, ignored: bool = False, packets: int = 1, address: Any = None) -> str:
    """As TIMESYNCD, with our clock that much behind."""
    lines = [json.loads(line) for line in TIMESYNCD.splitlines()]
    origin, receive, transmit, destination = STAMPS_US
    message = lines[1]["data"]
    message[8:14] = [origin - behind_us, receive, transmit, destination - behind_us, ignored, packets]
    if address is not None:
        lines[0]["data"] = address
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_chrony_tells_its_server_and_our_offset() -> None:
    assert timesource.read_chrony(CHRONY) == {
        "clock_source": "chrony",
        "clock_offset_ms": -0.005,  # "0.000004510 seconds fast of NTP time": ours is ahead
        "clock_server": "10.0.0.1",
    }


def test_chrony_without_a_server_tells_no_offset() -> None:
    assert timesource.read_chrony(CHRONY_ALONE) == {"clock_source": "chrony"}


@pytest.mark.parametrize("text", [NO_CHRONYD, "", CHRONY.replace("-0.000004510", "fast"), "1,2,3"])
def test_what_is_no_report_is_no_chrony(text: str) -> None:
    assert timesource.read_chrony(text) is None


def test_timesyncd_tells_its_server_and_our_offset() -> None:
    assert timesource.read_timesyncd(TIMESYNCD) == {
        "clock_source": "timesyncd",
        "clock_server": "10.0.0.1",
        "clock_offset_ms": 0.031,
    }


def test_timesyncds_offset_is_positive_where_ours_is_behind() -> None:
    facts = timesource.read_timesyncd(timesyncd(behind_us=25_000))
    assert facts is not None
    assert facts["clock_offset_ms"] == pytest.approx(25.031)


@pytest.mark.parametrize(
    "options", [{"behind_us": 864_000_000_000}, {"behind_us": -500_000}, {"ignored": True}]
)
def test_an_offset_that_no_longer_holds_is_not_told(options: dict[str, Any]) -> None:
    """timesyncd steps away what is over 0.4 s; what is left is not in its last message."""
    assert timesource.read_timesyncd(timesyncd(**options)) == {
        "clock_source": "timesyncd",
        "clock_server": "10.0.0.1",
    }


def test_timesyncd_before_its_first_answer_tells_neither() -> None:
    assert timesource.read_timesyncd(timesyncd(packets=0, address=[0, []])) == {"clock_source": "timesyncd"}


def test_timesyncds_server_may_speak_ipv6() -> None:
    facts = timesource.read_timesyncd(timesyncd(address=[10, [0xFD, *[0] * 14, 1]]))
    assert facts is not None
    assert facts["clock_server"] == "fd00::1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        TIMESYNCD.splitlines()[0],
        TIMESYNCD * 2,
        "[]\n[]",
        '{"type":"s","data":"x"}\n' * 2,
        timesyncd(address=[2, [10, 0, 0]]),
        timesyncd(address=[99, [10, 0, 0, 1]]),
        TIMESYNCD.replace("1795578120523789", '"late"'),
    ],
)
def test_what_is_no_message_is_no_timesyncd(text: str) -> None:
    assert timesource.read_timesyncd(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=16) | st.dictionaries(st.sampled_from(["type", "data"]), inner),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_output_breaks_the_reading(address: Any, message: Any) -> None:
    text = "\n".join(
        json.dumps({"type": kind, "data": data})
        for kind, data in (("(iay)", address), ("(uuuuittayttttbtt)", message))
    )
    timesource.read_timesyncd(text)
    timesource.read_timesyncd(json.dumps(address))
    timesource.read_chrony(str(address))


@given(st.lists(st.text(alphabet="0123456789.-naif", max_size=8), min_size=14, max_size=14))
def test_no_report_breaks_the_reading(fields: list[str]) -> None:
    facts = timesource.read_chrony(",".join(fields))
    assert facts is None or facts["clock_source"] == "chrony"


# --- The programs


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program of that name and shell text where nothing else is."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return write


Program = Callable[[str, str], None]


def test_chrony_is_asked_first(program: Program) -> None:
    program("chronyc", f"printf '%s' '{CHRONY}'")
    program("busctl", f"printf '%s' '{TIMESYNCD}'")
    assert timesource.time_source()["clock_source"] == "chrony"


def test_a_chrony_that_does_not_run_leaves_it_to_timesyncd(program: Program) -> None:
    program("chronyc", f"printf '%s' '{NO_CHRONYD}'; exit 1")
    program("busctl", f"printf '%s' '{TIMESYNCD}'")
    assert timesource.time_source()["clock_server"] == "10.0.0.1"


@pytest.mark.parametrize("installed", [True, False])
def test_where_nobody_holds_the_clock_that_is_said(program: Program, installed: bool) -> None:
    if installed:
        program("chronyc", "exit 1")
        program("busctl", "echo 'The name was not provided by any .service files' >&2; exit 1")
    assert timesource.time_source() == {"clock_source": "none"}


def test_a_program_that_hangs_is_not_waited_for(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timesource, "DEADLINE_S", 0.2)
    program("chronyc", "exec /bin/sleep 30")
    began_s = time.monotonic()
    assert timesource.time_source() == {}  # not known is not "none"
    assert time.monotonic() - began_s < 2
