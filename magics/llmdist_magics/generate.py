"""`%llm_generate` and `%%llm_generate`: tokens come from a worker thread, so Stop always works.

The main thread only waits on a queue, prints and pushes; an interrupt cancels and keeps the text. With --background
the worker does all of it and the cell returns a handle.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

from IPython.core.error import UsageError

from llmdist.events import Event, Progressed
from llmdist.generation import GenerationStep
from llmdist.session import Session
from llmdist_widgets.live import in_notebook
from llmdist_widgets.live_generation import LiveGeneration

from .arguments import parse_with_prompt
from .background import Background
from .batch import generate_batch
from .progress import Progress
from .prompts import expanded
from .running import Arrived, drain
from .state import SessionState, user_errors
from .wording import counted

__all__ = ["generate"]

_OPTIONS = ("max_new_tokens", "temperature", "top_k", "top_p", "seed")
Prompt = str | Sequence[int]


def generate(state: SessionState, line: str, cell: str | None = None) -> str | list[str] | Background | None:
    """Generate from the prompt after the options, or from the cell; return the text with -o, or the texts."""
    options, prompt = parse_with_prompt("llm_generate", line)
    if options.reset:
        print(f"Forgot {counted(state.conversation.reset(), 'turn')} of the conversation.")
        if not prompt and cell is None:
            return None
    session = state.require()
    if options.batch and cell is None:
        raise UsageError("%llm_generate --batch: write it as %%llm_generate --batch with one prompt per line below.")
    prompt = _prompt(state, options, prompt, cell)
    state.check_name(options.out)
    state.config.filled(state.frozen(options), "max_new_tokens", "temperature")
    arguments = {name: getattr(options, name) for name in _OPTIONS}
    arguments["stop"] = tuple(options.stop)
    guesses = state.guesses(options)
    state.say_in_use(options.quiet)
    if options.batch:
        return generate_batch(state, options, prompt, arguments)
    arguments |= guesses
    views: list[LiveGeneration] = []
    noted = len(session.messages)
    arrived = Arrived()

    def heard(event: Event) -> None:
        if not options.background:
            arrived.put(event)
        for view in views if options.background else ():
            view(event)

    def answered(text: str) -> None:
        if options.chat:
            state.conversation.answered(prompt, text)

    with user_errors():
        asked: Prompt = session.tokenizer.chat(state.conversation.asking(prompt)) if options.chat else prompt
        steps = session.generate(asked, on_event=heard, **arguments)  # a mistake is told here, before any picture
        if in_notebook() and state.config.views and not options.quiet:
            views.append(LiveGeneration(session))
        if options.background:
            work = _work(session, steps, views, answered)
            job = Background("generation", session, work, session.cancel, held=state.held())
            state.keep(options.out, job)
            return job
        progress = Progress(options.quiet, bool(views))
        try:
            _run(session, steps, arrived, views[0] if views else None, progress)
        finally:
            progress.close()
            for view in views:
                view.done(session.text)
    answered(session.text)
    for note in session.messages[noted:]:
        if not views or not note.startswith("During the generation"):  # the view has told of a restart
            print(note)
    state.keep(options.out, session.text)
    return session.text if options.output else None


def _prompt(state: SessionState, options: argparse.Namespace, prompt: str, cell: str | None) -> str:
    if cell is not None:
        if prompt:
            raise UsageError("%%llm_generate: the first line takes options only; move the prompt below.")
        prompt = cell.removesuffix("\n")
    if options.expand:
        prompt = expanded(prompt, state.shell.user_ns)
    if not prompt.strip():
        raise UsageError("%llm_generate: the prompt is empty; write it after the options.")
    return prompt


def _work(
    session: Session,
    steps: Iterator[GenerationStep],
    views: Sequence[LiveGeneration],
    answered: Callable[[str], None],
) -> Callable[[], str]:
    """Return the whole generation as a function for a thread of its own."""

    def work() -> str:
        try:
            for _ in steps:
                pass
        finally:
            for view in views:
                view.done(session.text)
        answered(session.text)
        return session.text

    return work


def _run(
    session: Session, steps: Iterator[GenerationStep], arrived: Arrived, view: LiveGeneration | None, progress: Progress
) -> None:
    """Show tokens until the end: in the view, or printed where there is none."""

    def show(item: GenerationStep | Event) -> None:
        if isinstance(item, GenerationStep):
            if view is None:
                print(item.text, end="", flush=True)
        elif view is not None:
            view(item)

    def told(event: Event) -> None:
        if view is not None and isinstance(event, Progressed):
            view(event)  # its bar stands where the text will
        else:
            progress(event)

    stopped = drain(session, steps, arrived, show, told)
    if view is None:
        print()
    if stopped:
        print(f"Stopped after {counted(session.stats.tokens, 'token')}; the text is kept in llm.text.")
