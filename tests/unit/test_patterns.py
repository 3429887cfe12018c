"""A pattern ends where the text does, in Python and for whoever reads the schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest

from diemcau_agent import model, schema, topics
from diemcau_agent.commands.verbs import VERBS
from diemcau_agent.config import Id, Settings
from diemcau_agent.update.release import Release


def test_every_pattern_of_a_struct_ends_where_the_text_does() -> None:
    """In Python: there ``$`` lets a newline follow."""
    kinds = [*schema.DOCUMENTS.values(), *schema.NOTICES.values(), model.Claims, Settings, Release]
    _, defs = msgspec.json.schema_components([*kinds, *(verb.args for verb in VERBS.values())])
    found = {text for part in walk(defs) if isinstance(text := part.get("pattern"), str)}
    assert topics.ID_PATTERN in found
    assert len(found) > 10
    assert {text for text in found if not text.endswith(r"\Z")} == set()


def test_every_pattern_of_a_schema_is_one_of_ecma_262() -> None:
    found = {text for part in walk(schema.files()) if isinstance(text := part.get("pattern"), str)}
    assert topics.ID_PATTERN.replace(r"\Z", "$") in found
    assert {text for text in found if not text.endswith("$") or r"\Z" in text} == set()


def walk(data: object) -> Iterator[dict[str, Any]]:
    """Every object in ``data``."""
    if isinstance(data, dict):
        known = cast("dict[str, Any]", data)
        yield known
        data = list(known.values())
    for one in cast("list[object]", data) if isinstance(data, list) else ():
        yield from walk(one)


@pytest.mark.parametrize("text", ["xp-0417\n", "\nxp-0417", "xp-0417\r\n", "xp-0417\n\n"])
def test_an_id_with_a_newline_is_no_id_for_anybody(text: str) -> None:
    assert not topics.is_id(text)
    for kind in (model.PointId, Id):
        assert msgspec.convert(text.strip(), kind) == "xp-0417"
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, kind)
