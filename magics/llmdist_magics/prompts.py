"""Prompts: variables put in only where asked, and the turns of a conversation.

A prompt is otherwise taken as it stands; braces and dollars in it mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import UsageError

__all__ = ["Conversation", "expanded"]

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")


def expanded(prompt: str, variables: Mapping[str, Any]) -> str:
    """Return `prompt` with ``$name`` and ``${name}`` replaced by variables, ``$$`` by a dollar.

    UsageError names the variable that is missing.
    """

    def value(match: re.Match[str]) -> str:
        if match.group(1):
            return "$"
        name = match.group(2) or match.group(3)
        if name not in variables:
            raise UsageError(f"%llm_generate: --expand found ${name}, but no variable {name}; write $$ for a $.")
        return str(variables[name])

    return _VARIABLE.sub(value, prompt)


@dataclass(slots=True)
class Conversation:
    """The turns so far; an answer joins them when it came, a question only together with its answer."""

    turns: list[dict[str, str]] = field(default_factory=list)

    def asking(self, question: str) -> list[dict[str, str]]:
        """Return the turns with `question` at the end."""
        return [*self.turns, {"role": "user", "content": question}]

    def answered(self, question: str, answer: str) -> None:
        """Keep a question and its answer."""
        self.turns = [*self.asking(question), {"role": "assistant", "content": answer}]

    def reset(self) -> int:
        """Forget all turns; return how many there were."""
        count, self.turns = len(self.turns), []
        return count
