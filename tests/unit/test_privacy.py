"""No picture, no sound and no name of a person is in any document: an allow-list over the schemas.

Every text and every open place of what a point publishes is named here with the reason why it may be there. A
new one fails until somebody has thought about it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from diemcau_agent import documents, schema
from diemcau_agent.commands.verbs import VERBS
from diemcau_agent.config import Settings
from diemcau_agent.spool.tables import Drop, Replaced

ROOT = Path(__file__).parents[2]

ID = "an opaque id, a random number or a hash"
TIME = "RFC 3339"
WORD = "a word out of a list in the code"
VERSION = "of a program or of the kit, as its maker calls it"
PLACE = (
    "of the room, as the technician wrote it into the room's own file; a person's name has no business there"
)
MAKER = "what a device's maker calls it; serial numbers hashed, a Bluetooth device's own name left out"
PROGRAM = "one of holders.PROGRAMS, or other"
READING = "of a measurement: see TEXT_READINGS in test_privacy_in_a_room.py"
TEXT = "our own text, gettext"
ERROR = "our own words on what went wrong; see the free texts in docs/audit.md"
OPEN = "by kind or verb: EVENTS and RESULTS below"

COMMON = {"point": ID, "boot": ID, "connection": ID, "time": TIME}
_JUDGED = {
    "code": WORD, "since": TIME, "checked": TIME, "codes[]": WORD, "readings.{}": READING,
    "in_use_by": PROGRAM,
}  # fmt: skip
ALLOWED: dict[str, dict[str, str]] = {
    "birth": {
        "name": PLACE,
        "place[]": PLACE,
        "level": PLACE,
        "groups[]": ID,
        "software.version": VERSION,
        "software.python": VERSION,
        "software.os": VERSION,
        "hardware.model": VERSION,
        "hardware.serial_hash": ID,
        "devices.{}": WORD,
        "devices.{}.backend": WORD,
        "devices.{}.identity.{}": MAKER,
        "devices.{}.capabilities[]": WORD,
    },
    "status": {"nonce": ID, "reboot_nonce": ID},
    "health": {
        "reasons[]": WORD,
        "devices.{}": WORD,
        **{f"{part}.{name}": why for part in ("devices.{}", "host", "line") for name, why in _JUDGED.items()},
    },
    "telemetry": {"spool": ID, "series.{}": WORD},
    "event": {
        "spool": ID, "kind": WORD, "device": WORD, "code": WORD, "from": WORD, "to": WORD, "data": OPEN,
    },
    "selftest": {
        "run": ID,
        "steps[].name": WORD,
        "steps[].device": WORD,
        "steps[].code": WORD,
        "steps[].measured.{}": READING,
        "steps[].expected": TEXT,
        "steps[].remedy.vi": TEXT,
        "steps[].remedy.en": TEXT,
        "steps[].reason": WORD,
    },
    "reply": {"id": ID, "verb": WORD, "code": WORD, "detail": ERROR, "result": OPEN},
}  # fmt: skip

EVENTS: dict[str, dict[str, str]] = {
    "agent_started": {"session": "a count", "audit": "a count and a hash"},
    "agent_stopping": {"ordered": "yes or no"},
    "baseline_recorded": {},
    "baseline_unreadable": {"detail": ERROR},
    "button": {"event": WORD, "button_held_s": "a time"},
    "command": {"id": ID, "verb": WORD, "iss": "the id of a key, which the fleet chose", "state": WORD},
    "command_refused": {"window_s": "a time", "counts": "a count by code"},
    "healing": {"step": WORD, "outcome": WORD, "attempt": "a count", "detail": ERROR},
    "keys": {"revision": "a count", "count": "a count", "kept": "yes or no"},
    "conference": {"id": ID, "iss": ID, "revision": "a count", "state": WORD, "kept": "yes or no"},
    "help_called": {},
    "help_ended": {},
    "line_conference": {},
    "outage": {
        "cause": WORD, "began": TIME, "ended": TIME, "duration_s": "a time", "reason": ERROR,
        "began_within_s": "a time", "began_clock": WORD, "began_boot": ID, "began_mono_ms": "a time",
    },
    "readiness": {"reasons": WORD},
    "selftest": {"run": ID, "scope": WORD, "trigger": WORD, "result": WORD, "codes": WORD},
    "state": {},
    "update": {"id": ID, "state": WORD, "reason": ERROR},
}  # fmt: skip
"""The ``data`` of every kind of event that a call in the code tells; ``dropped`` and ``spool_replaced`` are
structs (below), ``line_conference`` is the line's record of numbers."""

RESULTS: dict[str, str] = {
    "ping": "session, boot, uptimes",
    "identify": "how long",
    "restart": "process ids, states, a boot",
    "selftest": "the report, a document of its own",
    "camera": "power, zoom and preset read back; the one picture there is, by the room's own leave",
    "microphone": "muted, by whom of kit and room, gain",
    "speaker": "volume, muted, the name of one of our own announcements",
    "display": "power, input and brightness read back, and the words that the operator himself has sent",
    "rehearse": "the line's numbers",
    "resend": "counts",
    "logs": "lines of the units in logs.UNITS, serial numbers left out",
    "config": "the settings, secrets left out: the room's own file",
    "update": "versions",
}


def texts(node: Any, defs: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths below which a document may hold a text that is in no list, or anything at all."""
    if not isinstance(node, dict) or not node:
        yield path
        return
    one = cast("dict[str, Any]", node)
    if "$ref" in one:
        yield from texts(defs[one["$ref"].rpartition("/")[2]], defs, path)
    elif "anyOf" in one or "oneOf" in one:
        for other in one.get("anyOf") or one["oneOf"]:
            yield from texts(other, defs, path)
    elif "enum" in one or "const" in one:
        return
    else:
        match one.get("type"):
            case "object":
                for name, child in one.get("properties", {}).items():
                    yield from texts(child, defs, f"{path}.{name}".lstrip("."))
                more = one.get("additionalProperties", not one.get("properties"))
                if more is not False:
                    if isinstance(more, dict) and more:
                        yield f"{path}.{{}}".lstrip(".")  # the names themselves
                        yield from texts(more, defs, f"{path}.{{}}".lstrip("."))
                    else:
                        yield path
            case "array":
                yield from texts(one.get("items", {}), defs, f"{path}[]")
            case "integer" | "number" | "boolean" | "null":
                return
            case _:
                yield path


@pytest.mark.parametrize("name", schema.DOCUMENTS)
def test_every_text_and_every_open_place_of_a_document_is_there_for_a_reason(name: str) -> None:
    whole = schema.files()[f"{name}.json"]
    found = set(texts(whole, whole.get("$defs", {})))
    assert sorted(found - set(COMMON) - set(ALLOWED[name])) == [], (
        "new: may it hold a name, a picture, sound?"
    )
    assert sorted(set(ALLOWED[name]) - found) == [], "gone: take it out of the list"
    assert set(COMMON) <= found


@pytest.mark.parametrize(
    ("added", "where"),
    [
        ({"speaker_name": {"type": "string"}}, "speaker_name"),
        ({"who": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "who"),
        ({"thumbnail": {"type": "string", "contentEncoding": "base64"}}, "thumbnail"),
        ({"people": {"type": "array", "items": {"type": "string"}}}, "people[]"),
        ({"more": {}}, "more"),
        ({"more": {"type": "object"}}, "more"),
        ({"more": {"type": "object", "additionalProperties": {"type": "string"}}}, "more.{}"),
        ({"one": {"$ref": "#/$defs/Person"}}, "one.name"),
    ],
)
def test_the_list_notices_what_is_added(added: dict[str, Any], where: str) -> None:
    whole = schema.files()["health.json"]
    defs: dict[str, Any] = {
        **whole["$defs"],
        "Person": {"type": "object", "properties": {"name": {"type": "string"}}},
    }
    ref: dict[str, Any] = whole if "properties" in whole else defs[whole["$ref"].rpartition("/")[2]]
    properties: dict[str, Any] = {**ref["properties"], **added}
    changed = {**ref, "properties": properties}
    assert where in set(texts(changed, defs)) - set(texts(whole, whole["$defs"]))


def told() -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """(file, kind, keys of its data) of each call that tells an event; keys None where not literal."""
    for source in sorted((ROOT / "agent/diemcau_agent").glob("**/*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called not in ("tell", "_tell", "event"):
                continue
            data = next((word.value for word in node.keywords if word.arg == "data"), None)
            for kind in _kinds(node.args[0]):
                yield source.name, kind, _keys(data)


def _kinds(argument: ast.expr) -> Iterator[str]:
    match argument:
        case ast.Constant(value=str(kind)):
            yield kind
        case ast.IfExp(body=body, orelse=orelse):
            yield from _kinds(body)
            yield from _kinds(orelse)
        case ast.Attribute(attr="STOPPING"):
            yield "agent_stopping"
        case _:
            pass


def _keys(data: ast.expr | None) -> frozenset[str] | None:
    if data is None:
        return frozenset()
    if not isinstance(data, ast.Dict):
        return None
    return frozenset(
        key.value for key in data.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
    )


def test_every_kind_of_event_and_what_it_carries_is_in_the_list() -> None:
    found = list(told())
    assert len(found) >= 12, "the calls are found"
    for source, kind, keys in found:
        assert kind in EVENTS, f"{source}: a new kind of event: {kind}"
        assert keys is None or keys <= set(EVENTS[kind]), f"{source}: {kind} carries more: {keys}"


def test_what_the_spool_tells_of_itself_holds_ids_and_numbers() -> None:
    assert set(Drop.__struct_fields__) == {"spool", "stream", "first", "last", "count", "reason"}
    assert set(Replaced.__struct_fields__) == {"previous", "reason", "kept", "salvaged"}


def test_every_verbs_answer_has_been_thought_about() -> None:
    assert set(RESULTS) == set(VERBS)


def test_pictures_and_sound_leave_a_devices_process_in_one_place_only() -> None:
    """Frames and samples stay in the child: of all that encodes bytes into text, one is the snapshot's."""
    encodes = re.compile(r"b64encode|b85encode|hexlify")
    found = {
        source.relative_to(ROOT).as_posix()
        for source in (ROOT / "drivers/diemcau_drivers").glob("**/*.py")
        if encodes.search(source.read_text(encoding="utf-8"))
    }
    assert found == {"drivers/diemcau_drivers/camera.py"}
    users = {
        source.relative_to(ROOT).as_posix()
        for source in (ROOT / "agent/diemcau_agent").glob("**/*.py")
        if "jpeg" in source.read_text(encoding="utf-8").casefold()
    }
    assert users == {"agent/diemcau_agent/commands/verbs/camera.py"}


def test_the_machines_name_and_its_users_are_nowhere_asked_for() -> None:
    asks = re.compile(
        r"gethostname|platform\.node|nodename|getfqdn|getlogin|getpass|getpwuid|/etc/hostname|\bgetnode\b"
    )
    for package in ("agent/diemcau_agent", "drivers/diemcau_drivers"):
        for source in (ROOT / package).glob("**/*.py"):
            assert not asks.search(source.read_text(encoding="utf-8")), source


def test_the_kits_serial_number_leaves_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    from diemcau_agent.clock import SystemClock
    from diemcau_agent.stamp import Stamp

    monkeypatch.setattr("diemcau_agent.host.serial", lambda: "10000000abcdef01")
    settings = Settings(point="xp-0417", broker=_broker(), backends="sim", commands="off")
    birth = documents.birth(settings, Stamp("xp-0417", "b", 1, SystemClock()), {})
    assert birth.hardware.serial_hash is not None
    assert "abcdef01" not in birth.hardware.serial_hash


def _broker() -> Any:
    from diemcau_agent.config import Broker

    return Broker(urls=("mqtt://127.0.0.1",))
