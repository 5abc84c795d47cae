"""NSGA-II from pymoo (optional): time and peak memory of the exec devices as objectives, the caps as a constraint."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ...cost.vectorised import peak_many
from ...errors import PlanError
from .record import Record, random_fitting

__all__ = ["nsga2"]

POPULATION = 96


def nsga2(record: Record, seed: int = 0) -> None:
    """Evolve until the time is over.

    Raises
    ------
    PlanError : pymoo is not installed.
    """
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.pntx import TwoPointCrossover
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
    except ImportError as error:
        raise PlanError("NSGA-II was asked but pymoo is not installed: pip install 'llmdist[bench]'.") from error
    tables, generator = record.tables, np.random.default_rng(seed)
    widths = tables.valid.sum(1)

    class Placing(Problem):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__(n_var=len(widths), n_obj=2, n_ieq_constr=1, xl=0, xu=widths - 1, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            choices = np.clip(np.asarray(x).astype(np.int64), 0, widths - 1)
            values, over = record.consider(choices)
            memory = peak_many(tables, choices)[:, tables.executors].sum(1)
            out["F"], out["G"] = np.stack([values, memory], axis=1), (over / 1e9)[:, None]

    algorithm = NSGA2(
        pop_size=POPULATION, sampling=random_fitting(tables, POPULATION, generator), crossover=TwoPointCrossover(),
        mutation=PM(prob=1.0, prob_var=min(0.5, 1.5 / len(widths)), eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        algorithm.setup(Placing(), termination=("n_gen", 10**9), seed=seed, verbose=False)
        while record.left:
            algorithm.next()
