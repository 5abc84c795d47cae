"""Lesson 4: moves in the words of the placement editor, and pictures of a placement and of its token.

Nothing is measured or searched here.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmdist.cost.timeline import Timeline
from llmdist.errors import PlanError
from llmdist.lessons import homes
from llmdist.lessons.verdict import Verdict, shown
from llmdist.planner import Placement, PlanningProblem, PlanResult, evaluate
from llmdist.planner.tables import cost_tables

from .editor_draft import Draft
from .editor_words import block_indices, parse_target, span_words
from .lessons import Picture
from .planning import placement_svg
from .timeline import length_words, timelines_svg

__all__ = ["moved", "placement_picture", "timelines_picture", "tried"]


def moved(problem: PlanningProblem, placement: Placement, moves: Mapping[str, str]) -> Placement:
    """Return `placement` with blocks moved in turn, in the words of `%llm_place`: ``{"layers.3-7.mlp": "cpu"}``.

    Raises
    ------
    PlanError : blocks or target are unknown, or a block cannot go there. Caps are not asked.
    """
    draft = Draft(cost_tables(problem), placement)
    for blocks, target in moves.items():
        indices = block_indices(draft.names, blocks)
        changes, impossible = draft.moves(indices, parse_target(problem.devices, target.split()))
        if impossible:
            raise PlanError(f"{span_words(draft.names, impossible)} cannot be {target!r}: no such device in this plan.")
        draft.set(changes)
    return draft.placement


def tried(
    problem: PlanningProblem, rule: Placement, moves: Mapping[str, str], by: float = homes.ASKED
) -> tuple[Placement, Verdict]:
    """Return `rule` with `moves` made and whether that beats the rule by `by`; `rule` itself where a move is none."""
    try:
        placed = moved(problem, rule, moves)
    except PlanError as error:
        return rule, Verdict(False, str(error))
    except (AttributeError, TypeError):
        return rule, Verdict(False, f"{shown(moves)} are no moves: give a dict from blocks to targets, all in quotes.")
    return placed, homes.check_beats(placed, problem, by)


def placement_picture(problem: PlanningProblem, placement: Placement, simulated: bool = False) -> Picture:
    """Return the strip of a placement: a row per device, a column per block, and memory against its caps."""
    prediction = evaluate(problem, placement)
    seconds = prediction.tpot_seconds
    plan = PlanResult(
        problem, placement, prediction, seconds, seconds, "by hand", 0, 0, 0, 0.0, simulated=simulated
    )  # fmt: skip
    return Picture(placement_svg(plan), placement.in_words())


def timelines_picture(timelines: Mapping[str, Timeline], title: str) -> Picture:
    """Return named timelines of one token below each other, over the same milliseconds."""
    words = (f"{name}: {length_words(one)}" for name, one in timelines.items())
    return Picture(timelines_svg(timelines, title), "; ".join(words))
