"""The settings: every error at once, each with its path, what it got and what it expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent.config import ConfigError, Settings, check, load, parse

SIMULATED = """
point = "xp-0417"
commands = "unsigned"
backends = "sim"
[broker]
urls = ["mqtt://127.0.0.1:1883"]
"""
REAL = """
point = "xp-0417"
commands = "off"
[broker]
urls = ["mqtts://broker.example:8883"]
"""


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    return raised.value.errors


def test_the_smallest_files_are_whole() -> None:
    assert parse(SIMULATED).simulated
    assert not parse(REAL).simulated
    assert parse(SIMULATED).all_groups == ("all",)


def test_all_errors_come_at_once_each_with_its_path() -> None:
    found = errors("""
point = "XP"
langauge = "vi"
expected = 3
[broker]
urls = ["http://x", "mqtt://ok"]
[probe]
period_s = "often"
idle_s = -1
[panel]
button_gpio = 40
""")
    paths = [line.split(":")[0] for line in found]
    assert sorted(paths) == sorted(
        [
            "point",
            "langauge",
            "expected",
            "broker.urls[0]",
            "probe.period_s",
            "probe.idle_s",
            "panel.button_gpio",
        ]
    )
    assert 'point: got "XP", expected 3 to 32 of a-z, 0-9 and -, no - at either end' in found
    assert any("did you mean language?" in line for line in found)
    assert 'probe.period_s: got "often", expected a number >= 2 and <= 3600' in found
    assert "panel.button_gpio: got 40, expected a BCM GPIO number, 0 to 27" in found


def test_what_is_missing_is_named() -> None:
    found = errors("")
    assert {line.split(":")[0] for line in found} == {"point", "broker"}


def test_unsigned_commands_are_refused_on_a_real_kit_and_signed_ones_without_the_fleets_keys() -> None:
    assert any(
        line.startswith('commands: got "unsigned"') for line in errors(REAL.replace("off", "unsigned"))
    )
    for signed in (REAL.replace('"off"', '"signed"'), REAL.replace('commands = "off"', "")):
        assert any(line.startswith("fleet_keys: missing") for line in errors(signed))
        assert errors(f'fleet_keys = ["{"A" * 42}B"]\n{signed}') == [
            "fleet_keys[0]: not base64url in its one spelling"
        ]
        assert parse(f'fleet_keys = ["{"A" * 43}"]\n{signed}').commands == "signed"


def test_a_kit_with_one_real_camera_is_no_simulation() -> None:
    mixed = SIMULATED.replace('backends = "sim"', "").replace(
        "[broker]", '[backends]\ncamera = "v4l2"\n[broker]'
    )
    assert any(line.startswith("commands:") for line in errors(mixed))


def test_a_real_kit_never_speaks_in_the_clear() -> None:
    assert any("mqtts:// or wss://" in line for line in errors(REAL.replace("mqtts:", "mqtt:")))


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_is_a_port(port: int) -> None:
    assert any("a port from 1 to 65535" in line for line in errors(REAL.replace("8883", str(port))))


def test_pins_are_four_different_ones() -> None:
    assert any(line.startswith("panel: got GPIOs") for line in errors(REAL + "[panel]\nred_gpio = 17\n"))


def test_a_file_that_cannot_be_read_or_is_no_toml_is_one_clear_error(tmp_path: Path) -> None:
    for name, content, said in (
        ("none.toml", None, "cannot be read: No such file or directory"),
        ("cut.toml", b"point = ", "not TOML: Invalid value"),
        ("latin.toml", b'name = "\xe0"', "not TOML: byte 9 is not UTF-8"),
    ):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError) as refused:
            load(file)
        assert len(refused.value.errors) == 1
        assert refused.value.errors[0].startswith(f"{file}: {said}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*Settings.__struct_fields__, "other"])


@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_anything_is_either_settings_or_a_list_of_errors(data: dict[str, Any]) -> None:
    try:
        settings = check(data)
    except ConfigError as error:
        lines = error.errors
    else:
        lines = ["point: taken"]
        assert settings.point == data["point"]
    assert lines
    assert all(": " in line for line in lines)
