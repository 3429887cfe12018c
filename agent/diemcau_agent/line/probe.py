"""``diemcau-agent probe``: one measurement by hand, with the daemon's own sender and the same record."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, cast

import msgspec

from diemcau_agent.clock import kernel_clock_synced
from diemcau_agent.exits import NOT, OK, USAGE
from diemcau_agent.wording import Say, number, speaking

from .record import Record, Spread, record
from .train import Address, Plan, Train, resolve, run

DECIMALS = 3
"""Of what is printed as JSON: a microsecond of a delay, which is as well as the kernel's stamps are known."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """As asked for on the command line."""

    host: str
    port: int
    count: int
    interval_ms: float
    size_bytes: int
    dscp: int

    @property
    def target(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def plan(self, address: Address) -> Plan:
        """Raises ValueError as Plan does."""
        return Plan(
            address=address,
            count=self.count,
            interval_ms=self.interval_ms,
            size_bytes=self.size_bytes,
            dscp=self.dscp,
        )


def probe(wanted: Wanted, *, as_json: bool, language: str) -> int:
    """Measure and print; the program's exit code: whether replies came. Ctrl-C ends it with what it has."""
    try:
        wanted.plan(
            Address("", wanted.port)
        )  # before any look-up: wrong is wrong, whether there is a line or not
    except ValueError as error:
        print(f"diemcau-agent probe: error: {error}", file=sys.stderr)
        return USAGE
    try:
        address = resolve(wanted.host, wanted.port)
        train = _interruptible(wanted.plan(address))
    except KeyboardInterrupt:
        return NOT
    except OSError as error:
        detail = error.strerror or str(error)
        if as_json:
            print(json.dumps({"error": {"code": "not_sent", "detail": detail}}, ensure_ascii=False, indent=2))
        else:
            print(detail, file=sys.stderr)
        return NOT
    told = record([train])
    if as_json:
        print(json.dumps(document(wanted, address, train, told), ensure_ascii=False, indent=2))
    else:
        print(*lines(wanted, address, told, speaking(language)), sep="\n")
    return OK if told.received else NOT


def _interruptible(plan: Plan) -> Train:
    stop = Event()
    with ThreadPoolExecutor(1, "probe") as pool:
        sending = pool.submit(run, plan, synced=kernel_clock_synced, stop=stop)
        try:
            return sending.result()
        except KeyboardInterrupt:
            stop.set()
            return sending.result()


def document(wanted: Wanted, address: Address, train: Train, told: Record) -> dict[str, Any]:
    """The record with what was measured: ``target`` as asked for, ``address`` as it was found."""
    asked = {
        "target": wanted.target,
        "address": address.host,
        "port": address.port,
        "interval_ms": train.interval_ms,
        "size_bytes": wanted.size_bytes,
    }
    return {key: _rounded(value) for key, value in (asked | msgspec.to_builtins(told)).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in cast("dict[str, Any]", value).items()}
    return round(value, DECIMALS) if isinstance(value, float) else value


def lines(wanted: Wanted, address: Address, told: Record, say: Say) -> list[str]:
    """For people: what was sent, what came back, how fast, what was odd, and how good it sounds."""
    heading = say("{target} ({address}): {count} packets of {size} bytes, one every {interval} ms")
    heading = heading.format(
        target=wanted.target,
        address=address.host,
        count=wanted.count,
        size=wanted.size_bytes,
        interval=f"{wanted.interval_ms:g}",
    )
    loss = say("sent {sent}, received {received}, lost {lost} ({percent} %)").format(
        sent=told.sent,
        received=told.received,
        lost=told.lost,
        percent=number(told.loss_percent, 2, say),
    )
    if told.loss_bursts:
        loss += ", " + say("longest burst {longest}").format(longest=max(told.loss_bursts))
    if told.lost_forward is not None and told.lost:
        loss += ", " + say("{forward} on the way there").format(forward=told.lost_forward)
    if told.error:
        loss += f" · {told.error}"
    if not told.received:
        return [heading, loss, say("No reply came.")]
    return [
        heading,
        loss,
        *_spreads({say("round trip"): told.rtt_ms, say("delay variation"): told.jitter_ms}, say),
        say(
            "duplicates {duplicates}, reordered {reordered}, not believed {strange}, clock steps {steps}"
        ).format(
            duplicates=told.duplicates,
            reordered=told.reordered,
            strange=told.strange,
            steps=told.clock_steps,
        ),
        _one_way(told, say),
        say("DSCP sent {sent}, arrived there {there}, came back {back}").format(
            sent=told.dscp, there=_known(told.reflector_dscp), back=_known(told.returned_dscp)
        ),
        _quality(told, say),
    ]


def _spreads(spreads: Mapping[str, Spread | None], say: Say) -> list[str]:
    width = max(len(label) for label in spreads)
    return [
        label.ljust(width)
        + "  "
        + "  ".join(
            f"{name} {number(value, 2, say)}" for name, value in msgspec.structs.asdict(spread).items()
        )
        + " ms"
        for label, spread in spreads.items()
        if spread is not None
    ]


def _one_way(told: Record, say: Say) -> str:
    if told.forward_ms is None or told.backward_ms is None:
        return say("one way: not known, as the clocks are not both synced")
    there, back = (number(way.p50, 2, say) for way in (told.forward_ms, told.backward_ms))
    return say("one way: there {there} ms, back {back} ms").format(there=there, back=back)


def _quality(told: Record, say: Say) -> str:
    if told.r_factor is None or told.mos is None:
        return ""
    return f"R {number(told.r_factor, 1, say)}, MOS {number(told.mos, 2, say)}"


def _known(value: int | None) -> str:
    return "–" if value is None else str(value)
