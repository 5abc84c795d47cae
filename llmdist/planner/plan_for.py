"""Planning for a machine that one does not own, from a model's shape alone: no device is read, no weight exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import PlanError
from ..events import Observer
from ..hardware.catalog import machine as known_machine
from ..hardware.profile import HardwareProfile
from ..model.blocks import BYTES_PER_PARAMETER, EXECUTABLE_PRECISIONS, ModelProfile
from ..model.shapes import shape as known_shape
from .build import build_problem
from .front import ParetoFront
from .params import ColonyParameters
from .pareto import front_within
from .placement import Assignment
from .problem import PlanningProblem
from .result import PlanResult
from .solve import solve
from .stop import MaxSeconds, StopRule

__all__ = ["pareto_for", "plan_for"]


def plan_for(
    model_shape: str | ModelProfile,
    machine: str | HardwareProfile,
    *,
    vram: int | str | None = None,
    ram: int | str | None = None,
    disk: bool = True,
    precision: str | Sequence[str] | None = None,
    context: int | None = None,
    batch: int = 1,
    objective: str = "latency",
    seed: int = 0,
    seconds: float = 2.0,
    stop: StopRule | None = None,
    locks: Mapping[str, Assignment] | None = None,
    params: ColonyParameters | None = None,
    kv: str | None = None,
    on_event: Observer | None = None,
) -> PlanResult:
    """Return a plan whose numbers are all simulated: no real device stands behind them.

    Parameters
    ----------
    model_shape : a name of `llmdist.model.shapes.shapes()`, or a profile.
    machine : a name of `llmdist.hardware.machines()`, or a profile.
    vram, ram, disk, context, objective, locks, kv : as in `Session.plan`.
    precision : names such as ``"int8,int4"``, also those that this version does not execute.
    batch : sequences at once. seed, seconds, stop, params : of the search.

    Raises
    ------
    ModelError, HardwareError : an unknown name. UnitError, PlanError, InfeasibleError : a limit cannot be kept.
    """
    if not 0 < seconds < float("inf"):
        raise PlanError(f"The search was given {seconds} seconds: give it more than 0, such as 2.")
    problem, name = _problem(
        model_shape, machine, precision, batch,
        vram=vram, ram=ram, disk=disk, context=context, objective=objective, locks=locks, kv=kv,
    )  # fmt: skip
    result = solve(problem, seed, stop or MaxSeconds(seconds), on_event, params, simulated=True)
    return replace(result, machine=name)


def pareto_for(
    model_shape: str | ModelProfile,
    machine: str | HardwareProfile,
    *,
    vram: int | str | None = None,
    ram: int | str | None = None,
    disk: bool = True,
    precision: str | Sequence[str] | None = None,
    context: int | None = None,
    batch: int = 1,
    objective: str = "latency",
    seed: int = 0,
    seconds: float = 10.0,
    stop: StopRule | None = None,
    locks: Mapping[str, Assignment] | None = None,
    params: ColonyParameters | None = None,
    kv: str | None = None,
    on_event: Observer | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> ParetoFront:
    """Return the simulated plans of which none is beaten in speed, memory and quality at once.

    Parameters are those of `plan_for`, but `seconds` is for the whole front, `stop` for each of its searches, and
    `precision` of None allows the model's own, int8 and int4. Once `enough` is true the front so far is returned.
    """
    if not 0 < seconds < float("inf"):
        raise PlanError(f"The front was given {seconds} seconds: give it more than 0, such as 10.")
    if precision is None:
        own = known_shape(model_shape) if isinstance(model_shape, str) else model_shape
        precision = (own.precision, "int8", "int4")
    problem, name = _problem(
        model_shape, machine, precision, batch,
        vram=vram, ram=ram, disk=disk, context=context, objective=objective, locks=locks, kv=kv,
    )  # fmt: skip
    found = front_within(
        problem, seconds, stop=stop, enough=enough, seed=seed, simulated=True, params=params, on_event=on_event
    )
    return replace(found, plans=tuple(replace(own, plan=replace(own.plan, machine=name)) for own in found))


def _problem(
    model_shape: str | ModelProfile,
    machine: str | HardwareProfile,
    precision: str | Sequence[str] | None,
    batch: int,
    **limits: Any,
) -> tuple[PlanningProblem, str]:
    """Return the problem of a model and a machine that may both be names, and what the machine is called."""
    profile = known_shape(model_shape) if isinstance(model_shape, str) else model_shape
    hardware = known_machine(machine) if isinstance(machine, str) else machine
    precisions = _precisions(profile, precision)
    executable = next((name for name in precisions if name in EXECUTABLE_PRECISIONS), "bf16")
    problem = build_problem(profile, hardware, precision=executable, **limits)
    problem = replace(problem, precisions=precisions, workload=replace(problem.workload, batch=batch))
    return problem, hardware.machine


def _precisions(profile: ModelProfile, precision: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the precisions asked for; KV cache and activations stay at the first of 16 bits or more."""
    names = [profile.precision] if precision is None else precision
    listed = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else tuple(names)
    unknown = [name for name in listed if name not in BYTES_PER_PARAMETER]
    if unknown or not listed:
        raise PlanError(
            f"Unknown precision {', '.join(map(repr, unknown)) or 'none'}: known are {', '.join(BYTES_PER_PARAMETER)}."
        )
    return tuple(dict.fromkeys(listed))
