"""The line's last 24 hours are made of the telemetry, and shown as bars."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diemcau_agent import line_page, wording
from diemcau_agent.clock import rfc3339
from diemcau_agent.line.history import MINUTES, History
from diemcau_agent.model import Telemetry, encode
from diemcau_agent.stamp import Stamp
from diemcau_agent.telemetry import Window
from fakeclock import FakeClock

WALL_S = 1_795_332_600.0
SAY = wording.speaking("en")


def minute(
    clock: FakeClock, *, rtt_ms: float | None, loss_percent: float = 0.0, online: float = 1.0
) -> Telemetry:
    window = Window()
    if rtt_ms is not None:
        for packet in range(10):
            window.add("line", {"rtt_ms": rtt_ms + packet})
        window.add("line", {"burst_loss_percent": loss_percent, "burst_jitter_ms": 1.0})
    window.add("line", {"online": online, "mos": 4.4})
    stamp = Stamp("xp-0417", "boot", 3, clock)
    return Telemetry(**stamp.fields(Telemetry), spool="s", seq=1, window_s=60, series=window.take())


def test_a_minute_is_what_its_telemetry_says(clock: FakeClock) -> None:
    history = History()
    history.add(minute(clock, rtt_ms=20.0, loss_percent=10.0))
    (one,) = history.minutes()
    assert one == {
        "time": rfc3339(WALL_S), "rtt_ms": 24.5, "rtt_ms_p95": 29.0, "loss_percent": 10.0, "jitter_ms": 1.0,
        "mos": 4.4, "online": True,
    }  # fmt: skip


def test_what_the_spool_kept_brings_it_back_and_what_cannot_be_read_is_passed_over(clock: FakeClock) -> None:
    kept = [encode(minute(clock, rtt_ms=float(number))) for number in range(3)]
    history = History()
    history.restore([kept[0], b"\xff", b'{"schema": "diemcau.telemetry/9"}', *kept[1:]])
    assert [one["rtt_ms"] for one in history.minutes()] == [4.5, 5.5, 6.5]


def test_no_more_than_a_day_is_kept(clock: FakeClock) -> None:
    history = History()
    document = minute(clock, rtt_ms=None)
    for _ in range(MINUTES + 5):
        history.add(document)
    assert len(history.minutes()) == MINUTES
    assert history.minutes()[0]["rtt_ms"] is None


@pytest.mark.parametrize(
    ("values", "full", "shown"),
    [
        ([0.0, 12.5, 50.0, 100.0, 130.0], 100.0, " ▁▄██"),
        ([None, 0.1, None], 100.0, "·▁·"),
        ([], 1.0, ""),
    ],
)
def test_bars_have_eight_steps_and_a_mark_for_what_was_not_measured(
    values: list[float | None], full: float, shown: str
) -> None:
    assert line_page.bars(values, full) == shown


def answer(history: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    spread = {"min": 9.0, "mean": 10.0, "p50": 10.0, "p95": 12.0, "p99": 13.0, "max": 14.0}
    record = {
        "sent": 100,
        "received": 99,
        "loss_percent": 1.0,
        "rtt_ms": spread,
        "jitter_ms": spread,
        "mos": 4.4,
    }
    return {
        "line": {"state": "degraded", "codes": ["uplink_loss"], "readings": {"broker_connected": True}},
        "cause": "uplink_loss",
        "reflector": "stamp.example",
        "records": {"60s": record},
        "path": {"gateway": "192.0.2.1", "gateway_answers": True, "hops": 6},
        "history": history,
        **more,
    }


def test_the_page_names_the_cause_its_remedy_the_figures_and_the_path(clock: FakeClock) -> None:
    history = History()
    history.add(minute(clock, rtt_ms=20.0))
    text = "\n".join(line for line, _ in line_page.line_lines(answer(history.minutes()), SAY))
    assert "The line loses data. (uplink_loss)" in text
    assert "ask the line's provider" in text
    assert "99/100" in text
    assert "MOS 4.4" in text
    assert "gateway 192.0.2.1, gateway_answers true" in text
    assert "hops 6" in text


@pytest.mark.parametrize("language", ["vi", "en"])
def test_no_title_touches_what_it_stands_before(clock: FakeClock, language: str) -> None:
    history = History()
    history.add(minute(clock, rtt_ms=20.0))
    record = answer([])["records"]["60s"]
    records = dict.fromkeys(("10s", "60s", "settled", "conference"), record)
    shown = line_page.line_lines(answer(history.minutes(), records=records), wording.speaking(language))
    figures = [line for line, _ in shown if "99/100" in line]
    assert len(figures) == 4
    assert {line.index("99/100") for line in figures} == {figures[0].index("99/100")}
    assert all(line[line.index("99/100") - 2 :].startswith("  ") for line in figures)


def test_a_bad_minute_shows_among_nineteen_good_ones(clock: FakeClock) -> None:
    history = History()
    for number in range(40):
        bad = number == 7
        history.add(
            minute(clock, rtt_ms=20.0, loss_percent=100.0 if bad else 0.0, online=0.0 if bad else 1.0)
        )
    lines = [text for text, _ in line_page.line_lines(answer(history.minutes()), SAY)]
    assert any(text.startswith("  loss") and "█ " in text and "≤ 100.0 %" in text for text in lines)
    assert any(text.startswith("  connected") and text.endswith("░█") for text in lines)


def test_without_a_measuring_point_the_page_says_so(clock: FakeClock) -> None:
    lines = line_page.line_lines(answer([], reflector=None, records={}, cause=None), SAY)
    assert any("No measuring point is set" in text for text, _ in lines)


def test_every_row_stays_within_eighty_columns_of_bars(clock: FakeClock) -> None:
    history = History()
    for number in range(MINUTES):
        history.add(minute(clock, rtt_ms=number / 10))
    rows = [
        text for text, _ in line_page.line_lines(answer(history.minutes()), SAY) if "▁" in text or "█" in text
    ]
    assert rows
    assert all(len(text) < 110 for text in rows)
    assert msgspec.json.encode(history.minutes())
