"""The room's state: faults, settings that are faults, the button, the lights, the Pi's own readings."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from diemcau_agent.codes import CODES
from diemcau_agent.judges import judge
from diemcau_sim.faults import FAULTS
from diemcau_sim.world import World


def test_every_code_can_be_made_and_no_other() -> None:
    assert set(FAULTS) == set(CODES)
    for fault in FAULTS.values():
        owners = CODES[fault.name].devices
        assert fault.device in owners or (fault.device == "audio" and "microphone" in owners)


def test_a_healthy_room_has_no_fault() -> None:
    assert World().faults == frozenset()


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_a_fault_goes_on_and_off(code: str) -> None:
    world = World()
    world.set_fault(code, True)
    assert world.faults == {code}
    world.set_fault(code, False)
    assert world.faults == frozenset()


def test_there_is_no_fault_of_another_name() -> None:
    with pytest.raises(KeyError):
        World().set_fault("camera_sad", True)


MENDED: dict[str, Callable[[World], None]] = {
    "microphone_muted": lambda world: world.set_microphone(muted=False),
    "speaker_muted": lambda world: world.set_speaker(muted=False),
    "display_standby": lambda world: world.set_screen(power="on"),
    "display_wrong_input": lambda world: world.set_screen(input="kit"),
}


@pytest.mark.parametrize("code", sorted(MENDED))
def test_what_is_a_setting_is_mended_by_setting_it(code: str) -> None:
    world = World()
    world.set_fault(code, True)
    MENDED[code](world)
    assert world.faults == frozenset()


def test_muting_from_afar_is_the_same_as_the_fault() -> None:
    world = World()
    world.set_microphone(muted=True)
    assert world.faults == {"microphone_muted"}


def test_clearing_takes_every_fault_away() -> None:
    world = World()
    for code in FAULTS:
        world.set_fault(code, True)
    world.clear_faults()
    assert world.faults == frozenset()


@pytest.mark.parametrize("code", sorted(name for name, fault in FAULTS.items() if fault.device == "host"))
def test_each_fault_of_the_host_is_judged_as_its_own_code(code: str) -> None:
    world = World()
    assert judge("host", world.host()) == ()
    world.set_fault(code, True)
    assert judge("host", world.host()) == (code,)
    world.set_fault(code, False)
    assert judge("host", world.host()) == ()


def test_the_firmware_remembers_low_voltage_until_the_next_boot() -> None:
    world = World()
    world.set_fault("under_voltage", True)
    assert world.host()["throttled_bits"] == 0x10001
    world.set_fault("under_voltage", False)
    assert world.host()["throttled_bits"] == 0x10000
    world.reboot()
    assert world.host()["throttled_bits"] == 0


def test_uptime_begins_anew_with_a_boot() -> None:
    now = [100.0]
    world = World(clock=lambda: now[0])
    now[0] = 160.0
    assert world.host()["uptime_s"] == 60.0
    world.reboot()
    assert (world.host()["uptime_s"], world.boots) == (0.0, 2)


def test_a_pulled_cable_has_no_carrier_and_cuts_the_line() -> None:
    world = World()
    assert world.interface()["carrier"] is True
    assert not world.line_cut
    world.set_fault("cable", True)
    assert world.interface()["carrier"] is False
    assert world.line_cut
    world.clear_faults()
    world.set_fault("broker", True)
    assert world.interface()["carrier"] is True
    assert world.line_cut


@pytest.mark.parametrize("code", [code for code, fault in FAULTS.items() if fault.device == "line"])
def test_a_survey_of_a_broken_line_finds_what_is_broken_or_leaves_it_to_the_measurement(code: str) -> None:
    world = World()
    world.set_fault(code, True)
    readings = {**world.interface(), **world.path(near_only=False), "broker_connected": not world.line_cut}
    measured = ("uplink_loss", "uplink_delay", "uplink_jitter", "reflector_silent", "centre")
    assert (code in judge("line", readings)) == (code not in measured)
    assert ("gateway" in world.path(near_only=True)) == (code not in ("cable", "address"))
    assert "hops" not in world.path(near_only=True)


def test_a_press_goes_down_and_comes_up_by_itself() -> None:
    world = World()
    moves: list[bool] = []
    up = threading.Event()

    def listener(pressed: bool) -> None:
        moves.append(pressed)
        if not pressed:
            up.set()

    world.listen(listener)
    world.press(0.01)
    assert world.pressed or up.is_set()
    assert up.wait(5.0)
    assert moves == [True, False]


def test_pressing_again_is_one_long_press() -> None:
    world = World()
    moves: list[bool] = []
    up = threading.Event()
    world.listen(lambda pressed: moves.append(pressed) or (None if pressed else up.set()))
    world.press(0.1)
    world.press(0.15)
    assert up.wait(5.0)
    assert moves == [True, False]


def test_a_stuck_button_stays_down() -> None:
    world = World()
    moves: list[bool] = []
    forget = world.listen(moves.append)
    world.set_fault("button_stuck", True)
    assert world.pressed
    world.set_fault("button_stuck", False)
    assert not world.pressed
    assert moves == [True, False]
    forget()
    world.set_fault("button_stuck", True)
    assert moves == [True, False]


def test_lights_and_sounds_are_remembered_with_their_times() -> None:
    now = [5.0]
    world = World(clock=lambda: now[0])
    world.set_light((0.0, 1.0, 0.0))
    world.set_light((0.0, 1.0, 0.0))
    now[0] = 6.0
    world.set_light((1.0, 0.0, 0.0))
    world.note_played(0.5, -20.0)
    assert [(lit.at_s, lit.light) for lit in world.lit] == [(5.0, (0.0, 1.0, 0.0)), (6.0, (1.0, 0.0, 0.0))]
    assert [(sound.at_s, sound.seconds) for sound in world.played] == [(6.0, 0.5)]


def test_watchers_hear_of_each_change_until_they_leave() -> None:
    world = World()
    seen: list[frozenset[str]] = []
    forget = world.watch(lambda: seen.append(world.faults))
    world.set_fault("cable", True)
    world.hold("camera", "codec")
    forget()
    world.set_fault("cable", False)
    assert seen == [{"cable"}, {"cable"}]
    assert world.holder("camera") == "codec"


def test_only_camera_and_sound_can_be_taken() -> None:
    with pytest.raises(KeyError):
        World().hold("panel", "codec")
