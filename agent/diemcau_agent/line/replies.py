"""Which replies of a train are believed, and what they say of it. Pure but for the clock it is told.

Believed is a reply by what only who saw the request can know: a number of this train (the first one is
random), the time that this very packet bore, and the session id. A reflector that knows no session ids
(TWAMP Light, RFC 8762 alone) has zeros in its place, which is let pass: the other two are 96 bits. So replies
of another train, replayed or made up ones are counted as strange, whatever they say.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from math import nan

from .packet import PacketError, Reply, read_reply
from .stamps import Arrival, Departure, Wall

REFLECTOR_STEP_NS = 10_000_000
"""What two clocks are let drift from one answered packet to the next, and 0.1 % of the time between them:
twice the 500 ppm that NTP slews by (RFC 5905, section 11.3)."""
DWELL_ERROR_NS = 1_000_000
"""What T3 - T2 may err by for coarse clocks before it says that one was set."""


class Replies:
    """Packets are named by their index in the train. Times in ns, monotonic but for T1, T2 and T3.

    ``sent_ns``: just before each was sent, so that it bounds what the kernel says. ``rtt_ns``: None while
    there is no reply.
    """

    def __init__(self, wall: Wall, ssid: int, first_seq: int, wait_ns: int) -> None:
        self._wall = wall
        self._ssid = ssid
        self._first_seq = first_seq
        self._wait_ns = wait_ns
        self.sent_ns = array("q")
        self._t1_ns = array("q")
        self._left_ns = array("q")
        self._came_ns = array("q")
        self._t2_ns = array("q")
        self._t3_ns = array("q")
        self._seqs = array("I")
        self._repeated: set[int] = set()
        self._greatest = -1
        self.answered = self.duplicates = self.reordered = self.strange = 0
        self.slowest_ns = 0
        self.all_synced = True
        self.reflector_dscp: int | None = None
        self.returned_dscp: int | None = None

    def sent(self, at_ns: int, t1_ns: int) -> None:
        """The next packet, which bears ``t1_ns``, is about to be sent."""
        self.sent_ns.append(at_ns)
        self._left_ns.append(at_ns)
        self._t1_ns.append(t1_ns)
        for column in (self._came_ns, self._t2_ns, self._t3_ns, self._seqs):
            column.append(0)

    def left(self, departure: Departure) -> None:
        """The kernel's word for when a packet left, taken where it fits with ours."""
        if departure.index < len(self.sent_ns):
            moment_ns = self._wall.monotonic(departure.wall_ns, self.sent_ns[departure.index])
            if moment_ns is not None:
                self._left_ns[departure.index] = moment_ns

    def came(self, arrival: Arrival, now_ns: int) -> None:
        """Whatever came from the peer: believed, or counted for what it is."""
        try:
            reply = read_reply(arrival.data)
        except PacketError:
            self.strange += 1
            return
        index = (reply.sender_seq - self._first_seq) & 0xFFFFFFFF
        ours = index < len(self.sent_ns) and reply.ssid in (0, self._ssid)
        if not ours or reply.sent_ns != self._t1_ns[index]:
            self.strange += 1
        elif self._came_ns[index]:
            self.duplicates += 1
            if reply.seq != self._seqs[index] and len(self._repeated) < len(self.sent_ns):
                self._repeated.add(reply.seq)
        else:
            self._first(index, reply, arrival, now_ns)

    def _first(self, index: int, reply: Reply, arrival: Arrival, now_ns: int) -> None:
        came_ns = None
        if arrival.wall_ns is not None:
            earliest_ns = max(self.sent_ns[index], self._wall.since_ns)
            came_ns = self._wall.monotonic(arrival.wall_ns, earliest_ns)
        if came_ns is None:
            came_ns = now_ns
        if came_ns - self.sent_ns[index] > self._wait_ns:
            self.strange += 1
            return
        if index < self._greatest:  # RFC 4737, 3.3
            self.reordered += 1
        self._greatest = max(index, self._greatest)
        self.answered += 1
        self.slowest_ns = max(self.slowest_ns, came_ns - self.sent_ns[index])
        self._came_ns[index] = came_ns
        self._t2_ns[index], self._t3_ns[index] = reply.received_ns, reply.replied_ns
        self._seqs[index] = reply.seq
        self.all_synced &= reply.synced
        if reply.reflector_dscp is not None:
            self.reflector_dscp = reply.reflector_dscp
        if arrival.dscp is not None:
            self.returned_dscp = arrival.dscp

    def rtt_ns(self, index: int) -> int | None:
        """Without the reflector's dwell (T3 - T2), where that lies between 0 and the whole round trip."""
        if not self._came_ns[index]:
            return None
        whole_ns = max(0, self._came_ns[index] - self._left_ns[index])
        dwell_ns = self._t3_ns[index] - self._t2_ns[index]
        return whole_ns - dwell_ns if 0 <= dwell_ns <= whole_ns else whole_ns

    def decided(self, now_ns: int) -> int:
        """How many packets there is something to say of: all but the last ones that still may be answered."""
        count = len(self.sent_ns)
        while count and not self._came_ns[count - 1] and now_ns - self.sent_ns[count - 1] <= self._wait_ns:
            count -= 1
        return count

    def rtts_ms(self, count: int) -> array[float]:
        return self._each(count, lambda index: self.rtt_ns(index) or 0)

    def forward_ms(self, count: int) -> array[float]:
        """T2 less when it left, by the wall clock. As it is: below zero where a clock errs by more."""
        offset_ns = self._wall.offset_ns
        return self._each(count, lambda index: self._t2_ns[index] - self._left_ns[index] - offset_ns)

    def backward_ms(self, count: int) -> array[float]:
        """When it came less T3, likewise."""
        offset_ns = self._wall.offset_ns
        return self._each(count, lambda index: self._came_ns[index] + offset_ns - self._t3_ns[index])

    def _each(self, count: int, delay_ns: Callable[[int], int]) -> array[float]:
        return array("d", (delay_ns(i) / 1e6 if self._came_ns[i] else nan for i in range(count)))

    def reflector_steps(self) -> int:
        """How often the reflector's wall clock was set. Seen where its dwell cannot be (below 0, or over the
        round trip, by more than DWELL_ERROR_NS), or where its distance from our monotonic clock, which T2
        bounds to within a round trip, is another one than at the packet before."""
        steps, credible = 0, True
        before: tuple[int, int, int] | None = None
        for index, came_ns in enumerate(self._came_ns):
            if not came_ns:
                continue
            whole_ns = came_ns - self._left_ns[index]
            t2_ns = self._t2_ns[index]
            if not -DWELL_ERROR_NS <= self._t3_ns[index] - t2_ns <= whole_ns + DWELL_ERROR_NS:
                steps += credible
                credible, before = False, None
                continue
            credible = True
            least_ns, most_ns = t2_ns - came_ns, t2_ns - self._left_ns[index]
            if before is not None:
                drift_ns = REFLECTOR_STEP_NS + (came_ns - before[2]) // 1000
                steps += max(least_ns - before[1], before[0] - most_ns) > drift_ns
            before = least_ns, most_ns, came_ns
        return steps

    def lost_forward(self, count: int) -> int | None:
        """How many never reached a reflector that counts what it answers (RFC 8762, 4.3: from 0 on, by one
        for each). As far as its count proves it, so never too many: of those after the last packet answered
        nobody knows, and one that was doubled on the way there, with a reply lost, hides another.

        None where it copies our numbers (stateless; they start too high to be taken for a count), began anew
        within the train, or counts in some other way.
        """
        replied = [index for index in range(count) if self._came_ns[index]]
        if not replied or any(self._seqs[i] == (self._first_seq + i) & 0xFFFFFFFF for i in replied):
            return None
        seqs = {self._seqs[index] for index in replied}
        in_order = not self.duplicates and not self.reordered
        if len(seqs) < len(replied) or (in_order and any(self._seqs[index] > index for index in replied)):
            return None
        twice = len(self._repeated - seqs)
        reached = max(seqs | self._repeated) + 1 - twice
        lost = replied[-1] + 1 - reached
        return lost if reached >= len(replied) and lost >= 0 else None
