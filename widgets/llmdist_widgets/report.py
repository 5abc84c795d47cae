"""One self-contained HTML page of a plan and a generation: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from llmdist.events import (
    Event,
    GenerationFinished,
    GenerationStarted,
    PlacementChanged,
    StageRestarted,
    TokenProduced,
)
from llmdist.planner.result import PlanResult

from .generation import generation_html
from .planning import plan_html
from .status import status_html

if TYPE_CHECKING:
    from llmdist.session import Session

__all__ = ["report_html", "write_report", "write_session_report"]

GENERATION_EVENTS = (GenerationStarted, TokenProduced, PlacementChanged, StageRestarted, GenerationFinished)

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--page:#f6f8fa;--card:#fff;--line:#d8dee4}
@media(prefers-color-scheme:dark){
:root{--ink:#e6edf3;--soft:#a5afba;--page:#0d1117;--card:#161b22;--line:#30363d}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,'Segoe UI',sans-serif}
main{max-width:1000px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.7rem;margin:0 0 4px}h2{font-size:1.2rem;margin:0 0 8px}p.lead{color:var(--soft);margin:0}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;
margin-top:20px}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.86rem;margin:0}
summary{cursor:pointer}
"""


def report_html(
    plan: PlanResult | None,
    plan_events: Sequence[Event] = (),
    generation_events: Sequence[Event] = (),
    text: str = "",
    title: str = "llmdist report",
    machine: str = "",
) -> str:
    """Return the page; sections without anything to show are left out. `machine` is HTML, as `status_html` gives it."""
    sections = []
    if plan is not None:
        sections.append(f"<section><h2>Plan</h2>{plan_html(plan, plan_events)}</section>")
    if generation_events or text:
        predicted = plan.prediction.tokens_per_second if plan else 0.0
        view = generation_html(text, generation_events, predicted, plan)
        sections.append(f"<section><h2>Generation</h2>{view}</section>")
    if machine:
        sections.append(f"<section><h2>Machine and model</h2>{machine}</section>")
    if plan is not None:
        words = escape(plan.summary())
        sections.append(
            f"<section><details><summary>The plan in words</summary><pre>{words}</pre></details></section>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        '<p class="lead">Where each block rests and runs, how fast that should be, and how fast it was.'
        f"</p>{''.join(sections)}</main></body></html>\n"
    )


def write_report(
    path: str | Path,
    plan: PlanResult | None,
    plan_events: Sequence[Event] = (),
    generation_events: Sequence[Event] = (),
    text: str = "",
    title: str = "llmdist report",
    machine: str = "",
) -> Path:
    """Write `report_html` to `path` and return the path."""
    page = report_html(plan, plan_events, generation_events, text, title, machine)
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)


def write_session_report(path: str | Path, session: Session, title: str = "llmdist report") -> Path:
    """Write the page of a session: its last search, plan, generation and machine; return the path.

    The page needs neither a kernel nor the internet: the history of the search has a slider, the timeline can be
    read span by span.
    """
    events = session.recorder.events
    generation = [event for event in events if isinstance(event, GENERATION_EVENTS)]
    machine = status_html(session)
    page = report_html(session.plan_result, events, generation, session.text, title, machine)
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)
