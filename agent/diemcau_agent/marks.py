"""The marks and words of a room's parts, states, readings and events: tables, in English. Pure.

Every word here goes through a translator before people see it (:mod:`.wording`).
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("camera", "microphone", "speaker", "display", "panel", "host", "line")
"""The rows of a room, in the order in which people read them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A state as people see it: a symbol, a word and a colour's name, never the colour alone."""

    symbol: str
    word: str
    tone: str


STATES = {
    "ok": Mark("✓", "ok", "good"),
    "degraded": Mark("▲", "degraded", "fair"),
    "failed": Mark("✗", "failed", "bad"),
    "absent": Mark("○", "absent", "bad"),
    "stuck": Mark("■", "stuck", "bad"),
    "unknown": Mark("?", "unknown", "dim"),
}
READINESS = {
    "ready": Mark("✓", "READY", "good"),
    "degraded": Mark("▲", "DEGRADED", "fair"),
    "not_ready": Mark("✗", "NOT READY", "bad"),
    "unknown": Mark("?", "NOT KNOWN YET", "dim"),
}
RESULTS = {
    "failed": Mark("✗", "failed", "bad"),
    "partial": Mark("▲", "partial", "fair"),
    "running": Mark("…", "running", "dim"),
    "not_tested": Mark("–", "not tested", "dim"),
    "passed": Mark("✓", "passed", "good"),
}
"""Of a step or a run, those that people should see first before the others."""
REASONS = {
    "in_use": "in use",
    "switched_off": "switched off",
    "cancelled": "cancelled",
    "out_of_time": "no time was left",
    "unsupported": "this device cannot tell",
    "no_reading": "the device told nothing",
    "no_answer": "no answer",
}
"""Why a step was not tested (docs/wire.md); any other reason is the code that stands in its way."""
ONLINE = Mark("●", "online", "good")
CONNECTIONS = {
    "online": ONLINE,
    "connecting": Mark("…", "connecting", "fair"),
    "enrolling": Mark("○", "not enrolled yet", "bad"),
    "offline": Mark("○", "no broker", "bad"),
}
AWAY = Mark("○", "the agent does not answer", "bad")
PART_NAMES = {
    "camera": "camera",
    "microphone": "microphone",
    "speaker": "speaker",
    "display": "display",
    "panel": "panel",
    "host": "kit",
    "line": "line",
}
EVENTS = {
    "readiness": "room",
    "selftest": "self-test",
    "command": "command",
    "command_refused": "commands refused",
    "keys": "list of keys",
    "keys_refused": "lists of keys refused",
    "conference": "conference",
    "conference_refused": "conferences refused",
    "outage": "outage",
    "healing": "self-healing",
    "line_conference": "line in the conference",
    "agent_started": "agent started",
    "agent_stopping": "agent stopping",
    "update": "software update",
    "button": "button",
    "help_called": "someone calls for help",
    "help_ended": "no more help is needed",
    "baseline_recorded": "baseline recorded",
    "baseline_unreadable": "baseline unreadable",
    "dropped": "records lost",
    "spool_replaced": "new store of records",
}
"""Kinds of events; others are shown by their own name."""
PATH_NAMES = {
    "interface": "network interface",
    "router": "router",
    "dns": "name server",
    "clock": "time source",
    "route": "route",
    "broker": "server",
    "reflector": "measuring point",
    "second": "second way out",
}
"""The line's links, from near to far."""
VALUES = {
    "on": "on",
    "off": "off",
    "standby": "standby",
    "unknown": "unknown",
    "true": "yes",
    "false": "no",
    "ready": "ready",
    "testing": "testing",
    "degraded": "degraded",
    "not_ready": "not ready",
    "enrolling": "enrolling",
    "identify": "here",
    "no_broker": "no broker",
    "picture": "taking a picture",
    "help": "help",
    "press": "pressed",
    "hold": "held",
    "release": "released",
    "done": "done",
    "refused": "refused",
    "planned": "planned",
    "cancelled": "cancelled",
    "reopen": "opened anew",
    "respawn": "process restarted",
    "rebind": "driver bound anew (USB)",
    "healed": "works again",
    "impossible": "not possible here",
    "power": "no power",
    "command": "restarted on command",
    "agent": "the agent was away",
    "line": "the line was away",
    "broker": "the server was away",
}
"""Values of readings and of events that are words."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a reading is shown: ``label`` may be empty; the value times ``scale``, ``digits``, ``unit``."""

    reading: str
    label: str
    unit: str = ""
    digits: int = 0
    scale: float = 1.0


READINGS: dict[str, tuple[Shown, ...]] = {
    "camera": (
        Shown("fps", "", "fps"),
        Shown("luma_mean", "brightness", "%", scale=100),
        Shown("sharpness_ratio", "sharpness", "%", scale=100),
        Shown("sharpness", "sharpness"),
    ),
    "microphone": (
        Shown("level_dbfs", "level", "dBFS"),
        Shown("noise_floor_dbfs", "noise floor", "dBFS"),
        Shown("hum_db", "hum", "dB"),
    ),
    "speaker": (
        Shown("volume_percent", "volume", "%"),
        Shown("delay_ms", "delay", "ms"),
        Shown("snr_db", "signal to noise", "dB"),
    ),
    "display": (Shown("power", "power"), Shown("active_input", "our input:")),
    "panel": (Shown("pattern", "light"),),
    "host": (
        Shown("cpu_percent", "CPU", "%"),
        Shown("temperature_c", "", "°C"),
        Shown("disk_free_percent", "disk free", "%"),
        Shown("memory_available_percent", "memory free", "%"),
    ),
    "line": (
        Shown("rtt_ms_p50", "round trip", "ms", 1),
        Shown("interface", ""),
        Shown("speed_mbps", "", "Mbit/s"),
        Shown("loss_percent", "loss", "%", 1),
    ),
}
"""The readings that matter to people, the most telling first."""
