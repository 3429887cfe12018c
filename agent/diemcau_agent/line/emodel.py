"""What talk over the line would be worth: the E-model of ITU-T G.107 (06/2015), narrowband. Pure.

    R = Ro - Is - Id - Ie,eff + A

Every parameter that a line cannot tell has G.107's default (Table 3), so that the rating is the line's alone
and a perfect line has the R = 93.2, MOS = 4.41 that the Recommendation states:

=================  =========  =====================================================================
SLR, RLR           8, 2 dB    loudness ratings, sending and receiving
STMR, Ds, Dr       15, 3, 3   sidetone masking rating (dB), D-factors; LSTR = STMR + Dr = 18 dB
Nc, Nfor           -70, -64   circuit noise (dBm0p), noise floor at the receiver (dBmp)
Ps, Pr             35, 35     room noise, both ends, dB(A)
qdu                1          one conversion to digital
TELR, WEPL         65, 110    echo loss, talker's and listener's, dB: an echo canceller that works
T, Ta, Tr          Ta, Ta, 2 Ta   echo path, absolute and round-trip delay: one symmetric path
sT, mT             1, 100 ms  delay sensitivity: Id's pure delay starts to count at 100 ms
A                  0          no advantage factor: nothing is forgiven for being far away
Ie, Bpl            0, 25.1    G.711 with packet loss concealment, random loss (G.113 (11/2007), Appendix I)
=================  =========  =====================================================================

G.711 because its values are the Recommendation's own and every other tool's; G.113 has none for Opus. Table 3
covers Ta up to 500 ms, loss up to 20 %, BurstR up to 8 (above 2 only with less than 2 % lost): beyond, the
same formulas go on, and R below 0 is no worse than 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SLR, RLR, STMR, DS, DR = 8.0, 2.0, 15.0, 3.0, 3.0
NC, NFOR, PS, PR, QDU = -70.0, -64.0, 35.0, 35.0, 1.0
TELR, WEPL, MT_MS = 65.0, 110.0, 100.0
IE, BPL = 0.0, 25.1

PACKET_MS = 20.0
"""G.711 fills a packet for that long before it leaves (RFC 3551, 4.5, the default)."""
CONCEALMENT_MS = 3.75
"""What G.711's concealment looks ahead (ITU-T G.711, Appendix I)."""


def mouth_to_ear_ms(rtt_p95_ms: float) -> float:
    """Absolute one-way delay Ta from a round trip's 95th percentile: codec, path and play-out buffer.

    A play-out buffer makes every packet as late as the late ones: it takes 95 % of the delay variation, so
    path and buffer together are min + PDV p95 = the delay's p95. Half of the round trip, since without
    synced clocks nobody knows the ways apart; with all the variation on one way, the buffer there is up to
    twice that. The last 5 % are stretched over, as adaptive buffers do, not counted as lost.
    """
    return PACKET_MS + CONCEALMENT_MS + max(0.0, rtt_p95_ms / 2)


def burst_ratio(loss_bursts: Sequence[int], loss_ratio: float) -> float:
    """BurstR (G.107, 7.5): mean length of the bursts seen over that of random loss, 1 / (1 - ratio), and
    never below 1. Bursts are cut at a train's ends, so that a short train says too little, never too much."""
    if not loss_bursts:
        return 1.0
    return max(1.0, sum(loss_bursts) / len(loss_bursts) * (1.0 - loss_ratio))


def r_factor(one_way_ms: float, loss_ratio: float, burst_ratio: float = 1.0) -> float:
    """R of a path with that mouth-to-ear delay (0 or more) and loss (0 to 1). Equations: G.107's numbers."""
    ppl = 100.0 * loss_ratio
    ie_eff = IE + (95.0 - IE) * ppl / (ppl / burst_ratio + BPL)  # 7-29
    return RO - simultaneous(one_way_ms) - delay(one_way_ms) - ie_eff


def mos(r: float) -> float:
    """Mean opinion score, conversational (G.107, Annex B): 1 to 4.5. Its cubic dips to 0.99 for R below 6.5,
    where no scale goes: 1 there."""
    if r < 0:
        return 1.0
    if r > 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r))


def pure_delay(ta_ms: float) -> float:
    """Idd (7-27, 7-28): what it costs to wait for the other, with no echo at all."""
    if ta_ms <= MT_MS:
        return 0.0
    x = math.log2(ta_ms / MT_MS)
    return 25.0 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)


def delay(ta_ms: float) -> float:
    """Id = Idte + Idle + Idd (7-18): talker's echo, listener's echo, delay alone."""
    terv = TELR - 40 * math.log10((1 + ta_ms / 10) / (1 + ta_ms / 150)) + 6 * math.exp(-0.3 * ta_ms * ta_ms)
    above = (-1.5 * (_NO - RLR)) - (80 + 2.5 * (terv - 14))  # Roe - Re
    idte = (above / 2 + math.sqrt(above * above / 4 + 100) - 1) * (1 - math.exp(-ta_ms))
    above = RO - 10.5 * (WEPL + 7) * (2 * ta_ms + 1) ** -0.25  # Ro - Rle
    idle = above / 2 + math.sqrt(above * above / 4 + 169)
    return idte + idle + pure_delay(ta_ms)


def simultaneous(t_ms: float) -> float:
    """Is = Iolr + Ist + Iq (7-8): too loud, sidetone, quantizing."""
    stmro = -10 * math.log10(10 ** (-STMR / 10) + math.exp(-t_ms / 4) * 10 ** (-TELR / 10))
    ist = (
        12 * (1 + ((stmro - 13) / 6) ** 8) ** (1 / 8)
        - 28 * (1 + ((stmro + 1) / 19.4) ** 35) ** (1 / 35)
        - 13 * (1 + ((stmro - 3) / 33) ** 13) ** (1 / 13)
        + 29
    )
    return _IOLR + ist + _IQ


def _noise_dbm0p() -> float:
    """No (7-3 to 7-7): circuit, both rooms and the noise floor, their powers added at the 0 dBr point."""
    olr = SLR + RLR
    sender_room = PS - SLR - DS - 100 + 0.004 * (PS - olr - DS - 14) ** 2
    pre = PR + 10 * math.log10(1 + 10 ** ((10 - (STMR + DR)) / 10))
    receiver_room = RLR - 121 + pre + 0.008 * (pre - 35) ** 2
    return 10 * math.log10(sum(10 ** (n / 10) for n in (NC, sender_room, receiver_room, NFOR + RLR)))


def _overall_loudness() -> float:
    """Iolr (7-9, 7-10)."""
    x = (SLR + RLR + 0.2 * (64 + _NO - RLR)) / 8
    return 20 * ((1 + x**8) ** (1 / 8) - x)


def _quantizing() -> float:
    """Iq (7-13 to 7-17)."""
    q = 37 - 15 * math.log10(QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    y, z = (RO - 100) / 15 + 46 / 8.4 - g / 9, 46 / 30 - g / 40
    return 15 * math.log10(1 + 10**y + 10**z)


_NO = _noise_dbm0p()
RO = 15 - 1.5 * (SLR + _NO)
"""Basic signal-to-noise ratio (7-2): 94.77."""
_IOLR = _overall_loudness()
_IQ = _quantizing()
