"""The catalogue of codes (docs/codes.md is generated from it). Pure.

A code names what is wrong, never where it was noticed. Its bound says how soon a room shows it:

* ``GONE_S``: a device gone or hung, counted from when it is asked;
* ``HOST_LINE_S``: the host and the line, and a button that is held down;
* ``PROBE``: picture and sound, one probe period (``probe.period_s``);
* ``SURVEY_S``: large packets on the line, which a thin one cannot afford every minute; in trouble at once;
* ``SELFTEST``: found by the self-test only, as nobody wants tones in an empty hall at night.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from .model import STATES, State

Bound = Literal["gone", "host_line", "probe", "survey", "selftest"]
GONE_S = 15.0
HOST_LINE_S = 60.0
SURVEY_S = 1000.0


class Code(msgspec.Struct, frozen=True):
    """``devices``: what it can be of. ``cause``, ``remedy``: English, translated by gettext (text.py)."""

    name: str
    devices: tuple[str, ...]
    state: State
    bound: Bound
    cause: str
    remedy: str

    def bound_s(self, probe_period_s: float) -> float | None:
        """Seconds after which it shows at the latest; None where only a self-test finds it."""
        match self.bound:
            case "gone":
                return GONE_S
            case "host_line":
                return HOST_LINE_S
            case "survey":
                return SURVEY_S
            case "probe":
                return probe_period_s
            case "selftest":
                return None


def _rows(devices: tuple[str, ...], state: State, bound: Bound, *rows: tuple[str, str, str]) -> list[Code]:
    return [Code(name, devices, state, bound, cause, remedy) for name, cause, remedy in rows]


# One group a device and state; within a state the worse code comes first, as worst() orders them.
# fmt: off
_CATALOGUE: list[list[Code]] = [
    _rows(("camera",), "failed", "gone",
        ("camera_hung", "The camera does not answer in time.",
         "Restart the camera. If it hangs again, pull its cable for 10 seconds, then try another port."),
        ("camera_crashed", "The camera's driver crashed.",
         "Restart the camera. If it crashes again, replace its cable, then the camera.")),
    _rows(("camera",), "failed", "probe",
        ("frame_black", "The picture is black.",
         "Take off the lens cap, open the privacy shutter and switch on the lights of the room."),
        ("frame_frozen", "The picture stands still.",
         "Restart the camera. If the picture freezes again, replace the camera's cable.")),
    _rows(("camera",), "absent", "gone",
        ("camera_absent", "No camera is connected.",
         "Check both ends of the camera's cable, then try another port or another cable.")),
    _rows(("camera",), "degraded", "probe",
        ("frame_covered", "Something covers the lens: the picture is one even surface.",
         "Take away what is in front of the lens and open the privacy shutter."),
        ("frame_overexposed", "Much of the picture is burnt out: too much light.",
         "Close the curtains, or turn the camera away from the window or the lamp."),
        ("frame_dark", "The picture is too dark.",
         "Switch on the lights of the room; check that no lamp stands behind the speakers' table."),
        ("frame_blurred", "The picture is not sharp.",
         "Wipe the lens with a soft dry cloth, then set the focus on the place of the chairman.")),

    _rows(("microphone",), "failed", "probe",
        ("microphone_silent", "The microphone gives no sound at all.",
         "Check the microphone's own switch, its cable and its battery or phantom power.")),
    _rows(("microphone",), "absent", "gone",
        ("microphone_absent", "No microphone is connected.",
         "Check both ends of the microphone's cable, then try another USB port.")),
    _rows(("microphone",), "degraded", "probe",
        ("microphone_muted", "The microphone is muted.",
         "Press the microphone's mute button, or unmute it on this kit."),
        ("microphone_quiet", "The microphone is too quiet.",
         "Raise the microphone's gain, or bring it nearer to the people who speak."),
        ("microphone_clipping", "The microphone is overloaded: the sound is cut off at its peaks.",
         "Lower the microphone's gain, or move it away from the loudspeaker."),
        ("microphone_hum", "The microphone picks up mains hum.",
         "Lead the sound cable away from power cables, and plug mixer and kit into the same power strip."),
        ("microphone_noisy", "There is too much noise in the microphone.",
         "Switch off fans and air conditioning near the microphone, close the doors, then lower its gain.")),

    _rows(("microphone", "speaker"), "failed", "gone",
        ("audio_hung", "The sound device does not answer in time.",
         "Restart the sound. If it hangs again, pull the sound device's USB cable for 10 seconds."),
        ("audio_crashed", "The sound device's driver crashed.",
         "Restart the sound. If it crashes again, replace the USB cable, then the sound device.")),

    _rows(("speaker",), "failed", "selftest",
        ("speaker_silent", "The test sound does not come out of the speaker.",
         "Check that the speaker has power, that its cable is plugged in and that its own volume is up.")),
    _rows(("speaker",), "absent", "gone",
        ("speaker_absent", "No speaker is connected.",
         "Check both ends of the speaker's cable; on HDMI sound, check that the television is connected.")),
    _rows(("speaker",), "degraded", "probe",
        ("speaker_muted", "The speaker is muted, or its volume is at zero.",
         "Unmute the speaker and raise its volume.")),
    _rows(("speaker",), "degraded", "selftest",
        ("speaker_quiet", "The speaker is too quiet.",
         "Raise the volume on this kit and on the speaker or amplifier itself."),
        ("speaker_distorted", "The speaker's sound is distorted.",
         "Lower the volume of the speaker or amplifier. If the sound stays harsh, replace the speaker."),
        ("room_echo", "The room sends back a strong echo.",
         "Move the microphone nearer to the people, draw the curtains, and switch on echo cancelling.")),

    _rows(("display",), "failed", "gone",
        ("display_hung", "The display's control does not answer in time.",
         "Restart the display's control. If it hangs again, unplug the display for 10 seconds."),
        ("display_crashed", "The display's driver crashed.",
         "Restart the display's control. If it crashes again, replace the HDMI cable.")),
    _rows(("display",), "absent", "gone",
        ("display_absent", "No display is connected.",
         "Check the HDMI cable at both ends, and that the display has power.")),
    _rows(("display",), "degraded", "probe",
        ("display_standby", "The display is in standby.",
         "Switch the display on with its remote control."),
        ("display_wrong_input", "The display shows another input.",
         "Choose the HDMI input of this kit with the display's remote control.")),
    _rows(("display",), "unknown", "probe",
        ("display_no_cec", "The display does not answer over HDMI, so its power is not known.",
         "Switch on HDMI-CEC in the display's menu (Anynet+, Simplink, Bravia Sync). "
         "If it has none, look at the screen.")),

    _rows(("panel",), "failed", "gone",
        ("panel_hung", "The button panel does not answer in time.",
         "Restart the panel. If it hangs again, switch the kit off and on."),
        ("panel_crashed", "The button panel's driver crashed.",
         "Restart the panel. If it crashes again, check the panel's wires.")),
    _rows(("panel",), "failed", "host_line",
        ("button_stuck", "The button has been held down for too long.",
         "Free the button: see that nothing leans on it. If it stays down, replace it.")),
    _rows(("panel",), "absent", "gone",
        ("panel_absent", "No button panel is connected.",
         "Check the plug of the panel on the kit's pins.")),

    _rows(("host",), "failed", "host_line",
        ("disk_read_only", "The kit can no longer write to its memory card.",
         "Restart the kit. If it happens again, replace the memory card: it is worn out."),
        ("disk_full", "The kit's memory card is full.",
         "Delete what does not belong there. If it fills up again, put in a larger memory card."),
        ("too_hot", "The kit is too hot.",
         "Free its air slots, take it out of the closed cabinet, and check its fan.")),
    _rows(("host",), "degraded", "host_line",
        ("under_voltage", "The kit's power supply is too weak.",
         "Use the official power supply and a short thick cable; unplug what draws power over USB."),
        ("throttled", "The kit has slowed itself down.",
         "Give it air to cool down, and check its power supply."),
        ("memory_low", "The kit is short of memory.",
         "Close programs that nobody needs, then restart the kit."),
        ("load_high", "The kit has too much to do.",
         "Close programs that nobody needs; if it stays so, restart the kit."),
        ("clock_unsynced", "The kit's clock is not set by a time server.",
         "Check that the network lets time (NTP, UDP port 123) through, or name the local time server.")),

    _rows(("line",), "failed", "host_line",
        ("cable", "The network cable is unplugged or broken.",
         "Check the network cable at the kit and at the switch: the lights at the plug must be on."),
        ("address", "The kit has got no network address.",
         "Check the cable to the right port of the switch, and that the router gives out addresses (DHCP)."),
        ("gateway", "The router does not answer.",
         "Switch the router off and on; check the cable between router and switch."),
        ("broker", "The centre's server cannot be reached.",
         "Check that the internet works and the firewall lets this kit out (ports 8883 and 443). "
         "If so, call the centre.")),
    _rows(("line",), "degraded", "host_line",
        ("dns", "Names on the network cannot be looked up.",
         "Check the name server (DNS) in the router's settings."),
        ("uplink_loss", "The line loses data.",
         "Check the network cable, stop large downloads, and ask the line's provider to test the line."),
        ("uplink_delay", "The line's delay is too long.",
         "Stop large downloads and uploads, and ask the line's provider to test the line."),
        ("uplink_jitter", "The line's delay changes too much.",
         "Use a cable in place of Wi-Fi, and stop large downloads and uploads."),
        ("negotiated_slow", "The network cable works at a low speed only.",
         "Replace the network cable (Cat 5e or better) and check the plugs at both ends."),
        ("wifi_weak", "The Wi-Fi signal is weak.",
         "Use a network cable, or bring kit and Wi-Fi router nearer to each other."),
        ("clock", "The kit's clock is so wrong that the centre's server cannot be trusted.",
         "Check that the network lets time (NTP, UDP port 123) through; then restart the kit."),
        ("centre", "The line is good as far as the provider, but not to the centre.",
         "Nothing to mend in this room: tell the centre.")),
    _rows(("line",), "degraded", "survey",
        ("mtu", "Large packets do not pass the line.",
         "Set the MTU in the router as the line's provider says (often 1492).")),
    _rows(("line",), "unknown", "host_line",
        ("reflector_silent", "The centre's measuring point does not answer.",
         "Check that the firewall lets UDP port 862 out; if it does, tell the centre.")),
]
# fmt: on

CODES: dict[str, Code] = {code.name: code for group in _CATALOGUE for code in group}
_RANK = {name: (STATES.index(code.state), position) for position, (name, code) in enumerate(CODES.items())}


def worst(codes: Iterable[str]) -> tuple[str, ...]:
    """``codes`` once each, worst first: by state, then as the catalogue has them. KeyError: no such code."""
    return tuple(sorted(set(codes), key=_RANK.__getitem__))


def state_of(codes: Iterable[str]) -> State:
    """The state in which ``codes`` together put their device; "ok" where there are none."""
    ordered = worst(codes)
    return CODES[ordered[0]].state if ordered else "ok"
