"""`%llm_plan --pareto` and `%llm_plan --pick N`: a front of plans on display, and one of them taken."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from llmdist.planner import ParetoFront, PlanResult
from llmdist_widgets.front_view import FrontView
from llmdist_widgets.live import LivePlan, watched

from .running import Search

if TYPE_CHECKING:
    from .state import SessionState

__all__ = ["Fronts"]


class Fronts:
    """The front that was shown last: the session's, or a simulated one that nothing can be applied from."""

    def __init__(self) -> None:
        self.view: FrontView | None = None
        self._simulated: ParetoFront | None = None
        self._beside: ParetoFront | None = None  # the session's front when the simulated one was made

    def close(self) -> None:
        """Leave the static copy of what is shown; a simulated front is kept."""
        if self.view is not None:
            self.view.close()
            self.view = None

    def search(
        self, state: SessionState, options: argparse.Namespace, work: Callable[..., ParetoFront],
        stop: Callable[[], None], pictures: bool,
    ) -> ParetoFront | None:  # fmt: skip
        """Run the search; show the ants, then the front, or print its table. Return the front with -o."""
        session, simulated = state.session, bool(options.machine or options.model_shape)
        live, search = LivePlan(stop) if pictures else None, Search("%llm_plan", work, stop)
        front = watched(live, search, "No front was found.")
        if live:
            live.finish("", "")
        self.close()
        self._simulated = front if simulated else None
        self._beside = session.front if session is not None else None
        if pictures:
            self.view = FrontView(front, None if simulated else session.pick, session.plan_result if session else None)
            self.view.show()
        elif not options.quiet:
            how = "shows plan N; simulated ones are never put in force" if simulated else "puts plan N in force"
            print(f"{front.summary(session.plan_result if session else None)}\n%llm_plan --pick N {how}.")
        search.say(" with the front found so far")
        state.keep(options.out, front)
        return front if options.output else None

    def pick(self, state: SessionState, options: argparse.Namespace) -> PlanResult | None:
        """Put plan N of the last front in force; of a simulated one, show and return it."""
        state.check_name(options.out)
        session = state.session
        newer = session is not None and session.front is not None and session.front is not self._beside
        if self._simulated is not None and not newer:
            plan = self._simulated.numbered(options.pick)
            words = "Nothing was put in force: the plan is simulated."
        elif session is None or session.front is None:
            raise UsageError(
                f"%llm_plan --pick {options.pick}: no front was searched yet; run %llm_plan --pareto first."
            )
        else:
            plan = session.pick(options.pick)
            words = f"Plan {options.pick} of {len(session.front)} is in force."
            if self.view is not None and self.view.front is session.front:
                self.view.picked(plan)
        if not options.quiet:
            print(f"{words}\n{plan.summary()}\n{plan.bottleneck()}")
        state.keep(options.out, plan)
        return plan if options.output else None
