"""What the watch over the line costs a thin line: ``python tests/bench/line_bytes.py``.

How often: the daemon's own :class:`Line`, an hour at rest on a clock that is moved by hand. How much: the
real burst and the real surveys, each by the counters of the kit's interface in a network of namespaces, with
a name server, a broker's door in TLS and a reflector; both ways, at IP level (ARP in it counts as if it were
IP). Exits 1 where an hour at rest is over 200 kB.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from budgets import columns
from diemcau_agent.broker import Broker
from diemcau_agent.config import Line as Settings
from diemcau_agent.config import Probe
from diemcau_agent.line.line import Line
from diemcau_agent.line.record import Train, record
from diemcau_agent.line.train import Address, Plan, run
from fakeclock import FakeClock
from namespaces import IP, Namespaces
from path_rig import CENTRE, REFLECTOR_PORT, Authority, rig, survey

BUDGET_BYTES = 200_000
HOUR_S = 3600.0
LOOK_SHARE = 0.95
"""Of ``probe.line_s``: the mean of the monitor's jitter."""
WARM_UP_S = 600.0
"""After the start there is more to find out."""
ETHERNET_BYTES = 14
NEAR, FAR, FAR_CONNECT, BURST = "near survey", "whole survey", "whole survey, TLS", "burst"


class Asked:
    """Counts what :class:`Line` asks for, on a good line."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.counts: Counter[str] = Counter()
        self.bursts: set[tuple[int, float, int]] = set()

    async def survey(self, *, near_only: bool, connect: bool = True) -> Mapping[str, Any]:
        self.counts[NEAR if near_only else FAR_CONNECT if connect else FAR] += 1
        return {"gateway_answers": True}

    async def measure(self, *, count: int, interval_ms: float, size_bytes: int = 52, **what: object) -> Train:
        self.counts[BURST] += 1
        self.bursts.add((count, interval_ms, size_bytes))
        return Train(at_s=0.0, rtts_ms=array("d", [18.0] * count), interval_ms=interval_ms)

    async def interface(self) -> Mapping[str, Any]:
        return {"carrier": True}

    async def uplinks(self) -> list[str]:
        return ["eth0"]

    def rtts_ms(self, window_s: float) -> list[float]:
        return [18.0]

    def tell(self, kind: str, **what: Any) -> None:
        raise AssertionError(f"an hour at rest, and yet: {kind} {what}")

    async def rest(self) -> None:
        """An hour, after what follows the start."""
        connection = SimpleNamespace(rtts_ms=self.rtts_ms)
        line = Line(
            Settings(reflector="centre.example"),
            self.clock,
            cast("Broker", SimpleNamespace(connection=connection)),
            interface=self.interface,
            survey=self.survey,
            measure=self.measure,
            uplinks=self.uplinks,
            busy=lambda: False,
            conference=lambda: False,
            sampled=lambda part, readings: None,
            tell=self.tell,
        )
        task = asyncio.create_task(line.run(), name="line")
        every_s = Probe().line_s * LOOK_SHARE
        for duration_s in (WARM_UP_S, HOUR_S):
            self.counts.clear()
            self.bursts.clear()
            for _ in range(round(duration_s / every_s)):
                await line.read()
                await self.clock.advance(every_s)
        task.cancel()
        await asyncio.wait([task])


def kit_bytes(net: Namespaces) -> int:
    told = json.loads(net.run("kit", [str(IP), "-json", "-stats", "link", "show", "dev", "eth0"]))
    return sum(
        told[0]["stats64"][way]["bytes"] - ETHERNET_BYTES * told[0]["stats64"][way]["packets"]
        for way in ("rx", "tx")
    )


def cost(net: Namespaces, what: Callable[[], object]) -> int:
    before = kit_bytes(net)
    what()
    return kit_bytes(net) - before


def costs(burst: tuple[int, float, int]) -> dict[str, int]:
    """Bytes of each thing that may be asked for."""
    count, interval_ms, size_bytes = burst
    plan = Plan(
        address=Address(CENTRE, REFLECTOR_PORT), count=count, interval_ms=interval_ms, size_bytes=size_bytes
    )
    with tempfile.TemporaryDirectory() as folder, rig() as servers:
        authority = Authority(Path(folder))
        servers.name()
        servers.reflect()
        servers.listen(authority.context())
        net = servers.net
        for host in ("kit", "router"):  # nothing here is asked by IPv6, whose own greetings would count
            net.sysctl(host, "net.ipv6.conf.all.disable_ipv6", 1)

        def send() -> None:
            with net.enter("kit"):
                assert record([run(plan, synced=lambda: True)]).lost == 0

        survey(net, ca_file=authority.ca_file)  # neighbours are known from here on
        return {
            BURST: cost(net, send),
            NEAR: cost(net, lambda: survey(net, near_only=True)),
            FAR: cost(net, lambda: survey(net, connect=False)),
            FAR_CONNECT: cost(net, lambda: survey(net, ca_file=authority.ca_file)),
        }


def main() -> int:
    asked = Asked()
    asyncio.run(asked.rest())
    (burst,) = asked.bursts
    each = costs(burst)
    rows = [
        (what, f"{asked.counts[what]}", f"{bytes_:,}", f"{asked.counts[what] * bytes_ / 1e3:.1f}")
        for what, bytes_ in each.items()
    ]
    total = sum(asked.counts[what] * bytes_ for what, bytes_ in each.items())
    print(columns(("at rest", "an hour", "bytes each", "kB an hour"), rows))
    print(f"{total / 1e3:.1f} kB a room and hour, both ways at IP level (bound {BUDGET_BYTES / 1e3:g} kB)")
    return 1 if total > BUDGET_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
