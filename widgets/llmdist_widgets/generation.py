"""Pictures of a generation: speed per token, memory against its cap, milliseconds per block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from llmdist.cost.timeline import measured_timeline, predicted_timeline
from llmdist.events import (
    BlockComputed,
    CopyFinished,
    Event,
    GenerationFinished,
    GenerationStarted,
    PlacementChanged,
    StageRestarted,
    TokenProduced,
)
from llmdist.planner.result import PlanResult
from llmdist.units import format_bytes, format_seconds, format_speed

from .planning import LEFT, RIGHT, SPAN, block_axis, memory_bars
from .replay import interactive, timeline_replay
from .svg import Canvas, image, line_path, nice_ticks, short
from .theme import COMPUTE, COPY, HTML_STYLE
from .timeline import timeline_svg

__all__ = ["block_time_svg", "generation_html", "memory_svg", "predicted_steps", "speed_svg"]


ENDINGS = {
    "length": "ended at the limit of new tokens",
    "stop": "ended at a stop text",
    "end_of_text": "ended by itself",
    "interrupted": "stopped by hand",
}


def predicted_steps(events: Sequence[Event], predicted: float = 0.0) -> list[tuple[int, float]]:
    """Return (token index, tokens/s predicted from there on); `predicted` is used where the events carry none."""
    steps: list[tuple[int, float]] = []
    tokens = 0
    for event in events:
        if isinstance(event, GenerationStarted):
            steps, tokens = [(0, event.predicted_tokens_per_second or predicted)], 0
        elif isinstance(event, PlacementChanged):
            steps.append((tokens, event.predicted_tokens_per_second))
        elif isinstance(event, TokenProduced):
            tokens = event.index + 1
    return steps or [(0, predicted)]


def speed_svg(tokens: Sequence[TokenProduced], goals: Sequence[tuple[int, float]]) -> str:
    """Return tokens/s over tokens after the first, with the prediction as a dashed line that follows the plan."""
    canvas = Canvas(250, "Speed over tokens")
    canvas.text(16, 24, "Speed: tokens/s over tokens (after the first)", "ink b")
    top, under, right = 52, 202, RIGHT - 120
    steps = [token for token in tokens[1:] if token.step_seconds > 0]
    if not steps:
        canvas.text(LEFT, 120, "Fewer than two tokens: no speed to draw.", "soft")
        return canvas.render()
    speeds = [1 / token.step_seconds for token in steps]
    usual = sorted(speeds)[int(0.95 * (len(speeds) - 1))]  # one lucky step must not flatten the rest
    predicted = goals[-1][1]
    ticks = nice_ticks(0.0, 1.1 * max(usual, *(value for _, value in goals)), 5)
    first, last = steps[0].index, max(steps[-1].index, steps[0].index + 1)

    def x_of(index: float) -> float:
        return LEFT + (right - LEFT) * (index - first) / (last - first)

    def y_of(value: float) -> float:
        return under - (under - top) * min(value, ticks[-1]) / ticks[-1]

    canvas.y_axis(ticks, y_of, LEFT, right)
    canvas.text(LEFT - 8, top - 12, "tokens/s", "soft", "end")
    for tick in nice_ticks(first, last, 6):
        if first <= tick <= last and tick == int(tick):
            canvas.text(x_of(tick), under + 20, f"{tick:g}", "soft", "middle")
    canvas.text((LEFT + right) / 2, under + 40, "token", "soft", "middle")
    path = line_path([x_of(token.index) for token in steps], [y_of(speed) for speed in speeds])
    canvas.add(f'<path class="best" fill="none" stroke-width="2" d="{path}"/>')
    mean = len(steps) / sum(token.step_seconds for token in steps)
    labels = [(y_of(mean), f"mean {format_speed(mean)}", "bestt b")]
    if predicted > 0:
        ends = [max(first, index) for index, _ in goals[1:]] + [last]
        begins = [first, *ends[:-1]]
        path = "".join(
            f"{'L' if i else 'M'}{x_of(begins[i]):.1f} {y_of(value):.1f}H{x_of(ends[i]):.1f}"
            for i, (_, value) in enumerate(goals)
        )
        canvas.add(f'<path class="bound" fill="none" stroke-width="2" stroke-dasharray="7 4" d="{path}"/>')
        labels.append((y_of(predicted), f"predicted {format_speed(predicted)}", "boundt b"))
    previous = -100.0
    for y, words, kind in sorted(labels):
        previous = max(y + 4, previous + 17)
        canvas.text(right + 8, previous, words, kind)
    return canvas.render()


def memory_svg(tokens: Sequence[TokenProduced], started: GenerationStarted | None) -> str:
    """Return the peak memory per device over the generation, against its cap."""
    peak: dict[str, int] = {}
    for token in tokens:
        for name, size in token.memory_bytes.items():
            peak[name] = max(size, peak.get(name, 0))
    canvas = Canvas(50 + 30 * max(1, len(peak)), "Memory peak per device against its cap")
    canvas.text(16, 24, "Measured memory peak", "ink b")
    memory_bars(canvas, 40, peak, started.cap_bytes if started else {})
    return canvas.render()


def block_time_svg(token: TokenProduced) -> str:
    """Return milliseconds per block of one token: copy beside compute."""
    names = list(dict.fromkeys([e.block for e in token.computes] + [e.block for e in token.copies]))
    canvas = Canvas(280, "Milliseconds per block of the last token")
    canvas.text(16, 24, f"Milliseconds per block, token {token.index}", "ink b")
    compute, copy = _milliseconds(token.computes), _milliseconds(token.copies)
    canvas.legend(
        LEFT, 46,
        [(COMPUTE, f"compute ({_total(compute)} ms)"),
         (COPY, f"copy ({_total(copy)} ms, may run while others compute)")],
    )  # fmt: skip
    if not names:
        canvas.text(LEFT, 140, "No block times were recorded for this token.", "soft")
        return canvas.render()
    top, under = 66, 228
    ticks = nice_ticks(0.0, max([*compute.values(), *copy.values(), 1e-6]), 5)

    def height(value: float) -> float:
        return (under - top) * value / ticks[-1]

    canvas.y_axis(ticks, lambda tick: under - height(tick), LEFT, RIGHT)
    canvas.text(LEFT - 8, top - 10, "ms", "soft", "end")
    width = SPAN / len(names)
    for colour, times, shift in ((COMPUTE, compute, 0.05), (COPY, copy, 0.5)):
        path = "".join(
            f"M{LEFT + width * (i + shift + 0.22):.1f} {under}v-{height(times[name]):.1f}"
            for i, name in enumerate(names)
            if times.get(name, 0) > 0
        )
        canvas.add(f'<path stroke="{colour}" stroke-width="{0.44 * width:.2f}" d="{path}"/>')
    block_axis(canvas, names, under)
    return canvas.render()


def _total(times: Mapping[str, float]) -> str:
    return short(sum(times.values()))


def _milliseconds(spans: Sequence[CopyFinished | BlockComputed]) -> dict[str, float]:
    total: dict[str, float] = {}
    for span in spans:
        seconds = span.end_seconds - span.start_seconds
        total[span.block] = total.get(span.block, 0.0) + 1e3 * max(0.0, seconds)
    return total


def generation_html(
    text: str, events: Sequence[Event], predicted: float = 0.0, plan: PlanResult | None = None, note: str = ""
) -> str:
    """Return the lasting view of a generation: text, facts, speed, memory, milliseconds per block, timeline.

    `predicted` tokens/s is used where the events carry no prediction; with `plan` the timeline that the cost
    model predicts stands under the measured one; `note` is a sentence of its own under
    the facts. The pictures need no script; the timeline can be read span by span where scripts are allowed.
    """
    events = _last(events)
    started = next((e for e in events if isinstance(e, GenerationStarted)), None)
    ended = next((e for e in reversed(events) if isinstance(e, GenerationFinished)), None)
    tokens = [event for event in events if isinstance(event, TokenProduced)]
    steps = predicted_steps(events, predicted)
    quote = (
        '<div style="white-space:pre-wrap;overflow-wrap:anywhere;padding:8px 12px;margin:4px 0;'
        f'border-left:4px solid #0072B2">{escape(text.strip())}</div>'
    )
    parts = [quote, f"<div>{_facts(ended, steps[-1][1], len(tokens))}</div>"]
    if note:
        parts.append(f"<div>{escape(note)}</div>")
    for event in events:
        if isinstance(event, StageRestarted):
            parts.append(f"<div>The engine was restarted: {escape(event.reason)}</div>")
    if tokens:
        parts.append(image(speed_svg(tokens, steps), "Tokens per second over tokens."))
        parts.append(image(memory_svg(tokens, started), "Memory per device against its cap."))
        timed = next((t for t in reversed(tokens) if t.computes or t.copies), None)
        if timed:
            parts.append(image(block_time_svg(timed), "Milliseconds per block of the last token."))
            parts.append(_timeline(timed, plan))
    return f'<div style="{HTML_STYLE}">{"".join(parts)}</div>'


def _last(events: Sequence[Event]) -> list[Event]:
    """Return the events of the last generation alone."""
    begun = [index for index, event in enumerate(events) if isinstance(event, GenerationStarted)]
    return list(events[begun[-1] :]) if begun else list(events)


def _timeline(token: TokenProduced, plan: PlanResult | None) -> str:
    measured = measured_timeline(token)
    same = plan is not None and {c.block for c in token.computes} == set(plan.placement.blocks)
    predicted = predicted_timeline(plan.problem, plan.placement) if plan is not None and same else None
    if predicted is not None and not math.isfinite(predicted.seconds):
        predicted = None  # a placement without a path for its activations
    title = f"Copies and computes of token {token.index}"
    waiting = format_seconds(measured.waiting_seconds())
    words = f"{title}: measured {format_seconds(measured.seconds)}, {waiting} of it waiting for weights."
    picture = image(timeline_svg(measured, predicted, title), words)
    return interactive(picture, timeline_replay(measured, predicted, title))


def _facts(ended: GenerationFinished | None, predicted: float, tokens: int) -> str:
    if ended is None:
        return f"{tokens} tokens, not finished."
    goal = f" (predicted {format_speed(predicted)})" if predicted > 0 else ""
    return (
        f"<b>{format_speed(ended.tokens_per_second)} tokens/s</b>{goal}; {ended.tokens} tokens, first after "
        f"{format_seconds(ended.ttft_seconds)}; {format_bytes(ended.bytes_moved)} copied; "
        f"{escape(ENDINGS.get(ended.reason, ended.reason))}."
    )
