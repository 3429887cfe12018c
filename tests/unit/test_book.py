"""What the room is like, and who gets to know."""

from __future__ import annotations

import pytest

from diemcau_agent.book import HealthBook, differs, judged
from diemcau_agent.health import DeviceHealth, Observation
from fakeclock import FakeClock

ABSENT = Observation(("camera_absent",), frozenset({"camera_absent"}), known=False)


def good(**readings: float) -> Observation:
    return Observation((), frozenset({"camera_absent"}), readings=readings)


def test_what_a_room_should_not_have_is_never_missed(clock: FakeClock) -> None:
    book = HealthBook(("display",), clock)
    book.apply("camera", ABSENT)
    assert set(book.parts) == {"display", "host", "line"}


def test_listeners_hear_every_look_with_what_was_before(clock: FakeClock) -> None:
    book = HealthBook(("camera",), clock)
    heard: list[tuple[str, str, str]] = []
    book.listen(lambda part, before, after: heard.append((part, before.state, after.state)))
    for observation in (good(), good(), ABSENT):
        book.apply("camera", observation)
    assert heard == [("camera", "unknown", "ok"), ("camera", "ok", "ok"), ("camera", "ok", "absent")]


def test_a_room_is_unknown_until_all_of_it_was_looked_at(clock: FakeClock) -> None:
    book = HealthBook(("camera",), clock)
    for part in ("camera", "host"):
        book.apply(part, good())
    assert book.readiness() == ("unknown", ())
    book.apply("line", good())
    assert book.readiness() == ("ready", ())


OK = DeviceHealth("ok", checked_s=1.0, readings={"luma_mean": 0.4})


@pytest.mark.parametrize(
    ("after", "news"),
    [
        (DeviceHealth("ok", checked_s=9.0, readings={"luma_mean": 0.5}), False),
        (DeviceHealth("degraded", ("frame_dark",), checked_s=9.0), True),
        (DeviceHealth("ok", checked_s=9.0, in_use_by="chromium"), True),
        (DeviceHealth("ok", checked_s=None), True),
    ],
)
def test_readings_alone_are_no_news(after: DeviceHealth, news: bool) -> None:
    assert differs(OK, after) is news


def test_another_code_of_the_same_state_is_news() -> None:
    dark = DeviceHealth("degraded", ("frame_dark",), checked_s=1.0)
    assert differs(dark, DeviceHealth("degraded", ("frame_blurred",), checked_s=1.0))
    assert differs(dark, DeviceHealth("degraded", ("frame_dark", "frame_blurred"), checked_s=1.0))


def test_on_the_wire_the_worst_code_leads_and_times_are_rfc_3339() -> None:
    health = DeviceHealth(
        "degraded", ("frame_dark", "frame_blurred"), 1_795_332_600.0, None, {"luma_mean": 0.123456}, "other"
    )
    document = judged(health)
    assert (document.code, document.codes) == ("frame_dark", ("frame_dark", "frame_blurred"))
    assert (document.since, document.checked) == ("2026-11-22T07:30:00.000Z", None)
    assert (document.readings, document.in_use_by) == ({"luma_mean": 0.123}, "other")


def test_a_devices_readings_tell_whether_its_process_is_confined_and_the_hosts_how_many_are(
    clock: FakeClock,
) -> None:
    book = HealthBook(("camera", "microphone", "speaker"), clock)
    assert book.judged()["camera"].readings == {}, "nothing is said of a process that never was"
    book.confined.update(camera=True, audio=False)
    told = {part: judged.readings for part, judged in book.judged().items()}
    assert told == {
        "camera": {"confined": True},
        "microphone": {"confined": False},
        "speaker": {"confined": False},
        "host": {"processes": 2, "processes_confined": 1},
        "line": {},
    }
