"""The light and the words on the screen: the most urgent shows, and a dead one holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from diemcau_agent.indicator import PICTURE, PICTURE_S, RETRY_S, SEEN_S, Indicator
from diemcau_agent.worker import Hung
from fakeclock import FakeClock, settle


class Room:
    """The panel's light and the screen: ``dead`` ones refuse, ``hung`` ones never answer."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.dead: set[str] = set()
        self.hung: set[str] = set()
        self.asked = 0

    async def ask(
        self, process: str, do: str, args: Mapping[str, Any] | None = None, *, deadline_s: float | None = None
    ) -> dict[str, Any]:
        assert args is not None
        self.asked += 1
        if process in self.hung:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if process in self.dead:
            raise Hung("no answer")
        (text,) = args.values()
        self.shown.append((process, text))
        return dict(args)

    def last(self, process: str) -> str | None:
        return next((text for one, text in reversed(self.shown) if one == process), None)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
async def indicator(room: Room, clock: FakeClock) -> AsyncIterator[Indicator]:
    made = Indicator(room.ask, clock, "en", lights=True, screen=True)
    task = asyncio.create_task(made.run(), name="indicator")
    await settle()
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_the_most_urgent_of_what_holds_is_shown(room: Room, indicator: Indicator) -> None:
    assert room.last("panel") == "no_broker"
    steps: list[tuple[str, Any, str]] = [
        ("enrolled", False, "enrolling"),
        ("enrolled", True, "no_broker"),
        ("online", True, "degraded"),  # not known yet is not shown as good
        ("readiness", "ready", "ready"),
        ("readiness", "not_ready", "not_ready"),
        ("online", False, "no_broker"),
        ("help", True, "help"),
        ("testing", True, "testing"),
        ("identifying", 1, "identify"),
        ("testing", False, "identify"),
        ("identifying", 0, "help"),
    ]
    for name, value, pattern in steps:
        setattr(indicator, name, value)
        indicator.refresh()
        await settle()
        assert room.last("panel") == pattern, (name, value)


async def test_a_kit_that_is_not_enrolled_says_so_in_words_until_somebody_has_more_to_say(
    room: Room, indicator: Indicator
) -> None:
    for change, words in (
        (lambda: setattr(indicator, "enrolled", False), "This kit is not enrolled yet."),
        (lambda: indicator.say("Self-test passed"), "Self-test passed"),
        (lambda: indicator.say(""), "This kit is not enrolled yet."),
        (lambda: setattr(indicator, "enrolled", True), ""),
    ):
        change()
        indicator.refresh()
        await settle()
        assert room.last("display") == words


async def test_nothing_is_asked_while_nothing_changes(
    room: Room, indicator: Indicator, clock: FakeClock
) -> None:
    asked = room.asked
    for _ in range(5):
        indicator.refresh()
        await clock.advance(600)
    assert room.asked == asked


async def test_a_dead_light_is_tried_again_and_shows_what_holds_by_then(
    room: Room, indicator: Indicator, clock: FakeClock
) -> None:
    room.dead.add("panel")
    indicator.online = True
    indicator.refresh()
    await settle()
    asked = room.asked
    await clock.advance(RETRY_S * 2.5)
    assert room.asked == asked + 2
    indicator.readiness = "ready"
    room.dead.clear()
    await clock.advance(RETRY_S)
    assert room.last("panel") == "ready"


async def test_a_new_process_of_the_panel_gets_its_pattern_again(room: Room, indicator: Indicator) -> None:
    room.shown.clear()
    indicator.forget_light()
    await settle()
    assert room.shown == [("panel", "no_broker")]


async def test_a_hung_screen_holds_up_neither_who_speaks_nor_the_light(
    room: Room, indicator: Indicator
) -> None:
    room.hung.add("display")
    indicator.say("Self-test is running")
    indicator.testing = True
    indicator.refresh()
    await settle()
    assert room.last("panel") == "testing"


async def test_words_stay_until_they_are_taken_away_and_are_in_the_rooms_language(
    room: Room, clock: FakeClock
) -> None:
    made = Indicator(room.ask, clock, "vi", lights=False, screen=True)
    task = asyncio.create_task(made.run(), name="indicator")
    await settle()
    assert room.shown == []  # an empty screen needs no words taken away
    made.say("Self-test is running")
    await settle()
    assert room.last("display") not in (None, "", "Self-test is running")
    made.say("")
    await settle()
    assert room.last("display") == ""
    task.cancel()
    await asyncio.wait([task])


async def test_calls_to_identify_nest_and_what_was_said_before_comes_back(
    room: Room, indicator: Indicator, clock: FakeClock
) -> None:
    indicator.say("Self-test passed")
    calls = [asyncio.create_task(indicator.identify(seconds), name="identify") for seconds in (5, 10)]
    await settle()
    assert (room.last("panel"), room.last("display")) == ("identify", "Here")
    await clock.advance(6)
    assert (room.last("panel"), room.last("display")) == ("identify", "Here")
    calls[1].cancel()
    await asyncio.wait(calls)
    await settle()
    assert (room.last("panel"), room.last("display")) == ("no_broker", "Self-test passed")


async def test_a_room_without_light_and_screen_asks_for_neither(room: Room, clock: FakeClock) -> None:
    made = Indicator(room.ask, clock, "en", lights=False, screen=False)
    made.say("Self-test passed")
    made.forget_light()
    await made.run()
    assert room.asked == 0


# --- A picture of the room


async def test_a_picture_is_told_before_all_else_by_light_and_words_and_for_three_seconds(
    room: Room, indicator: Indicator, clock: FakeClock
) -> None:
    calls = asyncio.create_task(indicator.identify(60), name="identify")
    await settle()
    taken: list[bool] = []

    async def take() -> None:
        async with indicator.picture() as told:
            taken.append(told)

    taking = asyncio.create_task(take(), name="picture")
    await settle()
    assert taken == [True]
    assert (room.last("panel"), room.last("display")) == ("picture", PICTURE)
    await clock.advance(PICTURE_S - 0.1)
    assert not taking.done()
    assert room.last("panel") == "picture"
    await clock.advance(0.2)
    assert taking.done()
    assert (room.last("panel"), room.last("display")) == ("identify", "Here")
    calls.cancel()
    await asyncio.wait([calls])


@pytest.mark.parametrize(
    ("dead", "hung", "seen", "told"),
    [
        ({"panel"}, set[str](), True, True),
        ({"display"}, set[str](), True, True),
        (set[str](), {"display"}, True, True),
        ({"panel", "display"}, set[str](), True, False),
        (set[str](), {"panel", "display"}, True, False),
        ({"panel"}, {"display"}, True, False),
        ({"panel"}, set[str](), False, False),  # words on a screen that is off, or shows another input
    ],
)
async def test_nobody_is_told_where_neither_light_nor_screen_takes_the_sign_in_time(
    room: Room, clock: FakeClock, dead: set[str], hung: set[str], seen: bool, told: bool
) -> None:
    made = Indicator(room.ask, clock, "en", lights=True, screen=True, screen_seen=lambda: seen)
    task = asyncio.create_task(made.run(), name="indicator")
    await settle()
    room.dead, room.hung = dead, hung
    answers: list[bool] = []

    async def take() -> None:
        async with made.picture() as found:
            answers.append(found)

    taking = asyncio.create_task(take(), name="picture")
    await clock.advance(SEEN_S - 0.1)
    assert answers == ([True] if told else [])
    await clock.advance(0.2)
    assert answers == [told]
    await clock.advance(PICTURE_S)
    assert taking.done()
    assert made.pictures == 0
    task.cancel()
    await asyncio.wait([task])


async def test_a_room_with_neither_light_nor_screen_is_told_nothing(room: Room, clock: FakeClock) -> None:
    made = Indicator(room.ask, clock, "en", lights=False, screen=False)
    entering = asyncio.create_task(made.picture().__aenter__(), name="picture")
    await clock.advance(SEEN_S)
    assert await entering is False


async def test_the_sign_goes_when_the_camera_fails(room: Room, indicator: Indicator) -> None:
    with pytest.raises(Hung):
        async with indicator.picture():
            raise Hung("no answer")
    await settle()
    assert room.last("panel") == "no_broker"
