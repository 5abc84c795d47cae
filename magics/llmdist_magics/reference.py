"""docs/magics.md from the parsers: ``python -m llmdist_magics.reference > docs/magics.md``."""

from __future__ import annotations

import argparse
import sys

from .arguments import PARSERS

__all__ = ["reference"]


def reference() -> str:
    """Return the page docs/magics.md: every magic with its options, as the parsers know them."""
    parts = [
        "# Magics\n\nMade by `python -m llmdist_magics.reference > docs/magics.md`; a test compares both.\n"
        "`-h` after a magic prints the same. Named defaults are set with `%config LLMDist.NAME = VALUE`.\n"
    ]
    for name, parser in PARSERS.items():
        parts.append(f"\n## %{name}\n\n{parser.description}\n")
        if parser.epilog:
            parts.append(f"\n{parser.epilog}\n")
        parts.append("\n")
        parts += [_row(action) for action in parser._actions if action.dest != "help"]
    return "".join(parts)


def _row(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or '|'.join(action.choices or (action.dest.upper(),))}"
    name = ", ".join(action.option_strings) + value if action.option_strings else (action.metavar or action.dest)
    words = (action.help or "").replace("%%", "%") or f"one of {', '.join(action.choices or ())}"
    return f"* `{name}`: {words}\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
