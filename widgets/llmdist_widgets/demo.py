"""The main job in one command: ``python -m llmdist_widgets.demo``.

Loads the bundled model, plans it under a memory cap that forces at least half of its layer blocks to
stream from disk, generates a tale, says what was predicted and measured, and writes a report.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import llmdist
from llmdist import LlmdistError, PlanResult, Session
from llmdist.events import Event, Progressed, Recorder, WorkFinished
from llmdist.progress import finished_words, progress_words
from llmdist.units import format_bytes, format_seconds, format_speed

from .report import write_report

__all__ = ["main", "plan_streaming_half"]


def streamed_share(plan: PlanResult) -> float:
    """Return the share of the attention and MLP blocks that stream."""
    layers = [a for name, a in plan.placement.items() if name.startswith("layers.")]
    return sum(a.mode == "streamed" for a in layers) / len(layers)


def plan_streaming_half(
    session: Session, context: int, recorder: Recorder | None = None
) -> PlanResult:
    """Plan under the largest of a few caps that makes at least half of the layer blocks stream."""
    plan = session.plan(context=context, seconds=0.5)
    cap = plan.prediction.peak_bytes["cpu"]
    while streamed_share(plan) < 0.5:
        cap = int(cap * 0.9)
        recorded = Recorder()
        plan = session.plan(ram=cap, context=context, seconds=1.0, on_event=recorded)
        if recorder is not None:
            recorder.events[:] = recorded.events
    return plan


def show_progress(event: Event) -> None:
    """Write on one line of a terminal how far measuring the machine is."""
    if isinstance(event, Progressed) and event.work == "measure" and sys.stderr.isatty():
        print(f"\r\x1b[K{progress_words(event)}", end="", file=sys.stderr, flush=True)
    elif isinstance(event, WorkFinished) and event.work == "measure":
        print(f"\r\x1b[K{finished_words(event)}" if sys.stderr.isatty() else finished_words(event), file=sys.stderr)


def run(session: Session, prompt: str, tokens: int, report: str) -> None:
    """Plan, generate, print and write the report."""
    print(session.describe(), "\n")
    planning, generation = Recorder(), Recorder()
    plan = plan_streaming_half(session, 256, planning)
    print(
        f"plan under a cap of {format_bytes(plan.problem.cap('cpu'))}, {streamed_share(plan):.0%} of the layers"
    )
    print(f"streamed from disk:\n{plan.summary()}\n\n{prompt}", end="")
    for step in session.generate(prompt, max_new_tokens=tokens, on_event=generation):
        print(step.text, end="", flush=True)
    stats = session.stats
    used, cap = stats.peak_bytes["cpu"], plan.problem.cap("cpu")
    print(
        f"\n\nmeasured {format_speed(stats.tokens_per_second)} tokens/s "
        f"(predicted {format_speed(plan.prediction.tokens_per_second)}), "
        f"first token after {format_seconds(stats.ttft_seconds)}"
        f"\nplanned memory {format_bytes(plan.prediction.peak_bytes['cpu'])} of {format_bytes(cap)}; the engine "
        f"process grew by {format_bytes(used)} at its peak, the libraries' own buffers included"
        f"\n{format_bytes(stats.bytes_moved)} streamed in {stats.tokens} tokens"
    )
    write_report(report, plan, planning.events, generation.events, prompt + session.text)
    print(f"pictures: {report}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run the demo, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="Load, plan and generate with the demo model."
    )
    parser.add_argument("--prompt", default="One day Anna the ant walked to the")
    parser.add_argument("--tokens", type=int, default=110)
    parser.add_argument("--report", default="llmdist-demo.html")
    options = parser.parse_args(arguments)
    try:
        session = llmdist.load("demo", progress=show_progress)
        try:
            run(session, options.prompt, options.tokens, options.report)
        finally:
            session.unload()
    except LlmdistError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
