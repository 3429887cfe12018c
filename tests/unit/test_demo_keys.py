"""What the demo's keys answer to those who press them; nothing runs here but the room's world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diemcau_agent.live import Key
from diemcau_agent.wording import speaking
from diemcau_sim import demo
from diemcau_sim.room import Room

Press = Callable[[str], str]


@pytest.fixture
def press(tmp_path: Path) -> Press:
    """Presses a key in Vietnamese and returns its answer."""
    room = Room(demo.POINT, "mqtt://127.0.0.1:9", tmp_path / "room")
    shown = demo.Demo(room, "mqtt://127.0.0.1:9", "vi")

    def pressed(key: str) -> str:
        found = [item for item in shown.keys(speaking("vi")) if isinstance(item, Key)]
        return next(item for item in found if key in item.hint.key.split("/")).action()

    return pressed


def test_the_button_says_that_it_was_pressed_or_held(press: Press) -> None:
    assert press("t") == press("enter") == "Đã bấm nút."
    assert press("h") == "Đã giữ nút bấm."


def test_a_button_that_nobody_feels_is_no_riddle(press: Press) -> None:
    number = str(demo.ON_KEYS.index("panel_absent") + 1)
    assert press(number) == "panel_absent: đã tạo lỗi"
    assert press("t") == "Bảng nút bấm đang bị lỗi: bấm nút không có tác dụng."
    assert press(number) == "panel_absent: đã hết lỗi"
    assert press("t") == "Đã bấm nút."


def test_what_only_a_selftest_finds_is_said(press: Press) -> None:
    assert "chỉ tự kiểm tra mới phát hiện được" in press(str(demo.ON_KEYS.index("speaker_silent") + 1))
