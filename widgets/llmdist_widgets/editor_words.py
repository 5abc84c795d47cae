"""What a person types to name blocks and where they go: the one parser of the magic, the API and the buttons.

Blocks: ``layers.3-7.mlp``, ``layers.0-3``, ``mlp``, ``embed``, ``head``, ``all``, ``layers.2.mlp..head``, joined by
commas. Targets: ``cpu``, ``gpu``, ``disk`` (rest there, compute where it was), ``disk>cpu``, a precision, a mode such
as ``streamed`` or ``split:3``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmdist.errors import PlanError
from llmdist.hardware.profile import Device
from llmdist.model.blocks import BYTES_PER_PARAMETER
from llmdist.planner.problem import MODES

__all__ = ["Target", "block_indices", "block_words", "parse_target", "span_words", "target_words"]

_MODE = re.compile(rf"{'|'.join(MODES)}|split:[1-7]")
_LAYER = re.compile(r"layers\.(\d+)(?:\.(.+))?")
_LAYERS = re.compile(r"layers\.(\*|\d+(?:-\d+)?)(?:\.(.+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """What a move asks for; None leaves it to the block's present choice, or to what is possible."""

    execute: str | None = None
    home: str | None = None
    precision: str | None = None
    mode: str | None = None


def _kind(name: str) -> str:
    """Return the block's kind as its name tells it: ``mlp`` of ``layers.3.mlp``."""
    match = _LAYER.fullmatch(name)
    return (match.group(2) or "") if match else name


def _examples(names: Sequence[str]) -> str:
    layers = [int(m.group(1)) for name in names if (m := _LAYER.fullmatch(name))]
    kinds = list(dict.fromkeys(_kind(name) for name in names if _LAYER.fullmatch(name)))
    single = [name for name in names if not _LAYER.fullmatch(name)]
    if not layers:
        return f"blocks are {', '.join(single)}"
    span = f"{min(layers)}-{max(layers)}"
    known = ", ".join([f"layers {span} with {' and '.join(kinds[:4])}", *single])
    return f"the model has {known}; write for example layers.{span}.{kinds[-1]}"


def _part(names: Sequence[str], word: str) -> list[int]:
    if word == "all":
        return list(range(len(names)))
    if word in names:
        return [names.index(word)]
    match = _LAYERS.fullmatch(word)
    if match is None:
        return [i for i, name in enumerate(names) if _kind(name).split(".")[0] == word]
    first, _, last = match.group(1).partition("-")
    found = []
    for index, name in enumerate(names):
        layer = _LAYER.fullmatch(name)
        if layer is None or not (first == "*" or int(first) <= int(layer.group(1)) <= int(last or first)):
            continue
        kind, rest = match.group(2), layer.group(2) or ""
        if kind is None or rest == kind or rest.startswith(f"{kind}."):
            found.append(index)
    return found


def block_indices(names: Sequence[str], text: str) -> tuple[int, ...]:
    """Return the indices of the blocks that `text` names, in the model's order.

    Raises
    ------
    PlanError : a part of the text names no block of this model.
    """
    found: set[int] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        first, dots, last = word.partition("..")
        if dots:
            ends = [_part(names, first.strip()), _part(names, last.strip())]
            part = list(range(ends[0][0], ends[1][-1] + 1)) if all(ends) else []
        else:
            part = _part(names, word)
        if not part:
            raise PlanError(f"No block is called {word!r}: {_examples(names)}.")
        found.update(part)
    if not found:
        raise PlanError(f"No block was named: {_examples(names)}.")
    return tuple(sorted(found))


def span_words(names: Sequence[str], indices: Sequence[int]) -> str:
    """Return a short name of some blocks, such as ``layers.3.mlp`` or ``5 blocks (layers.3.mlp .. head)``."""
    if not indices:
        return "no block"
    if len(indices) == 1:
        return names[indices[0]]
    return f"{len(indices)} blocks ({names[indices[0]]} .. {names[indices[-1]]})"


def _device(devices: Sequence[Device], word: str, text: str) -> str:
    """Return a device's name; ``gpu`` is the first CUDA device."""
    kind = {"gpu": "cuda"}.get(word, word)
    for device in devices:
        if word == device.name or device.kind == kind:
            return device.name
    known = ", ".join(d.name for d in devices)
    raise PlanError(
        f"{text!r} names no device, precision or mode: devices of this plan are {known}; precisions "
        f"{', '.join(BYTES_PER_PARAMETER)}; modes {', '.join(MODES)}; 'disk>cpu' rests on disk and computes on the CPU."
    )


def parse_target(devices: Sequence[Device], words: Sequence[str]) -> Target:
    """Return what ``cpu``, ``disk>cpu int8`` or ``bf16`` ask for.

    Raises
    ------
    PlanError : a word is unknown, said twice, or a disk was asked to compute.
    """
    found: dict[str, str] = {}
    for word in words:
        if word in BYTES_PER_PARAMETER or _MODE.fullmatch(word):
            new = {"precision" if word in BYTES_PER_PARAMETER else "mode": word}
        else:
            home, arrow, execute = word.partition(">")
            new = {"home": _device(devices, home, word)}
            if arrow:
                new["execute"] = _device(devices, execute, word)
            elif next(d for d in devices if d.name == new["home"]).executes:
                new["execute"] = new["home"]
        twice = found.keys() & new.keys()
        if twice:
            raise PlanError(f"{word!r} says the {min(twice)} a second time: name each of it once.")
        found |= new
    if not found:
        raise PlanError("Where the blocks should go is missing: name a device such as cpu or disk, or a precision.")
    return Target(**found)


def block_words(names: Sequence[str]) -> list[str]:
    """Return the words that name blocks, for completion: every block, its layer, kinds and ranges."""
    layers = list(dict.fromkeys(m.group(1) for name in names if (m := _LAYER.fullmatch(name))))
    kinds = list(dict.fromkeys(_kind(name).split(".")[0] for name in names))
    ranges = [f"layers.{layers[0]}-{layers[-1]}{suffix}" for suffix in ("", ".attention", ".mlp")] if layers else []
    return list(dict.fromkeys(["all", *kinds, *ranges, *(f"layers.{n}" for n in layers), *names]))


def target_words(devices: Sequence[Device], precisions: Sequence[str]) -> list[str]:
    """Return the words that name targets, for completion."""
    gpu = ["gpu"] if any(d.kind == "cuda" for d in devices) else []
    pairs = [f"{h.name}>{e.name}" for h in devices for e in devices if e.executes and h is not e]
    return [*gpu, *(d.name for d in devices), *pairs, *precisions]
