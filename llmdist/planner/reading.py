"""Reads JSON that a stranger may have written: every mistake is found and named, nothing is guessed.

`violations_of` checks parsed JSON against a dataclass by its field types; `build` makes the value once nothing is
wrong. All numbers in our files count or measure something, so each must be finite and not negative.
"""

from __future__ import annotations

import json
import math
import types
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..errors import PlanError

__all__ = ["build", "read_json", "refuse", "violations_of"]

LARGEST_FILE = 64 * 2**20
LARGEST_WHOLE = 2**62
LARGEST = 1e24
SHOWN = 30


class Twice(dict[str, Any]):
    """A JSON object in which `keys_twice` stood more than once."""

    keys_twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = Twice(pairs)
    names = [name for name, _ in pairs]
    if len(found) < len(names):
        found.keys_twice = tuple(name for name, count in Counter(names).items() if count > 1)
    return found


def read_json(path: str | Path, what: str) -> Any:
    """Return the parsed file; PlanError when it is missing, too large, cut off, or nested beyond reason."""
    try:
        size = Path(path).stat().st_size
        if size > LARGEST_FILE:
            raise PlanError(f"The {what} file {path} has {size} bytes, more than {LARGEST_FILE}: it is none of ours.")
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_object)
    except OSError as error:
        raise PlanError(f"The {what} file {path} cannot be read: {error.strerror}.") from error
    except RecursionError:
        raise PlanError(f"The {what} file {path} is nested too deeply to be one of ours.") from None
    except ValueError as error:  # also a wrong encoding, and whole numbers of thousands of digits
        raise PlanError(f"The {what} file {path} is not complete JSON: {str(error)[:200]}.") from error


def refuse(what: str, found: Sequence[str]) -> None:
    """Raise PlanError with every violation in one message, if there is any."""
    different = list(dict.fromkeys(found))
    more = f"; and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    if different:
        raise PlanError(f"{what} is not valid: {'; '.join(different[:SHOWN])}{more}.")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)} entries"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def violations_of(kind: Any, value: Any, where: str) -> list[str]:
    """Return what in parsed JSON does not fit the type `kind`; `where` is the path to it in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return [] if value is None and type(None) in inner else violations_of(inner[0], value, where)
    if is_dataclass(kind):
        return _object_violations(kind, value, where)
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            return [f"{where} is {_shown(value)}, not a list"]
        return [found for i, item in enumerate(value) for found in violations_of(inner[0], item, f"{where}[{i}]")]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            return [f"{where} is {_shown(value)}, not an object"]
        rows = (violations_of(inner[1], item, f"{where}.{name}") for name, item in value.items())
        return [*_twice(value, where), *(found for row in rows for found in row)]
    return _plain_violations(kind, value, where)


def _twice(value: dict[str, Any], where: str) -> list[str]:
    return [f"{where} has {name!r} twice" for name in getattr(value, "keys_twice", ())]


def _object_violations(kind: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is {_shown(value)}, not an object"]
    known = {field.name: field for field in fields(kind)}
    found = _twice(value, where)
    found += [f"{where} has an unknown field {name[:40]!r}" for name in value if name not in known]
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    found += [f"{where} lacks {name}" for name in needed if name not in value]
    for name in known:
        if name in value:
            found += violations_of(_hints(kind)[name], value[name], f"{where}.{name}")
    return found


def _plain_violations(kind: Any, value: Any, where: str) -> list[str]:
    if kind in (str, bool):
        wanted = "text" if kind is str else "true or false"
        return [] if isinstance(value, kind) else [f"{where} is {_shown(value)}, not {wanted}"]
    whole = kind is int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return [f"{where} is {_shown(value)}, not a {'whole ' if whole else ''}number"]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{where} is {value}, not a finite number"]
    if value < 0:
        return [f"{where} is {_shown(value)}, below 0"]
    too_large = value > (LARGEST_WHOLE if whole else LARGEST)
    return [f"{where} is {_shown(value)}, larger than anything real"] if too_large else []


def build(kind: Any, value: Any) -> Any:
    """Return `value`, which has no violations, as an instance of `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else build(inner[0], value)
    if is_dataclass(kind):
        made: Any = kind
        return made(**{name: build(_hints(made)[name], item) for name, item in value.items()})
    if origin in (tuple, list):
        return tuple(build(inner[0], item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {name: build(inner[1], item) for name, item in value.items()}
    return float(value) if kind is float else value
