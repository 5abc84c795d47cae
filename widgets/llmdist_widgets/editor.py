"""The placement editor: a draft beside the plan in force, moved by hand, searched around locks, applied.

    editor = PlacementEditor(session)
    editor.move("layers.3-7.mlp", "cpu")
    editor.apply()

A plain API for programs and the magic. In a notebook the same object shows itself as a widget (`editor_view`) whose
clicks call these methods; every method may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Flag
from threading import RLock
from typing import TYPE_CHECKING

from llmdist.errors import PlanError
from llmdist.events import Observer
from llmdist.planner import (
    AnyOf,
    Assignment,
    ColonyParameters,
    MaxSeconds,
    Placement,
    PlanResult,
    Prediction,
    evaluate,
    solve,
    violations,
)  # fmt: skip
from llmdist.planner.stop import Progress
from llmdist.planner.tables import cost_tables
from llmdist.units import format_bytes, format_seconds, format_speed

from .editor_compare import Comparison
from .editor_draft import Draft
from .editor_tables import packed_tables
from .editor_why import why_words
from .editor_words import block_indices, parse_target, span_words
from .planning import gap_words

if TYPE_CHECKING:
    from llmdist.session import Session

    from .editor_view import EditorView

__all__ = ["PlacementEditor"]

Trail = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A stop rule: somebody asked."""

    flag: Flag
    seconds: float | None = None

    def reason(self, progress: Progress) -> str | None:
        return "asked" if self.flag.is_set() else None


class PlacementEditor:
    """A draft of the session's placement. `session.plan()` is run first where there is no plan yet."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.view: EditorView | None = None
        self.compared: Comparison | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.colony: Callable[[], ColonyParameters | None] = lambda: None  # how a re-plan searches; None: as usual
        self.lock_of_draft = RLock()  # held while the draft is read or changed as a whole
        self._stop_search = Flag()
        self._search_locks: Mapping[str, Assignment] = {}
        self._adopt()

    def _adopt(self) -> None:
        """Start over from the plan in force."""
        plan = self.session.plan_result or self.session.plan()
        self.plan = plan
        self.problem = replace(plan.problem, locks={})
        self.tables = cost_tables(self.problem)
        names = [block.name for block in self.problem.blocks]
        self.draft = Draft(self.tables, plan.placement, (names.index(name) for name in plan.problem.locks))
        self.packed = packed_tables(self.tables, plan.bound_seconds)
        self.trail = self.widened(plan.trail, plan.problem.locks)
        self.compared = None

    def widened(self, trail: Trail, locks: Mapping[str, Assignment] | None = None) -> Trail:
        """Return the trail over this problem's options; a block of `locks` (of the draft, where None) had only one."""
        if not trail:
            return ()
        if locks is None:
            locks = self._search_locks
        rows = []
        for name, row, options in zip(self.draft.names, trail, self.tables.options, strict=True):
            if name in locks:
                rows.append(tuple(float(option == locks[name]) for option in options))
            else:
                rows.append(tuple(row[: len(options)]))
        return tuple(rows)

    # ---- what it is ---------------------------------------------------------------------------------

    @property
    def placement(self) -> Placement:
        """Return the draft."""
        return self.draft.placement

    @property
    def prediction(self) -> Prediction:
        """Return the predicted speed and memory of the draft."""
        return evaluate(self.problem, self.placement)

    @property
    def locked(self) -> tuple[str, ...]:
        """Return the names of the locked blocks."""
        return tuple(self.draft.names[i] for i in sorted(self.draft.now.locked))

    def over(self) -> dict[str, int]:
        """Return the bytes by which the draft is over its cap, per device that is."""
        peaks = self.prediction.peak_bytes
        caps = {d.name: cap for d, cap in zip(self.problem.devices, self.tables.caps, strict=True)}
        return {name: round(used - caps[name]) for name, used in peaks.items() if used - caps[name] >= 0.5}

    def summary(self) -> str:
        """Return the draft in a few lines of text."""
        lines = [f"draft: {len(self._moved())} blocks differ from the plan in force, {len(self.locked)} locked"]
        return "\n".join([*lines, self.placement.in_words(), *self.figures()])

    def figures(self) -> list[str]:
        """Return two lines: predicted speed and how good that is, memory with what is OVER."""
        prediction, over = self.prediction, self.over()
        memory = ", ".join(
            f"{name} {format_bytes(used)} of {format_bytes(self.problem.cap(name))}"
            + (f" OVER by {format_bytes(over[name])}" if name in over else "")
            for name, used in prediction.peak_bytes.items()
        )
        fits = not violations(self.problem, self.placement)
        quality = gap_words(prediction.objective_seconds(self.problem), self.plan.bound_seconds, fits)
        return [
            f"predicted {format_speed(prediction.tokens_per_second)} tokens/s "
            f"({format_seconds(prediction.tpot_seconds)} per token, "
            f"first after {format_seconds(prediction.ttft_seconds)}); {quality}",
            f"memory {memory}; {format_bytes(prediction.bytes_per_token)} copied per token",
        ]

    def choice_in_force(self) -> tuple[int, ...]:
        """Return the option indices of the session's plan; only where the editor is not stale."""
        return self.draft.choice_of((self.session.plan_result or self.plan).placement)

    def _moved(self) -> tuple[str, ...]:
        """Return the blocks that the draft places otherwise than the plan in force."""
        in_force = (self.session.plan_result or self.plan).placement
        pairs = zip(self.draft.names, in_force.assignments, self.placement.assignments, strict=False)
        return tuple(name for name, old, new in pairs if old != new)

    # ---- what a hand does ---------------------------------------------------------------------------

    def move(self, blocks: str, target: str) -> str:
        """Move blocks, as one step that can be undone; return what happened in one sentence.

        Parameters
        ----------
        blocks : such as ``"layers.3-7.mlp"``; see `editor_words`.
        target : such as ``"cpu"``, ``"disk>cpu int8"`` or ``"bf16"``.

        Raises
        ------
        PlanError : blocks or target are unknown, or not one of the blocks can go there.
        """
        indices = block_indices(self.draft.names, blocks)
        wanted = parse_target(self.problem.devices, target.split())
        with self.lock_of_draft:
            locked = [i for i in indices if i in self.draft.now.locked]
            changes, impossible = self.draft.moves(indices, wanted)
            if not changes and impossible:
                name = self.draft.names[impossible[0]]
                labels = ", ".join(option.label for option in self.tables.options[impossible[0]])
                span = span_words(self.draft.names, impossible)
                raise PlanError(f"{span} cannot be {target!r}: {name} can be {labels}.")
            changed = self.draft.set(changes)
        notes = [f"{len(group)} {word}" for group, word in ((locked, "locked"), (impossible, "unable")) if group]
        self.on_change()
        stayed = f" ({' and '.join(notes)} stayed)" if notes else ""
        return f"Moved {span_words(self.draft.names, changed)} to {target}{stayed}."

    def lock(self, blocks: str) -> str:
        """Lock blocks: hand and ants leave them where they are."""
        return self._set_lock(blocks, True)

    def unlock(self, blocks: str) -> str:
        """Unlock blocks."""
        return self._set_lock(blocks, False)

    def _set_lock(self, blocks: str, locked: bool) -> str:
        indices = block_indices(self.draft.names, blocks)
        with self.lock_of_draft:
            self.draft.lock(indices, locked)
        self.on_change()
        return f"{'Locked' if locked else 'Unlocked'} {span_words(self.draft.names, indices)}."

    def undo(self) -> str:
        """Take the last step back."""
        with self.lock_of_draft:
            done = self.draft.undo()
        self.on_change()
        return "Took the last step back." if done else "There is nothing to undo."

    def redo(self) -> str:
        """Do the step again that was taken back."""
        with self.lock_of_draft:
            done = self.draft.redo()
        self.on_change()
        return "Did the step again." if done else "There is nothing to redo."

    def why(self, block: str) -> str:
        """Return why a block is where it is in one sentence, then what its other options alone would change."""
        index = block_indices(self.draft.names, block)[0]
        reason = replace(self.plan_of_draft(), problem=self.problem).why(self.draft.names[index])
        return "\n".join([reason, *why_words(self.tables, self.draft.now.choice, index)])

    # ---- the ants -----------------------------------------------------------------------------------

    def replan(self, seconds: float = 1.0, on_event: Observer | None = None) -> str:
        """Send the ants around the locked blocks and put what they find into the draft.

        Raises
        ------
        InfeasibleError : nothing fits around the locks.
        """
        if not 0 < seconds < float("inf"):
            raise PlanError(f"The search was given {seconds} seconds: give it more than 0, such as 1.")
        self._stop_search.clear()
        with self.lock_of_draft:
            locks = self._search_locks = {name: self.placement[name] for name in self.locked}
            before = self.prediction
        rule = AnyOf((MaxSeconds(seconds), _Asked(self._stop_search)))
        around = replace(self.problem, locks=locks)
        found = solve(around, seed=self.plan.seed, stop=rule, on_event=on_event, start=self.plan, params=self.colony())
        with self.lock_of_draft:
            self.trail = self.widened(found.trail, locks)
            self.draft.replace(self.draft.choice_of(found.placement))
        self.on_change()
        return (
            f"The ants kept {len(locks)} locked block{'s' * (len(locks) != 1)}: "
            f"{format_speed(before.tokens_per_second)} -> {format_speed(found.prediction.tokens_per_second)} "
            "tokens/s predicted."
        )

    def stop_search(self) -> None:
        """End a running re-plan with the best found so far."""
        self._stop_search.set()

    # ---- the session --------------------------------------------------------------------------------

    @property
    def stale(self) -> bool:
        """Whether the session was planned anew under other limits since the editor took up its plan."""
        current = self.session.plan_result
        return current is None or replace(current.problem, locks={}) != self.problem

    def _check_fresh(self) -> None:
        if self.stale:
            raise PlanError(
                "The session was planned anew under other limits since this editor opened: revert to take up the "
                "new plan, then change that."
            )

    def apply(self) -> str:
        """Put the draft in force: now, or between two tokens of the running generation.

        Raises
        ------
        PlanError : the draft is over a cap, or the session was planned anew under other limits.
        """
        with self.lock_of_draft:
            self._check_fresh()
            placement = self.placement
            changed = self._moved()
            self.session.apply(placement)
            assert self.session.plan_result is not None
            self.plan = self.session.plan_result
        self.on_change()
        when = "; it takes effect before the next token" if self.session.generating else ""
        return f"Applied: {len(changed)} blocks changed{when}."

    def revert(self) -> str:
        """Go back to the plan in force; under the same limits this is a step that can be undone."""
        with self.lock_of_draft:
            current = self.session.plan_result
            if current is None or self.stale:
                self._adopt()
            else:
                self.plan = current
                self.draft.replace(self.draft.choice_of(current.placement))
        self.on_change()
        return "Back at the plan in force."

    # ---- files and comparison -----------------------------------------------------------------------

    def plan_of_draft(self) -> PlanResult:
        """Return the draft as a plan."""
        if self.placement == self.plan.placement:
            return self.plan
        prediction = self.prediction
        return replace(
            self.plan, placement=self.placement, prediction=prediction,
            objective_seconds=prediction.objective_seconds(self.problem), method="by hand", trail=self.trail,
        )  # fmt: skip

    def save(self, path: str | Path) -> str:
        """Write the draft as a plan file."""
        file = Path(path).expanduser()
        try:
            self.plan_of_draft().save(file)
        except OSError as error:
            reason = f"The plan cannot be written to {path}: {error.strerror}"
            raise PlanError(f"{reason}; name a file in a folder that is there.") from error
        return f"Saved to {file}."

    def load(self, path: str | Path) -> str:
        """Take the placement of a plan file into the draft, as one step that can be undone."""
        loaded = PlanResult.load(Path(path).expanduser())
        with self.lock_of_draft:
            self.draft.replace(self.draft.choice_of(loaded.placement))
        self.on_change()
        return f"Loaded {path}."

    def compare(self, other: str | Path | PlanResult | Placement | None = None) -> Comparison:
        """Return the draft against another plan, placement or plan file; None is the plan in force."""
        if isinstance(other, (str, Path)):
            name, placement = Path(other).name, PlanResult.load(Path(other).expanduser()).placement
        else:
            other = other or self.session.plan_result or self.plan
            name = "in force" if other is self.session.plan_result else "the other"
            placement = other if isinstance(other, Placement) else other.placement
        with self.lock_of_draft:
            choice = self.draft.choice_of(placement)
            pairs = zip(self.draft.names, choice, self.draft.now.choice, strict=True)
            changed = tuple(block for block, old, new in pairs if old != new)
            self.compared = Comparison(
                name, placement, evaluate(self.problem, placement), self.prediction, changed
            )
        self.on_change()
        return self.compared

    # ---- showing ------------------------------------------------------------------------------------

    def show(self) -> None:
        """Show the widget in a notebook, or print the draft."""
        from .editor_view import EditorView
        from .live import in_notebook

        if not in_notebook():
            print(self.summary())
            return
        self.close()
        self.view = EditorView(self)
        self.view.show()

    def _ipython_display_(self) -> None:
        self.show()

    def close(self) -> None:
        """Take the widget away and leave its static copy."""
        self.stop_search()
        view, self.view = self.view, None
        self.on_change = lambda: None
        if view is not None:
            view.freeze()
