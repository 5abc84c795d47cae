"""`%llm_place`: the placement editor; without words it opens, with words it does one thing and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from IPython.core.error import UsageError

from llmdist.errors import PlanError
from llmdist_widgets.editor import PlacementEditor
from llmdist_widgets.editor_words import block_indices, block_words, parse_target, target_words

from .arguments import parse
from .progress import Progress
from .running import Search
from .state import SessionState, user_errors

__all__ = ["place", "place_words"]

_ALONE = ("undo", "redo", "apply", "revert", "replan", "show", "close")
_WITH_BLOCKS = ("lock", "unlock", "why")
_WITH_FILE = ("save", "load", "compare")
VERBS = (*_ALONE, *_WITH_BLOCKS, *_WITH_FILE)


def place(state: SessionState, line: str) -> PlacementEditor | None:
    """Open the editor, or do what the words say; return the editor with -o."""
    options = parse("llm_place", line)
    state.check_name(options.out)
    with user_errors():
        session = state.require()
        opened = state.editor is None
        if opened:
            state.editor = PlacementEditor(session)
            state.editor.colony = state.colony
        editor: PlacementEditor = state.editor
        if options.words and options.words[0] != "show":
            said = _told(session, options.quiet, lambda: _do(editor, options.words, options.seconds))
            if not options.quiet:
                print(said)
        elif not options.quiet:
            if not opened:
                _take_up_new_plan(editor)
            editor.show()
    if options.words[:1] == ["close"]:
        state.editor = None
    state.keep(options.out, editor)
    return editor if options.output else None


def _told(session: Any, quiet: bool, work: Callable[[], str]) -> str:
    """Do the work; where it moves weights, show how far that is."""
    session.on_progress = progress = Progress(quiet)
    try:
        return work()
    finally:
        session.on_progress = None
        progress.close()


def _take_up_new_plan(editor: PlacementEditor) -> None:
    """Start over where the session was planned under other limits; keep the draft otherwise."""
    if editor.stale:
        editor.revert()


def _do(editor: PlacementEditor, words: Sequence[str], seconds: float) -> str:
    verb, rest = words[0], " ".join(words[1:])
    if verb in _ALONE and rest:
        raise UsageError(f"%llm_place {verb} takes nothing after it, but {rest!r} was given.")
    if verb in _WITH_BLOCKS + _WITH_FILE and not rest and verb != "compare":
        what = "a file name" if verb in _WITH_FILE else "blocks such as layers.3-7.mlp"
        raise UsageError(f"%llm_place {verb}: name {what} after it.")
    if verb in _WITH_FILE:
        return _with_file(editor, verb, rest)
    if verb == "close":
        editor.close()
        return "Closed the editor; its static copy stays."
    if verb == "why":
        return editor.why(rest)
    if verb == "replan":
        search = Search("%llm_place replan", partial(editor.replan, seconds), editor.stop_search)
        said = search()
        search.say("; the draft is the best placement so far")
    else:
        said = _change(editor, verb, words)
    return "\n".join([said, *editor.figures()])


def _change(editor: PlacementEditor, verb: str, words: Sequence[str]) -> str:
    if verb in _ALONE:
        simple: Callable[[], str] = getattr(editor, verb)
        return simple()
    if verb in _WITH_BLOCKS:
        with_blocks: Callable[[str], str] = getattr(editor, verb)
        return with_blocks(" ".join(words[1:]))
    if len(words) == 1:
        raise UsageError(_what_is_missing(editor, verb))
    return editor.move(verb, " ".join(words[1:]))


def _what_is_missing(editor: PlacementEditor, word: str) -> str:
    """Return what to write where one word stands alone: a place after blocks, blocks before a place."""
    names = editor.draft.names
    try:
        wanted = parse_target(editor.problem.devices, [word])
    except PlanError:
        block_indices(names, word)  # what is neither a place nor blocks is told the blocks that there are
        return (
            f"%llm_place {word}: where should it go? Write for example %llm_place {word} cpu, "
            f"or one of {', '.join(VERBS)}."
        )
    can = [name for index, name in enumerate(names) if not editor.draft.moves([index], wanted)[1]]
    if not can:
        places = ", ".join(target_words(editor.problem.devices, editor.problem.precisions))
        return f"%llm_place {word}: no block can be {word} under this plan; write blocks and one of {places}."
    block = next((name for name in can if name.endswith("mlp")), can[-1])
    return f"%llm_place {word}: name the blocks first. Write for example %llm_place {block} {word}."


def _with_file(editor: PlacementEditor, verb: str, path: str) -> str:
    if verb == "compare":
        return editor.compare(path or None).summary()
    if verb == "save":
        return editor.save(path)
    return "\n".join([editor.load(path), *editor.figures()])


def place_words(session: Any, words: Sequence[str]) -> list[str]:
    """Return what may come after `words` in a ``%llm_place`` line, for completion."""
    if session is None:
        return list(VERBS) if not words else []
    plan = session.plan_result
    names = [block.name for block in session.profile.blocks]
    if not words:
        return [*VERBS, *block_words(names)]
    if words[0] in _WITH_BLOCKS:
        return block_words(names)
    if words[0] in VERBS:
        return []
    devices = plan.problem.devices if plan else session.hardware.devices
    return target_words(devices, plan.problem.precisions if plan else ())
