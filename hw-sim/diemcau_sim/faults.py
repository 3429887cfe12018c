"""The catalogue of faults: what can be broken in the simulated room.

Each fault bears the name of the code that it must lead to (docs/codes.md), and acts below the
backend seam: nothing above knows of it. ``effect`` says what it does in the world.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """``device``: camera, microphone, speaker, audio (both), display, panel, host or line."""

    name: str
    device: str
    effect: str


_EFFECTS: dict[str, dict[str, str]] = {
    "camera": {
        "camera_absent": "the camera is unplugged",
        "camera_hung": "the camera's driver never answers; whoever asks blocks for ever",
        "camera_crashed": "the camera's library crashes the process that uses it (SIGSEGV)",
        "frame_black": "the sensor sees nothing: every pixel is black",
        "frame_frozen": "the same frame comes again and again, bit for bit",
        "frame_dark": "the lights of the room are off",
        "frame_overexposed": "the sun stands in the window: most of the picture is white",
        "frame_blurred": "the lens is out of focus",
        "frame_covered": "something hangs over the lens",
    },
    "microphone": {
        "microphone_absent": "the microphone is unplugged",
        "microphone_silent": "the capsule is dead: only the converter's own noise is left",
        "microphone_muted": "the mixer mutes the microphone",
        "microphone_quiet": "the microphone hears 15 dB too little",
        "microphone_hum": "mains hum of 50 Hz and its harmonics is on the cable",
        "microphone_noisy": "broadband noise is on the cable",
        "microphone_clipping": "the gain is 36 dB too high, so the converter clips",
    },
    "speaker": {
        "speaker_absent": "the speaker is unplugged",
        "speaker_silent": "the amplifier is off",
        "speaker_muted": "the mixer mutes the speaker",
        "speaker_quiet": "the amplifier gives 18 dB too little",
        "speaker_distorted": "the cone is torn: a hard non-linearity",
        "room_echo": "the far wall gives back a strong echo after 180 ms",
    },
    "audio": {
        "audio_hung": "the sound card's driver never answers; whoever asks blocks for ever",
        "audio_crashed": "the sound library crashes the process that uses it (SIGSEGV)",
    },
    "display": {
        "display_absent": "the screen's cable is pulled: no hot-plug, no EDID",
        "display_hung": "the CEC driver never answers; whoever asks blocks for ever",
        "display_crashed": "the display's process crashes (SIGSEGV)",
        "display_standby": "the screen sleeps",
        "display_wrong_input": "the screen shows another input",
        "display_no_cec": "the screen does not answer CEC",
    },
    "panel": {
        "panel_absent": "the panel is unplugged",
        "panel_hung": "the panel's driver never answers; whoever asks blocks for ever",
        "panel_crashed": "the panel's process crashes (SIGSEGV)",
        "button_stuck": "the button stays pressed",
    },
    "host": {
        "disk_full": "the card has 0.5 % left",
        "disk_read_only": "the card takes no writes any more",
        "too_hot": "the processor is at 87 °C",
        "throttled": "the firmware slows the processor down (get_throttled bits 2 and 18)",
        "under_voltage": "the power supply is too weak (get_throttled bits 0 and 16)",
        "memory_low": "2 % of the memory is left",
        "load_high": "the load stands at 5 a core",
        "clock_unsynced": "no time server is heard",
    },
    "line": {
        "cable": "the network cable is pulled: no carrier, nothing passes",
        "negotiated_slow": "a bad cable: 10 Mbit/s, half duplex",
        "wifi_weak": "the kit is on Wi-Fi, at -84 dBm",
        "address": "the router gives out no address: nothing passes",
        "gateway": "the router is dead: nothing passes",
        "dns": "no name server answers; what is connected stays so",
        "clock": "the clock is so wrong that no certificate is valid: nothing passes",
        "mtu": "what is larger than 1280 bytes vanishes",
        "uplink_loss": "the line loses a third of the packets, in bursts",
        "uplink_delay": "the line is 130 ms longer",
        "uplink_jitter": "the line's delay changes by up to 160 ms from packet to packet",
        "centre": "the centre's network is away, the provider's is there: nothing passes",
        "broker": "nothing passes between the room and the broker any more, and no one says so",
        "reflector_silent": "a firewall drops UDP port 862",
    },
}

FAULTS: dict[str, Fault] = {
    name: Fault(name, device, effect)
    for device, effects in _EFFECTS.items()
    for name, effect in effects.items()
}
