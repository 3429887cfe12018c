"""Why data is not what is wanted: every reason, each at its own place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diemcau_agent.config import Settings
from diemcau_agent.explain import explain


class Room(msgspec.Struct):
    names: dict[str, str] = {}
    places: dict[str, tuple[float, float]] = {}


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ({"names": {"a": "b"}, "places": {"desk": [0.5, 1]}}, []),
        ({"names": 3}, ["names: got 3, expected a table"]),
        (
            {"names": {"a": "b", "c": 4, "d": 5}},
            ["names.c: got 4, expected text", "names.d: got 5, expected text"],
        ),
        ({"places": {"desk": [0.5]}}, ["places.desk: got [0.5], expected a list of a number, a number"]),
    ],
)
def test_in_a_table_of_ones_own_names_each_wrong_entry_is_named(data: Any, errors: list[str]) -> None:
    assert explain(Room, data) == errors


@pytest.mark.parametrize(
    ("view", "error"),
    [
        ([0, 0.5, 0.5], "[0]: got 0, expected a number >= 1 and <= 10"),
        ([11, 0.5, 0.5], "[0]: got 11, expected a number >= 1 and <= 10"),
        ([2, -0.1, 0.5], "[1]: got -0.1, expected a number >= 0 and <= 1"),
        ([2, 0.5, 1.1], "[2]: got 1.1, expected a number >= 0 and <= 1"),
    ],
)
def test_a_preset_that_no_lens_could_show_is_refused_with_the_settings(view: list[float], error: str) -> None:
    data = {"point": "xp-1", "broker": {"urls": ["mqtts://b"]}, "camera": {"presets": {"desk": view}}}
    assert explain(Settings, data) == [f"camera.presets.desk{error}"]
