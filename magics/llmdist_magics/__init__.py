"""Magics for notebooks and IPython: ``%load_ext llmdist_magics``.

``%llm_load``, ``%llm_plan``, ``%llm_place``, ``%llm_generate``, ``%llm_status``, ``%llm_report``, ``%llm_unload``;
``%config LLMDist`` has their defaults. Everything heavy is imported when the extension is loaded, not when this
package is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_STATE = "_llmdist_state"


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics and their completion."""
    from . import completion
    from .generate import generate
    from .load import load
    from .place import place
    from .plan import plan
    from .report import report
    from .state import SessionState
    from .status import status
    from .unload import unload

    state = SessionState(ipython)
    setattr(ipython, _STATE, state)
    ipython.configurables.append(state.config)  # type: ignore[arg-type]
    for work in (load, plan, place, status, report, unload):
        _register(ipython, f"llm_{work.__name__}", "line", state, work)
    _register(ipython, "llm_generate", "line_cell", state, generate)
    completion.install(ipython, lambda: state.session)


def _register(
    ipython: InteractiveShell, name: str, kind: str, state: Any, work: Callable[..., Any]
) -> None:
    from IPython.core.error import UsageError

    from .arguments import PARSERS, HelpShown
    from .wording import warnings_as_sentences

    def magic(line: str, cell: str | None = None) -> Any:
        try:
            with warnings_as_sentences(), state.used():
                return work(state, line) if cell is None else work(state, line, cell)
        except HelpShown:
            return None
        except KeyboardInterrupt:  # between the parts that end in their own way
            raise UsageError(f"%{name} was stopped; %llm_status tells what is loaded and in force.") from None

    magic.__name__ = name
    magic.__doc__ = PARSERS[name].format_help()
    if name == "llm_generate":  # what IPython's @no_var_expand sets: braces in a prompt stay
        magic._ipython_magic_no_var_expand = True  # type: ignore[attr-defined]
    ipython.register_magic_function(magic, kind, name)  # type: ignore[arg-type]


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """End the session and take the magics away."""
    from . import completion
    from .arguments import PARSERS

    state = getattr(ipython, _STATE, None)
    if state is not None:
        if state.loading is not None:
            state.loading.stop()
        state.replace(None)
        ipython.configurables.remove(state.config)
        delattr(ipython, _STATE)
    completion.remove(ipython)
    for name in PARSERS:
        for magics in ipython.magics_manager.magics.values():
            magics.pop(name, None)
