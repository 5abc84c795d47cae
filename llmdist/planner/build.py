"""From a model, a machine and a person's limits to a planning problem."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ..cost.workspace import workspace_bytes
from ..errors import InfeasibleError, PlanError
from ..hardware.profile import Device, HardwareProfile
from ..model.blocks import BYTES_PER_PARAMETER, EXECUTABLE_PRECISIONS, PLAIN_PRECISIONS, ModelProfile
from ..units import format_bytes, parse_size
from .placement import Assignment
from .problem import PlanningProblem, Workload

__all__ = ["DEFAULT_CONTEXT", "DRIVER_BYTES", "build_problem", "unpacking_if_it_fits"]

DEFAULT_CONTEXT = 2048
#: CUDA's context, its libraries' workspaces, kernels and recorded steps: 0.83 GiB beside the plan on an H200.
DRIVER_BYTES = 900 << 20
_Found = TypeVar("_Found")
_HANDSHAKE_SECONDS = 20e-6
_FREE_MEMORY_SHARE = 0.8  # of what is free, when no cap is given


def build_problem(
    profile: ModelProfile,
    hardware: HardwareProfile,
    *,
    vram: int | str | None = None,
    ram: int | str | None = None,
    disk: bool = True,
    precision: str | Sequence[str] | None = None,
    context: int | None = None,
    batch: int = 1,
    objective: str = "latency",
    locks: Mapping[str, Assignment] | None = None,
    kv: str | None = None,
) -> PlanningProblem:
    """Return the problem of placing `profile` on `hardware` under the given limits.

    Raises
    ------
    UnitError : a size cannot be read. PlanError : a limit does not suit the model or this version.
    """
    if not isinstance(batch, int) or batch < 1:
        raise PlanError(f"A batch of {batch!r} sequences was asked: give a whole number from 1.")
    caps: dict[str, int] = {}
    for device in hardware.devices:
        limit = ram if device.kind == "cpu" else vram if device.kind == "cuda" else None
        asked = None if limit is None else _given(parse_size(limit), device, hardware)
        if device.kind == "cuda" and hardware.source == "measured":  # a known machine's memory is without it
            whole = device.free_bytes if asked is None else asked
            caps[device.name] = max(0, whole - DRIVER_BYTES)
        elif asked is not None:
            caps[device.name] = asked
        elif device.kind == "cpu":
            caps[device.name] = int(device.free_bytes * _FREE_MEMORY_SHARE)
    _check_memory(hardware, vram)
    chosen = _without_bf16(_precisions(profile, precision), hardware)
    plain = _plain(chosen)
    tokens = _context(profile, context)
    devices = tuple(d for d in hardware.devices if disk or d.kind != "disk")
    names = {d.name for d in devices}
    new_tokens = min(128, max(1, tokens // 2))
    return PlanningProblem(
        blocks=profile.blocks,
        devices=devices,
        links=tuple(k for k in hardware.links if {k.source, k.target} <= names),
        hidden_size=profile.hidden_size,
        workload=Workload(batch, tokens - new_tokens, new_tokens, kv_precision=_kv_precision(profile, kv, plain)),
        caps=caps,
        precisions=chosen,
        workspace_bytes=_workspace(profile, tokens, batch, chosen, kv == "int8"),
        objective=objective,
        locks=dict(locks or {}),
        modes=_modes(profile, hardware),
        join_seconds=_join_seconds(hardware),
        spread=hardware.spread,
    )


def unpacking_if_it_fits(
    problem: PlanningProblem, profile: ModelProfile, found: Callable[[PlanningProblem], _Found]
) -> _Found:
    """Return what `found` makes of the problem; where nothing fits, of plain weights alone, which are not unpacked."""
    try:
        return found(problem)
    except InfeasibleError:
        plain = _without_unpacking(problem, profile)
        if plain is None:
            raise
        return found(plain)


def _without_unpacking(problem: PlanningProblem, profile: ModelProfile) -> PlanningProblem | None:
    """Return the problem with plain weights alone, whose workspace unpacks nothing; None where that changes nothing.

    A precision that is allowed must never make a plan impossible: this one is tried where `problem` has no plan.
    """
    plain = tuple(name for name in problem.precisions if name in PLAIN_PRECISIONS)
    locked = {lock.precision for lock in problem.locks.values()}
    if not plain or plain == problem.precisions or not locked <= set(plain):
        return None
    load = problem.workload
    workspace = _workspace(profile, load.context, load.batch, plain, load.kv_precision == "int8")
    return replace(problem, precisions=plain, workspace_bytes=workspace)


def _plain(precisions: Sequence[str]) -> str:
    """Return the precision of the activations."""
    return next((name for name in precisions if name in PLAIN_PRECISIONS), "bf16")


def _workspace(profile: ModelProfile, tokens: int, batch: int, precisions: Sequence[str], int8_cache: bool) -> int:
    return workspace_bytes(
        profile.blocks, profile.hidden_size, profile.vocab_size, tokens, batch, _plain(precisions),
        quantised=any(name not in PLAIN_PRECISIONS for name in precisions), int8_cache=int8_cache,
    )  # fmt: skip


def _given(limit: int, device: Device, hardware: HardwareProfile) -> int:
    """Return the limit, at most the device's whole memory; where less than it is free, say so."""
    if hardware.source == "measured" and limit > device.free_bytes:
        name, taken = device.name, min(limit, device.memory_bytes)
        free, whole = format_bytes(device.free_bytes), format_bytes(device.memory_bytes)
        words = f"A limit of {format_bytes(limit)} was given for {name}, which has {whole}, {free} of them free now"
        end = "." if taken == limit else f": {whole} is taken."
        warnings.warn(words + end, stacklevel=4)
        return taken
    return limit


def _check_memory(hardware: HardwareProfile, vram: int | str | None) -> None:
    if vram is not None:
        size = format_bytes(parse_size(vram))
        if not any(d.kind == "cuda" for d in hardware.devices):
            warnings.warn(
                f"A GPU limit of {size} was given, but this machine has no CUDA GPU: the plan uses the CPU; "
                "limit its memory with ram (--ram).",
                stacklevel=4,
            )


def _precisions(profile: ModelProfile, precision: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the precisions that blocks may take: int8, int4 and at most one plain type, that of the activations."""
    names = [profile.precision] if precision is None else precision
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in BYTES_PER_PARAMETER]
    if unknown:
        raise PlanError(f"Unknown precision {', '.join(unknown)}: known are {', '.join(BYTES_PER_PARAMETER)}.")
    plain = sorted({name for name in names if name in PLAIN_PRECISIONS})
    if not names or len(plain) > 1 or not set(names) <= set(EXECUTABLE_PRECISIONS):
        raise PlanError(
            f"Precision {','.join(names)} was asked: give at most one of {', '.join(PLAIN_PRECISIONS)}, alone or "
            f"with int8 and int4; the checkpoint is in {profile.precision}."
        )
    if len(plain) < len(set(names)) and any(block.kind == "layer" for block in profile.blocks):
        raise PlanError(
            f"Precision {','.join(names)} was asked, and {profile.name} is computed by transformers' own modules, "
            f"which llmdist does not quantise: give one of {', '.join(PLAIN_PRECISIONS)}."
        )
    return tuple(dict.fromkeys(names))


def _without_bf16(precisions: tuple[str, ...], hardware: HardwareProfile) -> tuple[str, ...]:
    """Return the precisions with fp16 in place of bf16 where a GPU has none, and say so."""
    lacking = [d for d in hardware.devices if d.kind == "cuda" and not d.has_bf16]
    if "bf16" not in precisions or not lacking:
        return precisions
    if hardware.source == "measured":
        names = ", ".join(f"{d.name} ({d.label})" for d in lacking)
        warnings.warn(f"{names} cannot compute in bf16: the plan takes fp16 in its place.", stacklevel=4)
    return tuple("fp16" if name == "bf16" else name for name in precisions)


def _modes(profile: ModelProfile, hardware: HardwareProfile) -> tuple[str, ...]:
    """Return how weights may come to where they compute.

    Single experts can also be read once they are chosen; a GPU and its CPU can share the neurons of a plain MLP.
    """
    found = ["resident", "streamed"]
    if any(block.kind == "experts" for block in profile.blocks):
        found.append("demand")
    if profile.shares_mlp and any(device.kind == "cuda" for device in hardware.devices):
        found.append("split")
    return tuple(found)


def _join_seconds(hardware: HardwareProfile) -> float:
    """Return the price of one join beside its bytes: a copy each way, and the host's call for it."""
    gpus = [device.name for device in hardware.devices if device.kind == "cuda"]
    ways = [sum(k.latency_seconds for k in hardware.links if {k.source, k.target} == {"cpu", gpu}) for gpu in gpus]
    return max(ways, default=0.0) + _HANDSHAKE_SECONDS


def _kv_precision(profile: ModelProfile, kv: str | None, plain: str) -> str:
    """Return the precision of keys and values: that of the activations, or int8 where it is asked."""
    if kv is None or kv == plain:
        return plain
    if kv != "int8":
        raise PlanError(f"A KV cache in {kv} was asked: give int8, or leave it out to keep the activations' {plain}.")
    if any(block.kind == "layer" for block in profile.blocks):
        raise PlanError(
            f"A KV cache in int8 was asked, and {profile.name} is computed by transformers' own modules with their own "
            f"cache: leave kv out, which keeps it in {plain}."
        )
    return kv


def _context(profile: ModelProfile, context: int | None) -> int:
    if context is None:
        return min(profile.max_context, DEFAULT_CONTEXT)
    if not isinstance(context, int) or not 2 <= context <= profile.max_context:
        raise PlanError(
            f"A context of {context!r} tokens was asked, but {profile.name} was trained for "
            f"2 to {profile.max_context}: choose a whole number in that range."
        )
    return context


def shrunk(problem: PlanningProblem, share: float) -> PlanningProblem:
    """Return the problem with every memory cap of an exec device times `share`."""
    caps = {d.name: int(problem.cap(d.name) * share) for d in problem.devices if d.executes}
    return replace(problem, caps={**problem.caps, **caps})
