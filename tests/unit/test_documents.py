"""Birth and health as they go out: valid by the schemas in docs/, built of what is known now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from diemcau_agent import documents, host
from diemcau_agent.book import HealthBook
from diemcau_agent.config import Settings, check
from diemcau_agent.health import Observation
from diemcau_agent.model import Document, encode
from diemcau_agent.stamp import Stamp
from diemcau_drivers.contract import Look
from fakeclock import FakeClock
from healthy import GOOD

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"
SERIAL = "10000000abcdef01"


def settings(**more: Any) -> Settings:
    return check(
        {
            "point": "xp-0417",
            "name": "Phòng họp",
            "place": ["Lào Cai", "Sa Pa"],
            "groups": ["north"],
            "commands": "off",
            "broker": {"urls": ["mqtts://broker.example"]},
            **more,
        }
    )


def wired(document: Document) -> dict[str, Any]:
    """As on the wire, and valid by its schema."""
    data: dict[str, Any] = json.loads(encode(document))
    name = data["schema"].split(".")[1].split("/")[0]
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    validator: Any = jsonschema.Draft202012Validator(schema)
    validator.validate(data)
    return data


@pytest.fixture
def stamp(clock: FakeClock) -> Stamp:
    return Stamp("xp-0417", "8f0c", 12, clock)


def test_a_birth_says_what_should_be_there_and_what_was_found(
    stamp: Stamp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "serial", lambda: SERIAL)
    look = Look(readings={}, identity={"usb": "046d:085c"}, capabilities=("zoom", "snapshot"))
    made = documents.birth(settings(expected={"panel": False}), stamp, {"camera": look})
    data = wired(made)
    camera, panel, speaker = (data["devices"][name] for name in ("camera", "panel", "speaker"))
    assert camera["identity"] == {"usb": "046d:085c"}
    assert camera["capabilities"] == ["zoom", "snapshot"]
    assert (camera["expected"], camera["backend"]) == (True, "picamera2")
    assert (speaker["expected"], speaker["backend"], speaker["capabilities"]) == (True, "sounddevice", [])
    assert not panel["expected"]
    assert (data["commands"], data["groups"], data["valid_s"]) == ("off", ["all", "north"], 0)
    assert (data["name"], data["place"]) == ("Phòng họp", ["Lào Cai", "Sa Pa"])
    assert SERIAL not in json.dumps(data)
    assert len(data["hardware"]["serial_hash"]) == 16


def test_a_machine_without_a_serial_number_has_no_hash_made_up(
    stamp: Stamp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "serial", lambda: None)
    assert wired(documents.birth(settings(), stamp, {}))["hardware"]["serial_hash"] is None


def test_health_holds_the_expected_devices_the_host_and_the_line(stamp: Stamp, clock: FakeClock) -> None:
    expected = documents.expected_devices(settings(expected={"panel": False, "display": False}))
    assert expected == ("camera", "microphone", "speaker")
    book = HealthBook(expected, clock)
    before = wired(documents.health(stamp, book))
    assert (before["readiness"], before["devices"]["camera"]["checked"]) == ("unknown", None)
    for part in (*expected, "host", "line"):
        book.apply(part, Observation((), frozenset(), readings=GOOD[part]))
    blurred = Observation(("frame_blurred",), frozenset({"frame_blurred"}), GOOD["camera"], decisive=True)
    book.apply("camera", blurred)
    data = wired(documents.health(stamp, book))
    assert set(data["devices"]) == set(expected)
    assert (data["readiness"], data["reasons"], data["valid_s"]) == ("degraded", ["frame_blurred"], 180)
    assert data["devices"]["camera"]["code"] == "frame_blurred"
    assert data["host"]["readings"]["disk_free_percent"] == 70.0
    assert data["line"]["state"] == "ok"
