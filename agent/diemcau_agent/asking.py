"""What the commands that ask the running agent do and print: ``status``, ``selftest``, ``line`` ..."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import line_page, plain, wording
from .control_client import AgentRefused, ControlClient, ControlError, NoAgent
from .exits import NO_AGENT, NOT, OK
from .plain import Line

STATUS_S = 10.0
SELFTEST_S = {"quick": 25.0, "full": 90.0}
"""Over the runner's own budgets (10 s and 60 s): a wait that has an end, should the runner have none."""
BASELINE_S = 120.0

_COLOURS = {"good": "green", "fair": "yellow", "bad": "bold red", "dim": "bright_black", "": ""}


@dataclass(frozen=True, slots=True)
class Asking:
    """``attended``: a person at a terminal looks on. Each method returns the program's exit code."""

    socket: Path
    language: str
    as_json: bool
    attended: bool

    def status(self) -> int:
        def ask() -> int:
            with ControlClient(self.socket) as client:
                status = client.call("status", timeout_s=STATUS_S)
            if self.as_json:
                _print_json(status)
            else:
                self._show(plain.status_lines(status, wording.speaking(self.language)))
            return OK if wording.readiness(status) == "ready" else NOT

        return self._guarded(ask)

    def selftest(self, scope: str) -> int:
        say = wording.speaking(self.language)

        def step(progress: dict[str, Any]) -> None:
            if self.attended and not self.as_json and progress.get("state") != "running":
                self._show([plain.step_line(progress, say)])

        def ask() -> int:
            with ControlClient(self.socket) as client:
                try:
                    report = client.call("selftest", scope=scope, timeout_s=SELFTEST_S[scope], progress=step)
                except KeyboardInterrupt:
                    with ControlClient(self.socket) as other:
                        other.call("cancel", timeout_s=STATUS_S)
                    print(say("The self-test was cancelled."), file=sys.stderr)
                    return NOT
            if self.as_json:
                _print_json(report)
            else:
                self._show(plain.report_lines(report, self.language))
            return OK if report.get("result") == "passed" else NOT

        return self._guarded(ask)

    def press(self, hold_s: float) -> int:
        say = wording.speaking(self.language)

        def ask() -> int:
            with ControlClient(self.socket) as client:
                answer = client.call("press", hold_s=hold_s, timeout_s=STATUS_S)
            if self.as_json:
                _print_json(answer)
            else:
                print(say("The button was held.") if hold_s else say("The button was pressed."))
            return OK

        return self._guarded(ask)

    def baseline(self) -> int:
        say = wording.speaking(self.language)

        def ask() -> int:
            with ControlClient(self.socket) as client:
                recorded = client.call("baseline", timeout_s=BASELINE_S)
            if self.as_json:
                _print_json(recorded)
            else:
                print(say("Recorded: from now on this room is judged against how it is today."))
                self._show(plain.baseline_lines(recorded, say))
            return OK

        return self._guarded(ask)

    def line(self) -> int:
        def ask() -> int:
            with ControlClient(self.socket) as client:
                line = client.call("line", timeout_s=STATUS_S)
            if self.as_json:
                _print_json(line)
            else:
                self._show(line_page.line_lines(line, wording.speaking(self.language)))
            return OK if line.get("line", {}).get("state") == "ok" else NOT

        return self._guarded(ask)

    def watch(self) -> int:
        def ask() -> int:
            try:
                if self.attended and not self.as_json:
                    self._live()
                else:
                    self._follow()
            except KeyboardInterrupt:
                pass  # how one leaves
            return OK

        return self._guarded(ask)

    def _live(self) -> None:
        ControlClient(self.socket).close()  # no agent at all is an exit code, not an empty screen
        from .live import Key, LiveScreen
        from .screen import Hint

        def press(hold_s: float, told: str) -> str:
            with ControlClient(self.socket) as client:
                client.call("press", hold_s=hold_s, timeout_s=STATUS_S)
            return told

        def keys(say: wording.Say) -> list[Key | Hint]:
            return [
                Key(
                    Hint("t/enter", say("press the button")),
                    lambda: press(0.0, say("The button was pressed.")),
                ),
                Key(Hint("h", say("hold it")), lambda: press(3.0, say("The button was held."))),
            ]

        LiveScreen(self.socket, self.language, keys).run()

    def _follow(self) -> None:
        """Every change as lines, until the agent leaves or nobody reads any more."""
        say = wording.speaking(self.language)
        with ControlClient(self.socket) as client:
            client.send({"do": "watch"})
            while True:
                message = client.receive(timeout_s=STATUS_S * 60)
                if self.as_json:
                    print(json.dumps(message["status"], ensure_ascii=False), flush=True)
                else:
                    self._show(plain.status_lines(message["status"], say))
                    print(flush=True)

    def _show(self, lines: Iterable[Line]) -> None:
        """Plain for pipes, in colour for people."""
        if not self.attended:
            for text, _ in lines:
                print(wording.printable(text))
            return
        from rich.console import Console

        console = Console(highlight=False)
        for text, tone in lines:
            console.print(wording.printable(text), style=_COLOURS[tone] or None, markup=False, soft_wrap=True)

    def _guarded(self, ask: Callable[[], int]) -> int:
        """The exit code; what went wrong told in a line (or as JSON), never as a traceback."""
        say = wording.speaking(self.language)
        try:
            return ask()
        except KeyboardInterrupt:
            return NOT
        except NoAgent as error:
            return self._wrong("no_agent", f"{say('No agent is running here')}: {error}", NO_AGENT)
        except AgentRefused as error:
            return self._wrong(error.code, f"{say('The agent refused')}: {error}", NOT)
        except ControlError as error:
            return self._wrong("no_answer", str(error), NOT)

    def _wrong(self, code: str, detail: str, exit_code: int) -> int:
        if self.as_json:
            _print_json({"error": {"code": code, "detail": detail}})
        else:
            print(detail, file=sys.stderr)
        return exit_code


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))
