"""The planner: a problem in, a placement with its prediction, bound and gap out. Pure: no device is read."""

from .front import FrontPlan, ParetoFront
from .params import ColonyParameters
from .pareto import pareto_front
from .placement import Assignment, Placement
from .plan_for import pareto_for, plan_for
from .pricing import evaluate, violations
from .problem import PlanningProblem, Workload
from .result import HistoryRow, PlanResult, Prediction
from .solve import search, solve
from .stop import AnyOf, Asked, GapReached, MaxIterations, MaxSeconds, NoImprovement
from .what_if import WhatIf

__all__ = [
    "AnyOf",
    "Asked",
    "Assignment",
    "ColonyParameters",
    "FrontPlan",
    "GapReached",
    "HistoryRow",
    "MaxIterations",
    "MaxSeconds",
    "NoImprovement",
    "ParetoFront",
    "Placement",
    "PlanResult",
    "PlanningProblem",
    "Prediction",
    "WhatIf",
    "Workload",
    "evaluate",
    "pareto_for",
    "pareto_front",
    "plan_for",
    "search",
    "solve",
    "violations",
]
