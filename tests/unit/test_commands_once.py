"""No command runs twice: any order of sending, repeating, waiting, stopping, dying and starting again."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from command_room import Room
from fakeclock import FakeClock
from steered_spool import crash

IDS = [f"command-{number}" for number in range(6)]


class Once(RuleBasedStateMachine):
    """Every id is a ``display`` command whose message is the id; a gate lets it end."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.ran: Counter[str] = Counter()
        self.ended: dict[str, tuple[str, str | None]] = {}
        self.gate = asyncio.Event()
        self.room = self.runner.run(self.start())

    def teardown(self) -> None:
        self.runner.run(self.room.close())
        self.runner.close()
        self.folder.cleanup()

    async def start(self) -> Room:
        room = await Room.open(Path(self.folder.name), self.clock)
        self.gate = gate = asyncio.Event()

        async def show(args: Any) -> dict[str, Any]:
            self.ran[args["message"]] += 1
            await gate.wait()
            return {"message": args["message"]}

        room.workers.answers["display", "set"] = show
        return room

    @rule(command=st.sampled_from(IDS), spread_s=st.sampled_from([0, 0, 30]), times=st.integers(1, 3))
    def send(self, command: str, spread_s: float, times: int) -> None:
        args = {"message": command, "spread_s": spread_s}

        async def act() -> None:
            await asyncio.gather(*(self.room.send("display", args, id=command) for _ in range(times)))
            await self.room.replied()

        self.runner.run(act())

    @rule()
    def let_them_end(self) -> None:
        async def act() -> None:
            self.gate.set()
            await self.clock.advance(60)
            await self.room.idle()

        self.runner.run(act())

    @rule()
    def time_passes(self) -> None:
        self.runner.run(self.clock.advance(20))

    @rule(orderly=st.booleans())
    def start_again(self, orderly: bool) -> None:
        async def act() -> None:
            self.note()
            if orderly:
                await self.room.close()
            else:  # as a SIGKILL: the tasks are gone, the file is as it is
                for task in set(self.room.dispatcher._running.tasks.values()):
                    task.cancel()
                await crash(self.room.spool)
            self.room = await self.start()
            await self.room.dispatcher.resume()
            await self.room.idle()

        self.runner.run(act())

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """An id that ended gives the same end for ever."""
        command = data.draw(st.sampled_from(sorted(self.ended)))

        async def act() -> None:
            self.room.replies.clear()
            await self.room.send("display", {"message": command}, id=command)
            await self.room.replied()

        before = dict(self.ended)
        self.note()
        self.runner.run(act())
        mine = [reply for reply in self.room.answers if reply.id == command]
        assert [(reply.state, reply.code) for reply in mine] == [before[command]]

    def note(self) -> None:
        for reply in self.room.answers:
            if reply.state in ("done", "failed"):
                end = (reply.state, reply.code)
                assert self.ended.setdefault(reply.id, end) == end
            assert reply.state != "failed" or reply.code == "interrupted"

    @invariant()
    def nothing_ran_twice(self) -> None:
        self.note()
        assert all(count == 1 for count in self.ran.values()), self.ran
        assert all(self.ran[command] for command, (state, _) in self.ended.items() if state == "done")


TestOnce = Once.TestCase
TestOnce.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
