"""The screen promises: it fits, tells every state by word and symbol, shows nothing old as good, and draws
whatever an agent, older or newer, may say."""

from __future__ import annotations

import itertools
from datetime import timedelta, timezone, tzinfo
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from diemcau_agent import marks, plain, wording
from diemcau_agent.screen import MIN_HEIGHT, MIN_WIDTH, Hint, render
from diemcau_agent.selftest.plan import CHECKS
from diemcau_agent.text import expectation
from diemcau_agent.thresholds import Baseline
from fake_control_room import TIME, judged, report, status

HANOI = timezone(timedelta(hours=7))
HINTS = [
    Hint("t/enter", "press the button"),
    *(Hint(str(number), f"a_fault_of_{number}", on=number == 3) for number in range(1, 10)),
    Hint("", ".venv/bin/diemcau-sim fault camera_hung on"),
]


def lines(
    shown: dict[str, Any],
    width: int = MIN_WIDTH,
    height: int = MIN_HEIGHT,
    *,
    language: str = "en",
    note: str = "",
    live: bool = True,
    zone: tzinfo | None = None,
) -> list[str]:
    """What a terminal without colours would show."""
    console = Console(width=width, record=True, color_system=None, file=StringIO())
    console.print(render(shown, width, language, HINTS, height=height, note=note, live=live, zone=zone))
    return console.export_text().removesuffix("\n").split("\n")


def text(shown: dict[str, Any], **more: Any) -> str:
    return "\n".join(lines(shown, **more))


def troubled() -> dict[str, Any]:
    """As bad as it gets: every part has a long cause and readings, and there is a report and a past."""
    shown = status(
        "not_ready",
        camera=judged(
            "degraded", "frame_covered", readings={"fps": 29.9, "luma_mean": 0.4, "sharpness": 1.0}
        ),
        microphone=judged(
            "degraded",
            "microphone_clipping",
            codes=["microphone_clipping", "microphone_hum"],
            readings={"level_dbfs": -3.0, "noise_floor_dbfs": -20.0, "hum_db": -1.0},
            in_use_by="chromium",
        ),
        speaker=judged("failed", "audio_hung", readings={"volume_percent": 70.0}),
        display=judged("unknown", "display_no_cec", readings={"power": "unknown"}),
        panel=judged("stuck", "panel_hung", readings={"button_held_s": 0.0}),
        host=judged("failed", "disk_read_only", readings={"cpu_percent": 3.1, "temperature_c": 84.0}),
        line=judged("failed", "broker", readings={"rtt_ms_p50": 812.5, "interface": "eth0"}),
    )
    shown["selftest"]["last"] = report("failed")
    change = {"kind": "state", "device": "camera", "from": "ok", "to": "degraded", "code": "frame_covered"}
    shown["events"] = [{**change, "time": TIME}] * 20
    return shown


@pytest.mark.parametrize(
    ("width", "height", "language"), list(itertools.product((80, 100, 200), (24, 30, 60), ("en", "vi")))
)
@pytest.mark.parametrize("shown", [status(), troubled(), {}], ids=["good", "troubled", "nothing_yet"])
def test_it_fills_the_terminal_and_never_more(
    shown: dict[str, Any], width: int, height: int, language: str
) -> None:
    drawn = lines(shown, width=width, height=height, language=language, note="the camera is back")
    assert len(drawn) == height
    assert max(cell_len(line) for line in drawn) <= width
    assert drawn[-1].strip() == HINTS[-1].words
    assert any("the camera is back" in line for line in drawn)


def test_at_80_by_24_every_part_the_report_and_the_newest_event_are_seen() -> None:
    drawn = text(troubled())
    for name in marks.PARTS:
        assert f" {marks.PART_NAMES[name]} " in drawn
    assert "✗ failed" in drawn
    assert "Sound loop" in drawn
    assert "Unmute" in drawn or "unmute" in drawn
    assert "ok → degraded" in drawn


@pytest.mark.parametrize("state", list(marks.STATES))
def test_a_state_is_told_without_its_colour(state: str) -> None:
    row = next(line for line in lines(status("degraded", camera=judged(state))) if " camera " in line)
    assert f"{marks.STATES[state].symbol} {marks.STATES[state].word}" in row
    others = [mark.symbol for name, mark in marks.STATES.items() if name != state]
    assert not any(symbol in row for symbol in others)


@pytest.mark.parametrize(("readiness", "mark"), list(marks.READINESS.items()))
def test_readiness_is_big_and_told_without_its_colour(readiness: str, mark: marks.Mark) -> None:
    assert f"{mark.symbol}  {' '.join(mark.word)}" in lines(status(readiness))[2]


def test_a_long_reason_is_worth_more_than_big_letters() -> None:
    shown = status("not_ready")
    shown["health"]["reasons"] = ["audio_hung", "panel_absent", "cable"]
    banner = lines(shown, language="vi")[2]
    assert "CHƯA SẴN SÀNG   Thiết bị âm thanh không phản hồi kịp thời. (+2)" in banner
    assert "C H Ư A" in lines(shown, 120, language="vi")[2]


def test_a_room_that_is_not_ready_without_a_code_says_what_is_not_known() -> None:
    held = status("degraded", camera=judged("unknown", in_use_by="codec"))
    held["health"]["reasons"] = []
    assert "Not known: camera." in lines(held)[2]
    assert "Chưa rõ: camera." in lines(held, language="vi")[2]


def test_causes_readings_and_holder_are_in_plain_words() -> None:
    drawn = text(
        status(
            "degraded",
            camera=judged("ok", in_use_by="chromium"),
            microphone=judged("degraded", "microphone_muted", readings={"level_dbfs": -42.26}),
            speaker=judged("ok", in_use_by="other"),
        ),
        width=120,
    )
    assert "In use by chromium." in drawn
    assert "In use by another program." in drawn
    assert "The microphone is muted." in drawn
    assert "level -42 dBFS" in drawn
    assert "CPU 3 % · 51 °C · disk free 71 %" in drawn


def test_a_device_that_the_room_should_not_have_has_no_row() -> None:
    shown = status()
    del shown["health"]["devices"]["display"]
    assert not any(" display " in line for line in lines(shown))


def test_while_the_agent_does_not_answer_nothing_is_shown_as_good() -> None:
    drawn = text(status(), live=False)
    assert "✓" not in drawn
    assert "R E A D Y" not in drawn
    assert "N O T   K N O W N" in drawn
    assert "the agent does not answer" in drawn


def test_a_running_selftest_shows_each_step_and_how_far_it_is() -> None:
    shown = status()
    steps = [
        {"name": "camera_picture", "state": "passed", "code": None, "done": 1, "total": 9},
        {"name": "sound_loop", "state": "running", "code": None, "done": 1, "total": 9},
    ]
    shown["selftest"] = {"running": {"scope": "quick", "total": 9, "steps": steps}, "last": report("failed")}
    drawn = text(shown)
    assert "quick · running 1/9" in drawn
    assert "✓ Camera picture" in drawn
    assert "… Sound loop" in drawn
    assert "Unmute" not in drawn


def test_the_last_report_says_what_to_do() -> None:
    shown = status("degraded")
    shown["selftest"]["last"] = report("failed")
    drawn = text(shown, width=160, zone=HANOI)
    assert "quick · ✗ failed · 4.2 s · 14:30:00" in drawn
    assert "→ Press the microphone's mute button" in drawn


def test_events_come_newest_first_in_the_rooms_own_time() -> None:
    shown = status()
    shown["events"] = [
        {
            "kind": "state",
            "device": "camera",
            "from": "ok",
            "to": "absent",
            "code": "camera_absent",
            "time": TIME,
        },
        {"kind": "restart", "device": "camera", "time": "2026-11-22T07:31:10.250Z"},
    ]
    drawn = lines(shown, zone=HANOI)
    newest = next(index for index, line in enumerate(drawn) if "14:31:10" in line)
    assert "restart" in drawn[newest]
    assert "14:30:00  camera  ok → absent  No camera is connected." in drawn[newest + 1]


def test_what_only_a_newer_agent_knows_is_shown_by_its_name() -> None:
    shown = status("degraded", camera=judged("degraded", "frame_purple"))
    shown["selftest"]["last"] = {
        **report(),
        "steps": [{"name": "smell", "device": "nose", "result": "passed"}],
    }
    shown["events"] = [{"kind": "moon_phase", "time": "no time", "device": "moon", "code": "moon_absent"}]
    drawn = text(shown)
    assert "frame_purple" in drawn
    assert "✓ smell" in drawn
    assert "moon_absent" in drawn


def test_numbers_carry_the_languages_own_decimal_sign() -> None:
    shown = status(line=judged(readings={"rtt_ms_p50": 12.34}))
    assert "12.3 ms" in text(shown)
    assert "12,3 ms" in text(shown, language="vi")


def test_a_name_cannot_move_the_cursor_or_colour_the_screen() -> None:
    shown = status()
    shown["birth"]["name"] = "\x1b[2J\x1b[31mred\nnext\ttab\x07\u202e"
    drawn = lines(shown)
    assert len(drawn) == MIN_HEIGHT
    assert all(line.isprintable() for line in drawn)
    assert "red next tab" in drawn[0]


@pytest.mark.parametrize("name", sorted(CHECKS))
@pytest.mark.parametrize("language", ["en", "vi"])
def test_what_a_step_expected_is_told_with_the_rooms_numbers(name: str, language: str) -> None:
    baseline = Baseline(time=TIME, readings={"camera": {"sharpness": 812.0}})
    step = {"name": name, "expected": expectation(CHECKS[name].expected, "en", baseline)}
    told = wording.expected(step, wording.speaking(language))
    assert told == expectation(CHECKS[name].expected, language, baseline)


def test_an_expectation_of_another_version_stays_as_it_came() -> None:
    assert wording.expected({"name": "sound_loop", "expected": "bells"}, wording.speaking("vi")) == "bells"
    assert wording.expected({"name": "smell", "expected": "roses"}, wording.speaking("vi")) == "roses"


def test_a_switch_that_is_on_is_marked_without_its_colour() -> None:
    drawn = text(status())
    assert "[3]●a_fault_of_3" in drawn
    assert "[4] a_fault_of_4" in drawn


def test_the_screen_exports_as_a_picture() -> None:
    console = Console(width=100, record=True, file=StringIO(), force_terminal=True)
    console.print(render(status(), 100, "vi", HINTS))
    svg = console.export_svg(title="diemcau")
    assert svg.startswith("<svg")
    assert "camera" in svg


Strategy = st.SearchStrategy[Any]


def table(required: dict[str, Strategy], **optional: Strategy) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


_WORDS = st.text(max_size=60)
_READING = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _WORDS
_KNOWN_READINGS = sorted({shown.reading for row in marks.READINGS.values() for shown in row})
_JUDGED = table(
    {},
    state=st.sampled_from(list(marks.STATES)) | _WORDS,
    code=st.none() | st.sampled_from(["camera_hung", "cable"]) | _WORDS,
    codes=st.lists(_WORDS, max_size=4),
    in_use_by=st.none() | _WORDS,
    readings=st.dictionaries(st.sampled_from(_KNOWN_READINGS), _READING, max_size=5),
)
_STEP = table(
    {"name": _WORDS}, result=st.sampled_from(["passed", "failed"]), code=st.none() | _WORDS, state=_WORDS
)
_STATUS = table(
    {},
    birth=st.none() | table({"point": _WORDS, "name": _WORDS, "place": st.lists(_WORDS, max_size=4)}),
    health=st.none()
    | table(
        {"readiness": st.sampled_from(list(marks.READINESS)), "reasons": st.lists(_WORDS, max_size=5)},
        devices=st.dictionaries(st.sampled_from(marks.PARTS[:5]), _JUDGED),
        host=_JUDGED,
        line=_JUDGED,
    ),
    connection=st.none() | table({"state": _WORDS}),
    selftest=table(
        {},
        running=st.none() | table({"scope": _WORDS, "steps": st.lists(_STEP, max_size=12)}),
        last=st.none() | table({"result": _WORDS, "steps": st.lists(_STEP, max_size=12)}),
    ),
    events=st.lists(table({"kind": _WORDS, "time": _WORDS}, to=_WORDS, device=_WORDS), max_size=30),
)


@settings(max_examples=60, deadline=None)
@given(shown=_STATUS, width=st.integers(80, 200), height=st.integers(24, 60), live=st.booleans())
def test_whatever_an_agent_says_is_drawn_within_the_terminal(
    shown: dict[str, Any], width: int, height: int, live: bool
) -> None:
    drawn = lines(shown, width=width, height=height, live=live)
    assert len(drawn) == height
    assert max(cell_len(line) for line in drawn) <= width


def test_what_was_not_tested_says_why_and_who_holds_it() -> None:
    step = {
        "name": "camera_picture", "device": "camera", "result": "not_tested", "code": None,
        "measured": {"in_use_by": "chromium"}, "expected": "", "remedy": None, "reason": "in_use",
    }  # fmt: skip
    assert wording.untested(step, wording.speaking("en")) == "in use (chromium)"
    assert wording.untested(step, wording.speaking("vi")) == "đang được dùng (chromium)"
    report = {"result": "partial", "scope": "quick", "duration_ms": 10, "steps": [step]}
    lines = [text for text, _ in plain.report_lines(report, "en")]
    assert any("not tested: in use (chromium)" in line for line in lines)
