"""The options of each magic: one argparse parser per magic, which is also its help and docstring.

Mistakes are `UsageError`, exactly that class: IPython prints a traceback for a subclass.
"""

from __future__ import annotations

import argparse
import re
import shlex
from difflib import get_close_matches
from typing import Any, NoReturn

from IPython.core.error import UsageError

from llmdist.generation import LARGEST_SEED

__all__ = ["PARSERS", "HelpShown", "options_of", "parse", "parse_with_prompt", "written"]


class HelpShown(Exception):
    """The user asked for help and got it."""


class MagicParser(argparse.ArgumentParser):
    """A parser that never ends the program."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with one sentence; a misspelt option is answered with the one that is like it."""
        unknown = re.match(r"unrecognized arguments: (-[^\s=]+)", message)
        near = get_close_matches(unknown.group(1), self._option_string_actions, 1, 0.8) if unknown else []
        hint = f", did you mean {near[0]}? See" if near else "; see"
        raise UsageError(f"{self.prog}: {message}{hint} {self.prog} -h.")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Raise HelpShown instead of ending the program."""
        raise HelpShown


def _parser(name: str, description: str, usage_tail: str = "") -> MagicParser:
    parser = MagicParser(f"%{name}", description=description, allow_abbrev=False)
    parser.epilog = usage_tail or None
    return parser


def _seed(text: str) -> int:
    """Return a seed; whatever draws with it takes whole numbers from 0 that fit in 63 bits."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_SEED:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r:.40} is no seed, which is a whole number from 0 to {LARGEST_SEED}")


def _word(text: str) -> str:
    """Return the text of an option that an empty text would leave without a meaning."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text was given, write a value or leave the option out")
    return text


def _load() -> MagicParser:
    parser = _parser("llm_load", "Load a model and measure this machine; the session is named llm.")
    parser.add_argument("model", help="demo, a checkpoint folder, or a hub name such as Qwen/Qwen3-8B")
    parser.add_argument("--revision", type=_word, help="revision of the checkpoint, for a hub name")
    parser.add_argument(
        "--inline", action="store_true", help="run in this process, not a separate one"
    )
    parser.add_argument("--lesson", type=_seed, metavar="N",
                        help="for a class: seed N for plans and texts, searches of equal length")  # fmt: skip
    _background(parser)
    _common(parser, "the Session", "show nothing")
    return parser


def _plan() -> MagicParser:
    parser = _parser("llm_plan", "Search a placement under memory caps and apply it.")
    parser.add_argument("--vram", type=_word, metavar="SIZE", help="cap of GPU memory, such as 8GiB")
    parser.add_argument("--ram", type=_word, metavar="SIZE", help="cap of host memory, such as 700MB")
    parser.add_argument("--disk", action=argparse.BooleanOptionalAction, default=True,
                        help="weights may rest on disk")  # fmt: skip
    parser.add_argument(
        "--precision", type=_word, metavar="P[,P]", help="allowed precisions, such as bf16,int8"
    )
    parser.add_argument(
        "--context", type=int, metavar="N", help="tokens that the KV cache must hold"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="sequences (1)")
    parser.add_argument("--kv", choices=("int8",), help="keep keys and values in 8 bits: half the KV cache")
    parser.add_argument("--machine", type=_word, metavar="NAME",
                        help="simulate a known machine, such as rtx4090; applies nothing")  # fmt: skip
    parser.add_argument("--model-shape", type=_word, metavar="NAME",
                        help="simulate a known model, such as llama-2-13b; needs no model loaded")  # fmt: skip
    parser.add_argument("--objective", choices=("latency", "finish"), default="latency",
                        help="time per token, or time until the last one")  # fmt: skip
    parser.add_argument("--seed", type=_seed, metavar="N", help="seed of the search (%%config LLMDist.seed, 0)")
    parser.add_argument("--seconds", type=float, metavar="X", help="search time (%%config LLMDist.seconds, 2; of "
                        "--pareto: LLMDist.pareto_seconds, 10)")  # fmt: skip
    choose = parser.add_mutually_exclusive_group()
    choose.add_argument("--pareto", action="store_true",
                        help="show plans not beaten in speed, memory and quality at once; applies nothing")  # fmt: skip
    choose.add_argument("--pick", type=int, metavar="N", help="apply plan N of the last --pareto")
    _speculation(parser, "plan for a generation with the same option; a draft's memory counts within the caps")
    _background(parser)
    _common(parser, "the PlanResult")
    return parser


def _place() -> MagicParser:
    parser = _parser(
        "llm_place", "Open the placement editor, or change the placement with words.",
        "Blocks: layers.3-7.mlp, layers.0-3, mlp, head, all, layers.2.mlp..head. Where: cpu, gpu, disk (rest there), "
        "disk>cpu, a precision. Or: lock BLOCKS, unlock BLOCKS, why BLOCK, undo, redo, replan, apply, revert, "
        "save FILE, load FILE, compare [FILE], show, close.",
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="WORD", help="for example: layers.3-7.mlp cpu, or: lock layers.0-3")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="X", help="search time of replan (1)")
    _common(parser, "the PlacementEditor")
    return parser


def _generate() -> MagicParser:
    parser = _parser("llm_generate", "Generate text: options first, then the prompt as it stands.",
                     "Write -- before a prompt that starts with a dash.")  # fmt: skip
    parser.add_argument("--max-new-tokens", type=int, metavar="N",
                        help="most tokens (%%config LLMDist.max_new_tokens, 64)")  # fmt: skip
    parser.add_argument("--temperature", type=float, metavar="X", help="0 is greedy (%%config LLMDist.temperature)")
    parser.add_argument("--top-k", type=int, default=0, metavar="N", help="sample among the N best; 0 is all (0)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="X", help="sample among the best of mass X (1)")
    parser.add_argument("--seed", type=_seed, metavar="N", help="seed of the sampling; without it every run differs")
    parser.add_argument("--stop", action="append", type=_word, default=[], metavar="TEXT",
                        help="end there; may be repeated")  # fmt: skip
    _speculation(parser, "guess tokens and check them in one pass: ngram, or a variable with a smaller model's Session")
    parser.add_argument("--batch", action="store_true",
                        help="in a cell: every line is a prompt, all go through the model together")  # fmt: skip
    parser.add_argument("--chat", action="store_true", help="go on with the conversation, by the chat template")
    parser.add_argument("--reset", action="store_true", help="forget the conversation first")
    parser.add_argument("--expand", action="store_true", help="put variables in: $name, ${name}; $$ is a dollar")
    _background(parser)
    _common(parser, "the text, a list of texts with --batch")
    return parser


def _status() -> MagicParser:
    parser = _parser("llm_status", "Show the machine, what is loaded and the plan in force.")
    parser.add_argument("-q", dest="quiet", action="store_true", help="as text, without a picture")
    return parser


def _report() -> MagicParser:
    parser = _parser("llm_report", "Write plan and last generation to a page that needs neither kernel nor network.")
    parser.add_argument("file", help="where to write, such as report.html")
    parser.add_argument("--title", default="llmdist report", help="heading of the page")
    _common(parser, "the path", None)
    return parser


def _speculation(parser: MagicParser, words: str) -> None:
    parser.add_argument("--speculate", type=_word, metavar="DRAFT", help=words)
    parser.add_argument("--draft-tokens", type=int, metavar="N", help="tokens guessed per pass of --speculate (4)")


def _background(parser: MagicParser) -> None:
    parser.add_argument(
        "--background", action="store_true", help="return a handle at once: poll(), text, stop(), wait()"
    )


def _common(parser: MagicParser, result: str, quiet: str | None = "show no pictures") -> None:
    parser.add_argument("-o", dest="output", action="store_true", help=f"return {result}")
    parser.add_argument("--out", metavar="NAME", help=f"keep {result} in this variable")
    if quiet:
        parser.add_argument("-q", dest="quiet", action="store_true", help=quiet)


PARSERS: dict[str, MagicParser] = {
    "llm_load": _load(),
    "llm_plan": _plan(),
    "llm_place": _place(),
    "llm_generate": _generate(),
    "llm_status": _status(),
    "llm_report": _report(),
    "llm_unload": _parser("llm_unload", "End the session and free its memory."),
}


def options_of(name: str) -> list[str]:
    """Return the option strings of a magic."""
    return [option for action in PARSERS[name]._actions for option in action.option_strings]


def written(name: str, options: argparse.Namespace) -> list[str]:
    """Return the options that are not at their defaults, as they are written."""
    found = []
    for action in PARSERS[name]._actions:
        value = getattr(options, action.dest, action.default)
        if action.option_strings and value != action.default:
            off = [option for option in action.option_strings if option.startswith("--no-") and value is False]
            found.append((off or action.option_strings)[0])
    return found


def parse(name: str, line: str) -> argparse.Namespace:
    """Return the options in `line` up to a comment; UsageError when they are wrong, HelpShown after -h."""
    return _parsed(name, _without_comment(line))


def _parsed(name: str, line: str) -> argparse.Namespace:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%{name}: {error}; close the quote.") from None
    return PARSERS[name].parse_args(words)


_WORD = re.compile(r"""\s*((?:"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'])+|\S+)""")


def _without_comment(line: str) -> str:
    """Return `line` up to a word that begins with #: a line of the notebook may end as one of Python does."""
    for match in _WORD.finditer(line):
        if match.group(1).startswith("#"):
            return line[: match.start()]
    return line


def parse_with_prompt(name: str, line: str) -> tuple[argparse.Namespace, str]:
    """Return the leading options and the rest of `line` verbatim, with its quotes and braces."""
    actions: dict[str, Any] = {s: a for a in PARSERS[name]._actions for s in a.option_strings}
    position = end = 0
    while (match := _WORD.match(line, position)) and match.group(1).startswith("-"):
        word = match.group(1)
        position = match.end()
        if word == "--":
            return _parsed(name, line[:end]), line[position:].strip()
        option, equals, _ = word.partition("=")
        action = actions.get(option)
        if action is not None and action.nargs != 0 and not equals:
            value = _WORD.match(line, position)
            position = value.end() if value else position
        end = position
    return _parsed(name, line[:end]), line[end:].strip()
