"""``make hostile``: a hundred thousand hostile commands against the real dispatcher; none may run.

    python tests/hostile/onslaught.py [--count 100000] [--seed S] [--kinds bytes_changed,giant]

Real are the signatures, the keyring, the dispatcher, the verbs and the journal on its card; the devices are
scripted, and the clock is the test's own. Among the attacks are good commands, each kept back until fifty
attacks have been made of it: each runs once, which shows that the counter counts and that nothing but the
attack was wrong. The agent is restarted and killed, its nonce renewed, its clock unsynced meanwhile.

The exit code is 1 where anything ran that should not, or did not that should.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from attacks import ATTACKS
from fakeclock import FakeClock
from loot import Attack, Loot, good, id_of
from stage import Message, Stage, claims_of

ATTACKS_A_GOOD_ONE = 50
RESTART_EVERY = 1500
NONCE_EVERY = 900
SEEN_LIMIT = 3000
"""Three times what the journal keeps: the oldest it has forgotten."""


class Outcome(msgspec.Struct):
    """``sent``, ``codes``: by kind. ``wrong``: what ran and should not, or the other way round."""

    sent: Counter[str]
    codes: dict[str, Counter[str]]
    good: int
    restarts: int
    wrong: list[str]

    @property
    def attacks(self) -> int:
        return self.sent.total()

    def table(self) -> str:
        lines = ["| attack | sent | refused by | run |", "|---|---:|---|---:|"]
        for kind, count in self.sent.items():
            codes = self.codes[kind]
            by = ", ".join(f"{code} {number}" for code, number in codes.most_common() if code != "ran")
            by = by.replace("nothing", "told its first answer again")
            lines.append(f"| {kind.replace('_', ' ')} | {count} | {by} | {codes['ran']} |")
        run = sum(codes["ran"] for codes in self.codes.values())
        lines.append(f"| **all** | {self.attacks} | {self.restarts} restarts meanwhile | **{run}** |")
        return "\n".join(
            [*lines, f"\ngood commands: {self.good} sent, {self.good - len(self.wrong)} run once"]
        )


async def attack(
    folder: Path, count: int, seed: int, kinds: Sequence[Attack] = ATTACKS, clock: FakeClock | None = None
) -> Outcome:
    rng = random.Random(seed)
    clock = clock or FakeClock()
    stage = await Stage.open(folder, clock)
    outcome = Outcome(Counter(), {kind.__name__: Counter() for kind in kinds}, 0, 0, [])
    expected: set[str] = set()
    seen: list[Message] = []

    async def send_good(message: Message) -> None:
        if await stage.deliver(message) != "ran":
            outcome.wrong.append(f"good, and not run: {message.topic} {message.payload!r}")
        outcome.good += 1
        expected.add(id_of(message))
        seen.insert(rng.randrange(len(seen) + 1), message)
        del seen[SEEN_LIMIT:]

    loot = Loot(stage, rng, seen, Message("", b""))
    for number in range(count):
        if number % RESTART_EVERY == RESTART_EVERY // 2:
            await stage.start_again(killed=rng.random() < 0.5, boot=f"boot-{number}")
            outcome.restarts += 1
        elif number % NONCE_EVERY == NONCE_EVERY // 2:
            stage.renew()
        if number % ATTACKS_A_GOOD_ONE == 0 or loot.held.payload == b"":
            await clock.advance(1.0)
            await send_good(good(loot))
            loot.held = stage.order(loot.fresh())
        elif number % ATTACKS_A_GOOD_ONE == ATTACKS_A_GOOD_ONE - 1:
            if claims_of(loot.held)["nonce"] == stage.nonce:  # else it was meant for the session before
                await send_good(loot.held)
            loot.held = stage.order(loot.fresh())
        kind = kinds[number % len(kinds)]
        message = kind(loot)
        code = await stage.deliver(message)
        outcome.sent[kind.__name__] += 1
        outcome.codes[kind.__name__][code] += 1
        if code == "ran":
            outcome.wrong.append(f"{kind.__name__}: {message.topic} {message.payload[:600]!r}")
    outcome.wrong += [f"{name} ran {times} times" for name, times in stage.ran.items() if times != 1]
    outcome.wrong += [f"{name} ran, sent by no operator" for name in set(stage.ran) - expected]
    outcome.wrong += [f"{name} did not run" for name in expected - set(stage.ran)]
    await stage.room.close()
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description="Hostile commands against the real dispatcher.")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="the same seed sends the same commands")
    parser.add_argument("--kinds", default=",".join(kind.__name__ for kind in ATTACKS))
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    kinds = [kind for kind in ATTACKS if kind.__name__ in arguments.kinds.split(",")]
    logging.disable(logging.CRITICAL)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(attack(Path(folder), arguments.count, seed, kinds))
    took_s = time.monotonic() - began_s
    print(outcome.table())
    print(f"seed {seed}, {took_s:.0f} s, {outcome.attacks / took_s:.0f} a second")
    for line in outcome.wrong[:20]:
        print("WRONG:", line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
