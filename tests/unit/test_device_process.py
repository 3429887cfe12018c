"""A device's own process: what it does with ``reopen``, whatever device it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from diemcau_drivers import backends, contract
from diemcau_drivers.__main__ import serve
from diemcau_drivers.confinement import Confinement
from diemcau_drivers.contract import Absent

FREE = Confinement(0, "presence", {}, Path("/"))


class Presence:
    """A backend that says how many of it there were, and may be gone."""

    made = 0
    gone = False
    shut_out = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        if Presence.gone:
            raise Absent("unplugged")
        Presence.made += 1

    def present(self) -> Mapping[str, bool | None]:
        if Presence.shut_out:
            raise PermissionError(13, "Permission denied", "/dev/video0")
        return {"camera": Presence.made > 1}


class Channel:
    """The daemon's end, with all its questions at once; a callable is called in its turn."""

    def __init__(self, *asked: str | Callable[[], None]) -> None:
        self._asked = [*asked]
        self.said: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.said.append(message)

    def receive(self, timeout_s: float | None) -> dict[str, Any] | None:
        while self._asked:
            ask = self._asked.pop(0)
            if callable(ask):
                ask()
                continue
            return {"id": len(self.said), "do": ask, "args": {}}
        return None


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, backend: str) -> type[Presence]:
        return Presence

    monkeypatch.setattr(backends, "load", load)
    Presence.made, Presence.gone, Presence.shut_out = 0, False, False


def ask(*asked: str | Callable[[], None], confinement: Any = FREE) -> list[dict[str, Any]]:
    """The answers, without the greeting."""
    channel: Any = Channel(*asked)
    assert serve("presence", {"backend": "scripted", "options": {}}, channel, confinement) == 0
    return channel.said[1:]


def test_a_device_is_made_once_and_anew_when_it_is_asked_to_reopen() -> None:
    before, again, reopened, after = ask("probe", "probe", contract.REOPEN, "probe")
    assert before["ok"]["camera"] is again["ok"]["camera"] is False
    assert reopened["ok"] == {}
    assert after["ok"]["camera"] is True
    assert Presence.made == 2


def test_a_device_that_is_gone_when_it_is_opened_anew_says_so_and_is_tried_at_the_next_question() -> None:
    def unplug() -> None:
        Presence.gone = True

    def plug() -> None:
        Presence.gone = False

    reopened, probed, later = ask("probe", unplug, contract.REOPEN, "probe", plug, "probe")[1:]
    assert reopened["error"]["kind"] == probed["error"]["kind"] == "absent"
    assert later["ok"]["camera"] is True


def test_the_process_goes_on_though_it_is_asked_for_what_it_cannot_do() -> None:
    assert [answer["error"]["kind"] for answer in ask("dance", "sing")] == ["bad_request", "bad_request"]


def test_what_it_may_not_reach_is_an_answer_and_no_crash() -> None:
    def shut_out() -> None:
        Presence.shut_out = True

    refused, again = ask(shut_out, "probe", "probe")
    assert refused["error"]["kind"] == again["error"]["kind"] == "broken"
    assert "/dev/video0" in refused["error"]["detail"]


@pytest.mark.parametrize("when", ["as it is imported", "as it is first asked"])
def test_a_library_that_is_not_installed_is_an_answer_and_no_crash(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> Any:
        raise ModuleNotFoundError("No module named 'picamera2'")

    if when == "as it is imported":
        monkeypatch.setattr(backends, "load", missing)
    else:
        monkeypatch.setattr(Presence, "present", missing)
    told, again = ask("probe", "probe")
    assert told["error"]["kind"] == again["error"]["kind"] == "broken"
    assert told["error"]["detail"] == "scripted: a library is not installed: No module named 'picamera2'"


def test_a_question_after_its_confinement_is_outgrown_is_left_to_the_next_process() -> None:
    class Outgrown:
        abi = 7
        filtered = True
        asked = 0

        def outgrown(self) -> bool:
            self.asked += 1
            return self.asked > 1

    assert len(ask("probe", "probe", "probe", confinement=Outgrown())) == 1


def test_it_greets_with_what_it_is_shut_in_by() -> None:
    sealed = Confinement(7, "presence", {}, Path("/"))
    sealed.filtered = True
    for confinement, landlock, seccomp in ((FREE, 0, False), (sealed, 7, True)):
        channel: Any = Channel()
        assert serve("presence", {"backend": "scripted", "options": {}}, channel, confinement) == 0
        greeting = channel.said[0]["ready"]
        assert (greeting["landlock"], greeting["seccomp"]) == (landlock, seccomp)
