"""The short form of ``make hostile``: no hostile command runs, each good one among them runs once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import attacks
from attacks import ATTACKS
from diemcau_agent.jws import Jws
from fakeclock import FakeClock
from loot import Attack, Loot, good
from onslaught import attack
from stage import Message, Stage


async def test_of_two_thousand_hostile_commands_none_runs_and_every_good_one_runs_once(
    tmp_path: Path,
) -> None:
    outcome = await attack(tmp_path, 2000, seed=20261127)
    print(outcome.table())
    assert outcome.wrong == []
    assert outcome.restarts
    assert outcome.good > 50
    assert set(outcome.sent) == {kind.__name__ for kind in ATTACKS}


@pytest.mark.parametrize("seed", range(3))
async def test_another_seed_is_another_stream(seed: int, tmp_path: Path) -> None:
    assert (await attack(tmp_path, 400, seed)).wrong == []


async def test_a_verifier_that_believes_everybody_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room can fail: with signatures that always hold, attacks run and are counted."""

    def believe(letter: Jws, public: bytes) -> bool:
        return True

    monkeypatch.setattr(Jws, "signed_by", believe)
    outcome = await attack(tmp_path, 400, seed=1, kinds=(attacks.wrong_key, attacks.bytes_changed))
    assert outcome.codes["wrong_key"]["ran"] > 100
    assert any("wrong_key" in line for line in outcome.wrong)


@pytest.mark.parametrize("kind", ATTACKS, ids=lambda kind: kind.__name__)
async def test_each_attack_is_refused_while_what_it_was_made_of_runs(
    kind: Attack, tmp_path: Path, clock: FakeClock
) -> None:
    stage = await Stage.open(tmp_path, clock)
    loot = Loot(stage, random.Random(7), [], Message("", b""))
    first = good(loot)
    assert await stage.deliver(first) == "ran"
    loot.seen.append(first)
    loot.held = stage.order(loot.fresh())
    for _ in range(25):
        assert await stage.deliver(kind(loot)) != "ran"
    assert await stage.deliver(loot.held) == "ran"
    await stage.room.close()
