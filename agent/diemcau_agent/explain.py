"""Why plain data is not what a struct wants: every reason at once, in a technician's words. Pure."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec
from msgspec import Meta, Struct


def explain(kind: type[Struct], data: Any, path: str = "") -> list[str]:
    """Every reason why plain ``data`` is no ``kind``, each with its path, what it got and what it expects."""
    errors: list[str] = []
    _walk(kind, data, path, errors)
    return errors


def explain_json(kind: type[Struct], text: bytes) -> list[str]:
    """As :func:`explain`, of JSON; no reason where it is not even that."""
    try:
        return explain(kind, msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _walk(kind: type[Struct], data: Any, path: str, errors: list[str]) -> None:
    if not isinstance(data, Mapping):
        errors.append(f"{path or 'file'}: got {_show(data)}, expected a table")
        return
    table = cast("Mapping[str, Any]", data)
    fields = {item.name: item for item in msgspec.structs.fields(kind)}
    for key in table:
        if key not in fields:
            import difflib  # only where somebody has erred: 0.2 MB

            near = difflib.get_close_matches(key, fields, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            errors.append(
                f"{_join(path, key)}: unknown key{hint}, expected one of {', '.join(sorted(fields))}"
            )
    for name, item in fields.items():
        where = _join(path, name)
        if name not in table:
            if item.required:
                errors.append(f"{where}: missing, expected {_expects(item.type)}")
            continue
        value = table[name]
        struct = _struct_in(item.type)
        if value is None and type(None) in get_args(item.type):
            continue
        if struct is not None and not (isinstance(value, str) and str in get_args(item.type)):
            _walk(struct, value, where, errors)
        else:
            _leaf(item.type, value, where, errors)


def _leaf(kind: Any, value: Any, where: str, errors: list[str]) -> None:
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(inner) is tuple and isinstance(value, list):
        entries, kinds = cast("list[Any]", value), get_args(inner)
        if kinds[1:] == (...,):
            kinds = kinds[:1] * len(entries)
        if len(kinds) == len(entries):
            for index, (one, entry) in enumerate(zip(kinds, entries, strict=True)):
                _leaf(one, entry, f"{where}[{index}]", errors)
        if any(error.startswith(f"{where}[") for error in errors):
            return
    if get_origin(inner) is dict and isinstance(value, Mapping):
        for key, entry in cast("Mapping[str, Any]", value).items():
            _leaf(get_args(inner)[1], entry, _join(where, key), errors)
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        at = re.search(r" - at `\$(.*)`$", str(error))
        place = where + (at.group(1) if at else "")
        errors.append(f"{place}: got {_show(value)}, expected {_expects(kind)}")


def _struct_in(kind: Any) -> type[Struct] | None:
    for option in get_args(kind) if _is_union(kind) else (kind,):
        if isinstance(option, type) and issubclass(option, Struct):
            return option
    return None


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _expects(kind: Any) -> str:
    """A type in a technician's words."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        meta = next(m for m in metas if isinstance(m, Meta))
        if meta.description:
            return meta.description
        bounds = ((">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt))
        limits = [f"{sign} {value:g}" for sign, value in bounds if value is not None]
        if meta.min_length:
            limits.append(f"at least {meta.min_length}")
        return " ".join([_expects(inner), " and ".join(limits)]).strip()
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(kind))
    if _is_union(kind):
        return " or ".join(_expects(option) for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is tuple:
        args = get_args(kind)
        if args[1:] == (...,):
            return f"a list, each {_expects(args[0])}"
        return "a list of " + ", ".join(_expects(arg) for arg in args)
    if get_origin(kind) is dict or _struct_in(kind) is not None:
        return "a table"
    names: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind, str(kind))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _show(value: Any) -> str:
    text = repr(value).replace("'", '"') if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
