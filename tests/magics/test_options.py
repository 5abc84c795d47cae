"""What the magics' options do: conversations, background work, named results, variables, defaults, completion."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from llmdist.demo import model_path
from llmdist_magics.arguments import PARSERS, parse, parse_with_prompt
from llmdist_magics.background import Background
from llmdist_magics.config import LLMDist
from llmdist_magics.reference import reference

PROMPT = "One day Anna the ant walked to the"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def shell(module_shell, tmp_path_factory):
    """A shell with the demo model, its tokenizer given a chat template."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(model_path(), folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    module_shell.run_line_magic("llm_load", f"{folder} --inline -q")
    module_shell.run_line_magic("llm_plan", "--seconds 0.2 --context 512 -q")
    return module_shell


def generate(shell, line):
    """Run %llm_generate quietly and return its result."""
    with capture_output():
        return shell.run_line_magic("llm_generate", line)


def test_a_conversation_remembers_its_turns_until_it_is_reset(shell):
    """The second question is put after the first and its answer; --reset begins anew."""
    asked = []
    llm = shell.user_ns["llm"]
    real = llm.tokenizer.chat
    llm.tokenizer.chat = lambda turns: asked.append(list(turns)) or real(turns)
    try:
        first = generate(shell, "--chat --max-new-tokens 5 -o Who is Anna?")
        second = generate(shell, "--chat --max-new-tokens 5 -o And Dora?")
        third = generate(shell, "--chat --reset --max-new-tokens 5 -o Who is Anna?")
    finally:
        llm.tokenizer.chat = real
    roles = [[turn["role"] for turn in turns] for turns in asked]
    assert roles == [["user"], ["user", "assistant", "user"], ["user"]]
    assert asked[1][1]["content"] == first and third == first and second is not None
    with capture_output() as shown:
        shell.run_line_magic("llm_generate", "--reset")
    assert "Forgot 2 turns" in shown.stdout


def test_a_cache_in_8_bits_and_guesses_are_planned_and_used(shell):
    """--kv and --speculate reach the plan, which says so; the text with guesses is that without."""
    with capture_output() as shown:
        plan = shell.run_line_magic("llm_plan", "--kv int8 --speculate ngram --seconds 0.2 --context 512 -o")
    assert plan.problem.workload.kv_precision == "int8" and "speculation 4 guesses" in shown.stdout
    plain = generate(shell, f"--max-new-tokens 40 -o {PROMPT}")
    guessed = generate(shell, f"--speculate ngram --draft-tokens 3 --max-new-tokens 40 -o {PROMPT}")
    assert guessed == plain and shell.user_ns["llm"].stats.drafted > 0
    shell.run_line_magic("llm_plan", "--seconds 0.2 --context 512 -q")


def test_background_returns_at_once_with_a_handle(shell):
    """The handle tells how far it is, stops the generation, and keeps the text."""
    llm = shell.user_ns["llm"]
    between = llm._between
    llm._between = lambda: time.sleep(0.02) or between()
    try:
        job = shell.run_line_magic("llm_generate", f"--background --out job --max-new-tokens 300 {PROMPT}")
        assert isinstance(job, Background) and job.running and shell.user_ns["job"] is job
        while llm.stats.tokens < 5:
            time.sleep(0.01)
        assert "tokens so far" in job.poll() and job.text
        llm.stats, stats = replace(llm.stats, tokens=1), llm.stats
        assert job.poll() == "generation is running: 1 token so far"
        llm.stats = stats
        job.stop()
        text = job.wait(30)
    finally:
        llm._between = between
    assert text and not job.running and llm.stats.finish_reason == "interrupted" and job.text == text
    assert "ended: interrupted" in repr(job)


def test_a_search_runs_beside_the_notebook_and_can_be_stopped(shell):
    """%llm_plan --background gives a handle; its plan is in force when it ended."""
    job = shell.run_line_magic("llm_plan", "--background --seconds 20 --context 512 -q")
    job.stop()
    plan = job.wait(30)
    assert plan is shell.user_ns["llm"].plan_result and plan.summary() == job.text


def test_a_gpu_limit_without_a_gpu_is_told_in_a_sentence_each_time(shell):
    """No Python warning is shown: one line on the output, for every search that it concerns."""
    if any(device.kind == "cuda" for device in shell.user_ns["llm"].hardware.devices):
        pytest.skip("this machine has a GPU")
    for line in ("", "", "--pareto", "--background --out job"):
        with capture_output() as shown:
            shell.run_line_magic("llm_plan", f"--vram 8GiB --seconds 0.2 --context 512 -q {line}")
        assert shown.stdout.startswith("A GPU limit of ") and shown.stdout.count("\n") == 1
        assert "--ram" in shown.stdout and shown.stderr == ""
    shell.user_ns["job"].wait(30)


def test_results_are_kept_where_out_says(shell):
    """--out names a variable for the text and for the plan; -o returns the same object."""
    text = generate(shell, f"--out tale -o --max-new-tokens 6 {PROMPT}")
    assert shell.user_ns["tale"] == text == shell.user_ns["llm"].text
    shell.run_line_magic("llm_plan", "--out found -q --seconds 0.2 --context 512")
    assert shell.user_ns["found"] is shell.user_ns["llm"].plan_result


def test_variables_go_into_a_prompt_only_where_asked(shell):
    """--expand puts $name in; without it dollars and braces stay as they are."""
    shell.user_ns["hero"] = "Anna"
    plain = generate(shell, "-o --max-new-tokens 8 One day Anna the ant")
    assert generate(shell, "-o --expand --max-new-tokens 8 One day ${hero} the ant") == plain
    seen = []
    llm = shell.user_ns["llm"]
    real = llm.generate
    llm.generate = lambda prompt, **rest: seen.append(prompt) or real(prompt, **rest)
    try:
        generate(shell, "--max-new-tokens 2 It cost $hero {hero} $$5")
    finally:
        del llm.generate
    assert seen == ["It cost $hero {hero} $$5"]


def test_every_line_of_a_batch_is_a_prompt(shell):
    """Each prompt gets the text that it gets alone, numbered, with the speed of all together; --out keeps a list."""
    prompts = [PROMPT, "The ants", "Dora found a"]
    alone = [generate(shell, f"-o --max-new-tokens 6 {prompt}") for prompt in prompts]
    shell.run_line_magic("llm_plan", "--seconds 0.2 --context 128 --batch 3 -q")
    with capture_output() as shown:
        texts = shell.run_cell_magic("llm_generate", "--batch -o --out many --max-new-tokens 6", "\n\n".join(prompts))
    shell.run_line_magic("llm_plan", "--seconds 0.2 --context 512 -q")
    assert texts == alone == shell.user_ns["many"]
    lines = shown.stdout.splitlines()
    assert all(f"[{i}] {prompt}" in shown.stdout for i, prompt in enumerate(prompts, 1))
    assert lines[-1].startswith("3 prompts, 18 tokens: ") and "tokens/s in all, first after" in lines[-1]


def test_config_sets_what_is_not_written(shell):
    """%config LLMDist changes defaults, a written option goes before, and a wrong type is refused."""
    shell.run_line_magic("config", "LLMDist.max_new_tokens = 3")
    try:
        generate(shell, PROMPT)
        assert shell.user_ns["llm"].stats.tokens == 3
        generate(shell, f"--max-new-tokens 5 {PROMPT}")
        assert shell.user_ns["llm"].stats.tokens == 5
    finally:
        shell.run_line_magic("config", "LLMDist.max_new_tokens = 64")
    with capture_output() as shown:
        shell.run_line_magic("config", "LLMDist")
    assert "LLMDist.seconds" in shown.stdout and "LLMDist.views" in shown.stdout


@pytest.mark.parametrize("wrong", ["foo = 3", "temperature = -1", "seconds = 0"])
def test_a_refused_default_is_gone_when_the_extension_is_loaded_anew(module_shell, wrong):
    """Neither the magics nor the shell's configuration keep it; what was set before it stays set."""
    InteractiveShell.clear_instance()
    fresh = InteractiveShell.instance()
    try:
        fresh.run_line_magic("load_ext", "llmdist_magics")
        fresh.run_line_magic("config", "LLMDist.temperature = 0.5")
        fresh.run_line_magic("config", f"LLMDist.{wrong}")
        with capture_output() as shown:
            fresh.run_line_magic("reload_ext", "llmdist_magics")
        assert (shown.stdout, fresh._llmdist_state.config.temperature) == ("", 0.5)
        assert dict(fresh.config.LLMDist) == {"temperature": 0.5}
    finally:
        fresh.run_line_magic("unload_ext", "llmdist_magics")
        InteractiveShell.clear_instance()
        InteractiveShell._instance = module_shell


def test_a_wrong_value_in_a_start_up_file_is_said_once_and_the_default_is_taken(capsys):
    """The good values of the file are kept."""
    file = Config({"LLMDist": {"temperature": -1, "foo": 3, "seconds": 5.0}})
    for said in (
        "The configuration of LLMDist: temperature is -1 where a number from 0 is needed; there is no foo",
        "",
    ):
        defaults = LLMDist(config=file)
        assert (defaults.temperature, defaults.seconds) == (0.0, 5.0)
        shown = capsys.readouterr().out
        assert shown.startswith(said) and bool(shown) is bool(said)


def test_a_report_of_the_session_is_one_file(shell, tmp_path):
    """%llm_report writes the page and returns its path."""
    generate(shell, f"--max-new-tokens 6 {PROMPT}")
    with capture_output() as shown:
        path = shell.run_line_magic("llm_report", f"{tmp_path}/page.html -o")
    page = path.read_text()
    assert "Wrote" in shown.stdout and path == tmp_path / "page.html"
    assert all(f"<h2>{part}</h2>" in page for part in ("Plan", "Generation", "Machine and model"))


@pytest.mark.parametrize(
    "line, wanted",
    [
        ("%llm_plan --ram ", "8GiB"),
        ("%llm_plan --objective ", "finish"),
        ("%llm_plan --precision bf16,", "bf16,fp32"),
        ("%llm_load some", "someorg/small-model"),
        ("%llm_load checkpoints/", "checkpoints/tiny"),
        ("%llm_generate --back", "--background"),
        ("%llm_place layers.2", "layers.2.mlp"),
    ],
)
def test_values_models_and_blocks_complete(shell, tmp_path, monkeypatch, line, wanted):
    """Tab completes option values, hub models in the cache, folders of checkpoints, and blocks."""
    (tmp_path / "hub" / "models--someorg--small-model").mkdir(parents=True)
    (tmp_path / "checkpoints" / "tiny").mkdir(parents=True)
    (tmp_path / "checkpoints" / "tiny" / "config.json").write_text("{}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    assert wanted in shell.complete(line.split()[-1] if not line.endswith(" ") else "", line)[1]


def test_the_documented_magics_are_the_real_ones():
    """docs/magics.md is what the parsers say, so help and documents cannot part."""
    text = (Path(__file__).parents[2] / "docs" / "magics.md").read_text()
    assert text == reference()
    assert all(f"## %{name}" in text for name in PARSERS)


def test_a_line_may_end_in_a_comment_as_those_of_the_readme_do():
    """Every magic of the README is read as it stands there; in a prompt # is a character like others."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = text.split("## In a notebook")[1].split("```")[1]
    lines = re.findall(r"^%(llm_\w+)(.*)$", block, re.MULTILINE)
    assert len(lines) >= 6 and sum(" # " in line for _, line in lines) >= 4
    for name, line in lines:
        options = parse_with_prompt(name, line)[0] if name == "llm_generate" else parse(name, line)
        assert "#" not in str(vars(options))
    assert parse("llm_load", "demo  # the model's own").model == "demo"
    assert parse("llm_load", "./folder#2").model == "./folder#2"
    assert parse_with_prompt("llm_generate", "--stop # Say # twice")[0].stop == ["#"]
    assert parse_with_prompt("llm_generate", "Say # twice")[1] == "Say # twice"
