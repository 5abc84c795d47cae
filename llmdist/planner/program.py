"""Linear programs with HiGHS, called directly: solved again under other bounds, each from the last basis."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

__all__ = ["Program", "Solution"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Solution:
    """What one solve gave: `values` and `duals` per column (None: nothing found), a proven `bound`."""

    bound: float
    values: Floats | None = None
    duals: Floats | None = None
    infeasible: bool = False
    solved: bool = False


class _Silent(highspy.Highs):
    """HiGHS without the banner that its own constructor prints when it registers callbacks."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()
        self.setOptionValue("output_flag", False)
        self.setOptionValue("threads", 1)


class Program:
    """Minimise goal . x with 0 <= x <= upper and low <= matrix x <= high; `upper` is given with each solve."""

    def __init__(self, goal: Floats, matrix: csr_matrix, low: Floats, high: Floats) -> None:
        by_column = matrix.tocsc()
        by_column.sort_indices()
        model = self.model = highspy.HighsLp()
        model.num_row_, model.num_col_ = matrix.shape
        model.col_cost_, model.row_lower_, model.row_upper_ = goal, low, high
        model.col_lower_ = model.col_upper_ = np.zeros(len(goal))
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_, model.a_matrix_.index_ = by_column.indptr, by_column.indices
        model.a_matrix_.value_ = by_column.data
        self._warm: _Silent | None = None

    def linear(self, upper: Floats) -> Solution:
        """Return the optimum over real numbers; it starts from the basis of the call before."""
        if self._warm is None:
            self._warm = _Silent()
            self._warm.passModel(self.model)
        highs, count = self._warm, len(upper)
        highs.changeColsBounds(count, np.arange(count, dtype=np.int32), np.zeros(count), upper)
        highs.run()
        status = highs.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            infeasible = status == highspy.HighsModelStatus.kInfeasible
            return Solution(float("inf") if infeasible else 0.0, infeasible=infeasible)
        found, value = highs.getSolution(), float(highs.getInfo().objective_function_value)
        return Solution(value, np.array(found.col_value), np.array(found.col_dual), solved=True)

    def whole(
        self, upper: Floats, whole: NDArray[np.bool_], seconds: float | None, nodes: int, gap: float,
        early: bool = False,
    ) -> Solution:  # fmt: skip
        """Return the best found with some columns whole, within wall-clock seconds, nodes and a relative gap.

        `early` skips what makes the search better later but delays the first solution.
        """
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        highs, model = _Silent(), self.model
        model.col_upper_, model.integrality_ = upper, [kinds[int(w)] for w in whole]
        highs.setOptionValue("mip_rel_gap", gap)
        highs.setOptionValue("mip_max_nodes", nodes)
        highs.setOptionValue("presolve", "off" if early else "choose")
        if seconds is not None:
            highs.setOptionValue("time_limit", max(0.01, seconds))
        highs.passModel(model)
        model.integrality_ = []
        highs.run()
        status, info = highs.getModelStatus(), highs.getInfo()
        if status == highspy.HighsModelStatus.kInfeasible:
            return Solution(float("inf"), infeasible=True)
        bound, found = float(info.mip_dual_bound), np.isfinite(info.objective_function_value)
        values = np.array(highs.getSolution().col_value) if found else None
        solved = status == highspy.HighsModelStatus.kOptimal
        return Solution(bound if np.isfinite(bound) else 0.0, values, solved=solved)
