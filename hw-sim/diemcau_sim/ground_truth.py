"""What a relay really did to the packets of a line, by definitions of its own: nothing here comes from
the code that is measured against it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise


@dataclass(frozen=True, slots=True)
class Handed:
    """A reply as it was handed to the sender: ``rank`` in the order of all replies, ``after_ms`` its request
    came in, ``delay_ms`` added by the relay, both directions. ``path_ms``: from the relay to the upstream
    and back, but for what the upstream says that it kept the request."""

    rank: int
    after_ms: float
    delay_ms: float
    path_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class PacketTruth:
    """``sender``: counted from 0 as they appeared. ``copies``: how many went on to the upstream."""

    sender: int
    number: int
    copies: int
    handed: tuple[Handed, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """``packets``: in the order in which they came. ``forward_bytes``, ``backward_bytes``: IP level, all that
    came from senders and from the upstream, numbered or not."""

    packets: tuple[PacketTruth, ...]
    forward_bytes: int
    backward_bytes: int

    @property
    def sent(self) -> int:
        return len(self.packets)

    @property
    def lost(self) -> int:
        """Packets of which no reply was handed over."""
        return sum(not packet.handed for packet in self.packets)

    @property
    def lost_forward(self) -> int:
        """Packets that never went to the upstream."""
        return sum(not packet.copies for packet in self.packets)

    @property
    def loss_bursts(self) -> tuple[int, ...]:
        """The length of each run of lost packets (RFC 3357: loss periods)."""
        return tuple(
            len(tuple(run))
            for mine in self._senders()
            for answered, run in groupby(mine, lambda packet: bool(packet.handed))
            if not answered
        )

    @property
    def duplicates(self) -> int:
        return sum(max(0, len(packet.handed) - 1) for packet in self.packets)

    @property
    def reordered(self) -> int:
        """RFC 4737, 3.3, on the replies as handed over: those of a packet that is earlier than one already
        answered. A duplicate is not looked at (3.2)."""
        found = 0
        for mine in self._senders():
            answers = sorted(
                (packet.handed[0].rank, place) for place, packet in enumerate(mine) if packet.handed
            )
            latest = -1
            for _, place in answers:
                found += place < latest
                latest = max(latest, place)
        return found

    @property
    def delays_ms(self) -> tuple[float, ...]:
        """Added to each packet, in the order sent; NaN where it is lost."""
        return tuple(packet.handed[0].delay_ms if packet.handed else math.nan for packet in self.packets)

    def delay_ms(self, percent: float) -> float:
        """Percentile of the delays added, by nearest rank: the least that so many per cent do not exceed.
        NaN where nothing came back."""
        delays_ms = sorted(delay_ms for delay_ms in self.delays_ms if not math.isnan(delay_ms))
        return delays_ms[max(0, math.ceil(percent * len(delays_ms) / 100) - 1)] if delays_ms else math.nan

    @property
    def jitter_ms(self) -> float:
        """Mean difference, without sign, of the delays of packets that were sent one after the other and both
        answered (RFC 5481, 4.1). NaN where there are no such two."""
        steps_ms = [
            abs(right.handed[0].delay_ms - left.handed[0].delay_ms)
            for mine in self._senders()
            for left, right in pairwise(mine)
            if left.handed and right.handed
        ]
        return sum(steps_ms) / len(steps_ms) if steps_ms else math.nan

    def where(self, arrived: Callable[[Handed], bool]) -> Truth:
        """As one sees it who gave up on every other reply, for instance those after its wait."""
        packets = tuple(
            replace(packet, handed=tuple(filter(arrived, packet.handed))) for packet in self.packets
        )
        return replace(self, packets=packets)

    def with_path(self) -> Truth:
        """With the path's own delay in every ``delay_ms``: on a busy machine the upstream has its share."""
        packets = tuple(
            replace(
                packet,
                handed=tuple(replace(one, delay_ms=one.delay_ms + one.path_ms) for one in packet.handed),
            )
            for packet in self.packets
        )
        return replace(self, packets=packets)

    def _senders(self) -> Iterator[list[PacketTruth]]:
        for _, mine in groupby(
            sorted(self.packets, key=lambda packet: packet.sender), lambda packet: packet.sender
        ):
            yield list(mine)
