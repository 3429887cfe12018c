"""Every English message that is given to people, collected from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

from diemcau_agent import indicator, marks, model, selftests
from diemcau_agent.codes import CODES
from diemcau_agent.selftest.plan import CHECKS

ROOT = Path(__file__).parents[2]
SPEAKERS = {"say", "translate"}
"""Whoever is called by one of these names takes a message first, and translates it."""


def literals() -> set[str]:
    """Messages that stand in the call itself: ``say("Self-test")``."""
    sources = [*ROOT.glob("agent/diemcau_agent/**/*.py"), *ROOT.glob("hw-sim/diemcau_sim/**/*.py")]
    return {message for source in sources for message in _in(ast.parse(source.read_text(encoding="utf-8")))}


def _in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in SPEAKERS:
                yield from _strings(node.args[0])


def _strings(argument: ast.expr) -> Iterator[str]:
    """A literal, or either side of a choice."""
    match argument:
        case ast.Constant(value=str(message)) if message:
            yield message
        case ast.IfExp(body=body, orelse=orelse):
            yield from _strings(body)
            yield from _strings(orelse)
        case _:
            pass


def tabled() -> set[str]:
    """Messages that stand in a table of words, of states, readings, steps or codes."""
    told = {text for code in CODES.values() for text in (code.cause, code.remedy)}
    told |= {text for check in CHECKS.values() for text in (check.title, check.expected)}
    for name, value in vars(marks).items():
        told |= set() if name.startswith("_") else set(_words(value))
    return told | set(selftests.WORDS.values()) | {indicator.PICTURE} | set(get_args(model.Scope))


def _words(value: object) -> Iterator[str]:
    """Of the tables in marks.py: marks, readings' labels, and words by key."""
    match value:
        case marks.Mark(word=word):
            yield word
        case marks.Shown(label=label) if label:
            yield label
        case tuple():
            for item in cast("tuple[object, ...]", value):
                yield from _words(item)
        case dict():
            for item in cast("dict[str, object]", value).values():
                yield from [item] if isinstance(item, str) else _words(item)
        case _:
            pass
