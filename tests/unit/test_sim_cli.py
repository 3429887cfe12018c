"""The command line: what it prints, what it finds, and its exit codes. And the settings that a room makes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.config import check
from diemcau_sim import configuration
from diemcau_sim.cli import main
from diemcau_sim.faults import FAULTS
from diemcau_sim.server import serving
from diemcau_sim.world import World


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In a place with a short name: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="rooms-") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        directory = Path(place, "diemcau-sim")
        directory.mkdir()
        yield directory


@pytest.fixture
def world(rooms: Path) -> Iterator[World]:
    room = rooms / "xp-0001"
    room.mkdir()
    running = World()
    with serving(running, room / "world.sock"):
        yield running


def test_a_fault_goes_on_and_off_in_the_room_that_runs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fault", "camera_hung", "on"]) == 0
    assert world.faults == {"camera_hung"}
    assert main(["fault", "cable"]) == 0
    assert capsys.readouterr().out == "on: camera_hung\non: cable, camera_hung\n"
    assert main(["fault", "camera_hung", "off"]) == 0
    assert main(["fault", "cable", "off"]) == 0
    assert world.faults == frozenset()
    assert capsys.readouterr().out.endswith("on: nothing\n")


def test_alone_it_lists_all_that_can_be_broken_and_what_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.set_fault("frame_dark", True)
    assert main(["fault"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for fault in FAULTS.values():
        (line,) = [line for line in lines if fault.name in line.split()[:2]]
        assert fault.effect in line
        assert line.strip().startswith("ON") == (fault.name == "frame_dark")


def test_the_catalogue_needs_no_room(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fault"]) == 0
    assert "ON " not in capsys.readouterr().out


def test_people_press_hold_and_reboot(world: World) -> None:
    assert main(["press", "--hold", "30"]) == 0
    assert world.pressed
    assert main(["hold", "camera", "on", "--by", "browser"]) == 0
    assert world.holder("camera") == "browser"
    assert main(["hold", "camera", "off"]) == 0
    assert world.holder("camera") is None
    assert main(["reboot"]) == 0
    assert world.boots == 2


@pytest.mark.parametrize(
    "command", [["fault", "cable", "on"], ["press"], ["hold", "camera", "on"], ["reboot"]]
)
def test_without_a_room_one_line_says_so(
    rooms: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("diemcau-sim: no room runs")
    assert said.count("\n") == 1


def test_of_several_rooms_one_has_to_be_named(
    world: World, rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = World()
    (rooms / "xp-0002").mkdir()
    with serving(other, rooms / "xp-0002" / "world.sock"):
        assert main(["press"]) == 2
        said = capsys.readouterr().err
        assert str(rooms / "xp-0001") in said
        assert str(rooms / "xp-0002") in said
        assert main(["fault", "cable", "on", "--room", str(rooms / "xp-0002")]) == 0
    assert (world.faults, other.faults) == (frozenset(), {"cable"})


def test_a_directory_where_no_room_runs_is_named(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["press", "--room", str(rooms)]) == 2
    assert f"no room runs in {rooms}" in capsys.readouterr().err


def test_what_does_not_exist_cannot_be_broken(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fault", "camera_sad", "on"]) == 2
    assert "camera_sad" in capsys.readouterr().err
    assert main(["press", "--hold", "-1"]) == 2
    assert "hold_s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["--broker", "nowhere"], "broker.urls[0]"),
        (["--broker", "mqtt://127.0.0.1:99999"], "a port from 1 to 65535"),
        (["--broker", "mqtt://127.0.0.1", "--point", "A B/#"], "point: got"),
        (["--broker", "mqtt://127.0.0.1", "--ambient", __file__], "-b 16"),
        (["--broker", "mqtt://127.0.0.1", "--scene", "gone.png"], "gone.png"),
        (["--broker", "mqtt://127.0.0.1", "--ambient", "gone.wav"], "gone.wav"),
        (["--broker", "mqtt://127.0.0.1", "--config", "gone.toml"], "gone.toml"),
        (["--broker", "mqtt://127.0.0.1", "--room", "/tmp/" + "long" * 30], "too long a path"),
    ],
)
def test_a_room_that_cannot_be_says_why_in_one_line(
    rooms: Path, capsys: pytest.CaptureFixture[str], more: list[str], names: str
) -> None:
    assert main(["room", "--point", "xp-0001", *more]) == 2
    said = capsys.readouterr().err
    assert names in said
    assert said.count("\n") == 1


def test_the_settings_of_a_simulated_room_are_the_agents() -> None:
    ours = configuration.bound("xp-0001", "mqtt://127.0.0.1:1", Path("/r"), Path("/r/world.sock"))
    settings = check(configuration.merged(configuration.simulated("xp-0001"), ours))
    assert settings.simulated
    assert (settings.point, settings.commands, settings.broker.urls) == (
        "xp-0001",
        "unsigned",
        ("mqtt://127.0.0.1:1",),
    )
    assert settings.backend_options == {"socket": "/r/world.sock"}


def test_a_file_changes_what_it_names_and_nothing_else() -> None:
    merged = configuration.merged(
        configuration.simulated("xp-0001"), {"probe": {"period_s": 60.0}, "name": "Hall"}
    )
    assert merged["probe"] == configuration.simulated("xp-0001")["probe"] | {"period_s": 60.0}
    assert (merged["name"], merged["backends"]) == ("Hall", "sim")


_PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _PLAIN, max_size=5))
def test_toml_says_again_what_it_was_given(table: dict[str, Any]) -> None:
    assert tomllib.loads(configuration.to_toml(table)) == table


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError):
        configuration.to_toml({"nothing": None})


def test_a_reader_that_has_seen_enough_of_the_list_is_no_error(rooms: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "diemcau_sim.cli", "fault"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
