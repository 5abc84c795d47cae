"""The magics in a real IPython shell."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.utils.capture import capture_output

from llmdist_magics.arguments import PARSERS, parse_with_prompt


@pytest.mark.parametrize("name", list(PARSERS))
def test_help_is_printed_and_is_the_docstring(shell, name):
    """-h prints the parser's help, which is also the magic's docstring."""
    with capture_output() as shown:
        shell.run_line_magic(name, "-h")
    assert f"usage: %{name}" in shown.stdout
    assert PARSERS[name].format_help() == shell.find_line_magic(name).__doc__


@pytest.mark.parametrize(
    "name, line",
    [
        ("llm_plan", "--ants 3"),
        ("llm_plan", "--batch many"),
        ("llm_load", ""),
        ("llm_load", "'open"),
    ],
)
def test_bad_options_are_usage_errors(shell, name, line):
    """A wrong option raises exactly UsageError, so no traceback is printed."""
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic(name, line)
    assert type(caught.value) is UsageError


@pytest.mark.parametrize(
    "name, line", [("llm_generate", "hello"), ("llm_plan", ""), ("llm_unload", "")]
)
def test_magics_before_load_say_what_to_do(shell, name, line):
    """Before a model is loaded the magics name %llm_load."""
    with pytest.raises(UsageError, match="%llm_load"):
        shell.run_line_magic(name, line)


def test_status_before_load_is_text(shell):
    """%llm_status without a model prints how to start."""
    with capture_output() as shown:
        shell.run_line_magic("llm_status", "")
    assert "%llm_load" in shown.stdout


def test_unknown_folder_is_one_sentence(shell):
    """A folder that is not there gives UsageError without a line break."""
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic("llm_load", "/no/such/folder")
    assert "\n" not in str(caught.value)


def test_options_complete(shell):
    """Tab completes the options and the demo model."""
    assert "--vram" in shell.complete("--v", "%llm_plan --v")[1]
    assert "demo" in shell.complete("de", "%llm_load de")[1]


def test_known_machines_and_models_complete_after_their_options(shell):
    """Tab after --machine and --model-shape names what can be chosen."""
    assert shell.complete("rtx4", "%llm_plan --machine rtx4")[1] == ["rtx4090"]
    assert "llama-2-13b" in shell.complete("", "%llm_plan --seconds 1 --model-shape ")[1]


def test_a_plan_for_a_machine_one_does_not_own_needs_no_model(shell):
    """It prints numbers that say simulated, returns the plan, and leaves no session behind."""
    with capture_output() as shown:
        plan = shell.run_line_magic("llm_plan", "--machine rtx4090 --model-shape llama-2-7b --seconds 0.5 -o")
    assert plan.simulated and plan.machine == "rtx4090"
    numbers = [line for line in shown.stdout.splitlines() if "token" in line]
    assert numbers and all("simulated" in line for line in numbers)
    assert "llm" not in shell.user_ns
    with pytest.raises(UsageError, match=r"abacus.*rtx4090"):
        shell.run_line_magic("llm_plan", "--machine abacus --model-shape llama-2-7b")
    with pytest.raises(UsageError, match="%llm_load"):
        shell.run_line_magic("llm_plan", "--machine rtx4090")


@pytest.mark.parametrize(
    "line, prompt",
    [
        ('--seed 3 Say "hi {x}" --now', 'Say "hi {x}" --now'),
        ("It's -q here", "It's -q here"),
        ("-q -- -5 + 3", "-5 + 3"),
        ("--stop='a b' --stop \"c d\" go", "go"),
    ],
)
def test_prompt_stays_verbatim(line, prompt):
    """Options come first; the rest is the prompt with quotes and braces."""
    assert parse_with_prompt("llm_generate", line)[1] == prompt


def test_demo_plans_and_generates_as_text(shell):
    """Load, plan, generate and unload work in a terminal shell with plain text."""
    with capture_output() as shown:
        shell.run_line_magic("llm_load", "demo --inline")
        result = shell.run_line_magic("llm_plan", "--seconds 0.3 -o")
        text = shell.run_line_magic("llm_generate", "--max-new-tokens 4 -o The ants {x}")
        again = shell.run_cell_magic("llm_generate", "--max-new-tokens 4 -o", "The ants {x}\n")
        assert shell.user_ns["llm"].plan_result is result
        shell.run_line_magic("llm_unload", "")
    assert "tokens/s" in shown.stdout and text in shown.stdout
    assert text == again
    assert "llm" not in shell.user_ns


def test_a_lesson_gives_every_screen_the_same_plan_and_text(shell):
    """Loads with one lesson agree, whatever the search time; another lesson differs; a plain load ends it."""

    def seen(lesson: str) -> tuple[object, str]:
        with capture_output():
            shell.run_line_magic("llm_load", f"demo {lesson} -q")
            machine = "--machine laptop8g --model-shape llama-2-7b -q -o"
            plan = shell.run_line_magic("llm_plan", machine)
            shell.run_line_magic("llm_plan", "--context 256 -q")
            text = shell.run_line_magic("llm_generate", "--temperature 1 --max-new-tokens 12 -q -o One day")
        return plan.placement, plan.iterations, plan.seed, text

    first, second = seen("--lesson 5"), seen("--lesson 5")
    assert first == second and first[2] == 5
    assert seen("--lesson 6")[3] != first[3]
    with capture_output():
        shell.run_line_magic("llm_load", "demo -q")
        assert shell.run_line_magic("llm_plan", "--seconds 0.3 -q -o").seed == 0
