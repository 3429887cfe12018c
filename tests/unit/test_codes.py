"""The catalogue keeps the promise of docs/wire.md, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diemcau_agent import codes_page
from diemcau_agent.codes import CODES, GONE_S, HOST_LINE_S, SURVEY_S, Code, state_of, worst
from diemcau_agent.model import STATES

DOCS = Path(__file__).parents[2] / "docs"


def promised() -> dict[str, tuple[tuple[str, ...], str]]:
    """code -> (devices, state), from the table in docs/wire.md."""
    lines = (DOCS / "wire.md").read_text(encoding="utf-8").splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("| device | failed |"))
    states = [cell.strip() for cell in lines[head].strip("|").split("|")][1:]
    table: dict[str, tuple[tuple[str, ...], str]] = {}
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            break
        device, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        devices = ("microphone", "speaker") if device == "both" else (device,)
        for state, cell in zip(states, cells, strict=True):
            table.update(dict.fromkeys(re.findall(r"`(\w+)`", cell), (devices, state)))
    return table


def test_the_codes_are_those_of_the_wire() -> None:
    assert {name: (code.devices, code.state) for name, code in CODES.items()} == promised()


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.name)
def test_cause_and_remedy_are_sentences(code: Code) -> None:
    for told in (code.cause, code.remedy):
        assert told[0].isupper()
        assert told.endswith((".", ")."))
        assert "|" not in told  # a cell of docs/codes.md


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.name)
def test_bounds(code: Code) -> None:
    """A device gone or hung: 15 s; host and line: 60 s; picture and sound: one probe period."""
    ends = code.name.rpartition("_")[2]
    if ends in ("absent", "hung", "crashed"):
        assert code.bound_s(300.0) == GONE_S == 15.0
    elif code.name == "mtu":
        assert code.bound_s(300.0) == SURVEY_S  # large packets every minute are more than a thin line affords
    elif code.devices in (("host",), ("line",)) or code.name == "button_stuck":
        assert code.bound_s(300.0) == HOST_LINE_S == 60.0
    elif code.name in ("speaker_silent", "speaker_quiet", "speaker_distorted", "room_echo"):
        assert code.bound_s(300.0) is None
    else:
        assert code.bound_s(300.0) == 300.0
        assert code.bound_s(10.0) == 10.0


NAMES = st.lists(st.sampled_from(sorted(CODES)))


@given(NAMES)
def test_worst_orders_by_state_and_names_each_once(names: list[str]) -> None:
    ordered = worst(names)
    assert set(ordered) == set(names)
    assert len(ordered) == len(set(names))
    ranks = [STATES.index(CODES[name].state) for name in ordered]
    assert ranks == sorted(ranks)
    assert worst(reversed(ordered)) == ordered
    assert state_of(names) == (CODES[ordered[0]].state if names else "ok")


def test_worst_refuses_what_is_no_code() -> None:
    with pytest.raises(KeyError):
        worst(["camera_sad"])


def test_docs_codes_is_fresh() -> None:
    """`make schema` writes it again."""
    assert (DOCS / "codes.md").read_text(encoding="utf-8") == codes_page.render()


def test_docs_codes_tells_each_once() -> None:
    page = codes_page.render()
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(CODES)
