"""What the kernel's netem does to the line is what the line's probe says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from room import Room

pytestmark = [pytest.mark.hil, pytest.mark.timeout(300)]

NEAR_MS = 40.0
DELAY_MS = 80.0
LOSS_PERCENT = 10.0
COUNT = 400


@pytest.fixture
def spoiled(room: Room) -> Iterator[Room]:
    """On its way in, through a card that stands before the kit's own. On its way out a packet's time is taken
    when the card has it (SO_TIMESTAMPING), which is after netem: a delay there is none of the line's."""
    line = room.kit.shell("ip -o -4 addr show to 10.0.3.0/24 | cut -d' ' -f2").strip()
    room.kit.shell(
        f"""modprobe -a sch_netem sch_ingress act_mirred cls_matchall
        ip link add spoiler type ifb
        ip link set spoiler up
        tc qdisc add dev {line} ingress
        tc filter add dev {line} ingress matchall action mirred egress redirect dev spoiler
        tc qdisc add dev spoiler root netem delay {DELAY_MS:g}ms loss {LOSS_PERCENT:g}%"""
    )
    yield room
    room.kit.shell(f"tc qdisc del dev {line} ingress; ip link del spoiler")


def measured(room: Room, count: int) -> dict[str, Any]:
    address = f"10.0.3.2:{room.centre.reflector_port}"
    told = room.kit.run(
        "/opt/diemcau/bin/diemcau-agent", "probe", address, "--json", "--count", str(count), timeout_s=120
    )
    record: dict[str, Any] = json.loads(told)
    return record


def test_delay_and_loss_on_the_line_come_out_of_the_probe(spoiled: Room) -> None:
    record = measured(spoiled, COUNT)
    assert DELAY_MS < record["rtt_ms"]["p50"] < DELAY_MS + NEAR_MS, record
    # 10 % of 400: beyond 4 standard deviations of 1.5 % it is not netem's.
    assert LOSS_PERCENT - 6 < record["loss_percent"] < LOSS_PERCENT + 6, record


def test_a_line_that_is_left_alone_loses_nothing(room: Room) -> None:
    record = measured(room, 100)
    assert record["loss_percent"] == 0, record
    assert record["rtt_ms"]["p50"] < NEAR_MS, record
