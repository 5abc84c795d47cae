"""Wrong uses of the magics and the sentence each gives: one line, what was asked, what to do."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

WITHOUT_A_MODEL = [
    ("llm_load", "", "%llm_load: the following arguments are required: model; see %llm_load -h."),
    ("llm_load", "'open", "%llm_load: No closing quotation; close the quote."),
    ("llm_load", "/no/such/folder", "There is no folder '/no/such/folder'"),
    ("llm_load", "--lesson -1 demo", "argument --lesson: '-1' is no seed, which is a whole number from 0 to"),
    ("llm_load", f"--lesson {2**63} demo", "is no seed, which is a whole number from 0 to 9223372036854775807; see"),
    ("llm_load", "--revision abc demo", "--revision abc means nothing for demo, which is the bundled model; leave it"),
    ("llm_load", "--revision abc /tmp", "--revision abc means nothing for /tmp, which is a folder; leave it out, or"),
    ("llm_plan", "--seconds 1", "No model is loaded: run %llm_load demo"),
    ("llm_generate", "hello", "No model is loaded: run %llm_load demo"),
    ("llm_plan", "--pick 1", "%llm_plan --pick 1: no front was searched yet; run %llm_plan --pareto first."),
    ("llm_place", "", "No model is loaded: run %llm_load demo"),
    ("llm_report", "page.html", "No model is loaded: run %llm_load demo"),
    ("llm_unload", "", "No model is loaded: run %llm_load demo"),
]
WITH_THE_DEMO = [
    ("llm_plan", "--ram 8GiBB", "The size '8GiBB' cannot be read: write a number and a unit such as 8GiB"),
    ("llm_plan", "--ram 1KiB", "No placement of the 18 blocks fits: cpu is capped at 1 KiB"),
    ("llm_plan", "--precision int3", "int3"),
    ("llm_plan", "--context 100000", "100000"),
    ("llm_plan", "--seconds 0", "The search was given 0.0 seconds: give it a number above 0"),
    ("llm_plan", "--objective speed", "%llm_plan: argument --objective: invalid choice: 'speed'"),
    ("llm_plan", "--batch many", "%llm_plan: argument --batch: invalid int value: 'many'; see %llm_plan -h."),
    ("llm_plan", "--pick 1", "%llm_plan --pick 1: no front was searched yet; run %llm_plan --pareto first."),
    ("llm_plan", "--pick 1 --pareto", "argument --pareto: not allowed with argument --pick"),
    ("llm_plan", "--pick 2 --ram 1GiB", "%llm_plan --pick 2: --ram means nothing with --pick, which takes a plan as"),
    (
        "llm_plan", "--pick 2 --no-disk --seconds 3 --background",
        "%llm_plan --pick 2: --no-disk and --seconds and --background mean nothing with --pick",
    ),
    ("llm_plan", "--precision ''", "%llm_plan: argument --precision: an empty text was given, write a value or leave"),
    ("llm_plan", "--ram ''", "%llm_plan: argument --ram: an empty text was given"),
    ("llm_plan", "--machine ''", "%llm_plan: argument --machine: an empty text was given"),
    ("llm_plan", "--draft-tokens 7", "--draft-tokens 7 means nothing without --speculate; add --speculate ngram, or"),
    ("llm_plan", "--pareto --seconds 0", "The search was given 0.0 seconds: give it a number above 0"),
    ("llm_plan", "--pareto --background", "%llm_plan: a Pareto front does not run in the background"),
    ("llm_plan", "--pareto --speculate ngram", "a Pareto front does not speculate"),
    ("llm_plan", "--kv int4", "%llm_plan: argument --kv: invalid choice: 'int4'"),
    ("llm_plan", "--speculate nobody", "--speculate nobody: the variable nobody is not there; give ngram, or load a"),
    ("llm_plan", "--speculate ngram --draft-tokens 99", "99 draft tokens were asked: ask for 1 to 15."),
    ("llm_plan", "--machine rtx4090 --speculate ngram", "a simulated plan does not speculate"),
    ("llm_generate", "--speculate In Hello", "--speculate In: the variable In holds list; give ngram, or load"),
    ("llm_plan", "--out 3x", "--out 3x: a variable cannot have that name; write for example --out answer."),
    ("llm_generate", "", "%llm_generate: the prompt is empty; write it after the options."),
    ("llm_generate", "--tokens 3 Hello", "%llm_generate: unrecognized arguments: --tokens; see %llm_generate -h."),
    (
        "llm_generate", "--tempeature 1 Hello",
        "%llm_generate: unrecognized arguments: --tempeature, did you mean --temperature? See %llm_generate -h.",
    ),
    ("llm_generate", "--max-new-tokens 0 Hello", "0 new tokens were asked: ask for a whole number from 1."),
    ("llm_generate", "--max-new-tokens 9000 Hello", "9000 new ones make"),
    ("llm_generate", "--temperature -1 Hello", "-1"),
    ("llm_generate", f"--seed {10**26} --temperature 1 Hello", f"argument --seed: '{10**26}' is no seed, which is a"),
    ("llm_generate", "--seed x Hello", "%llm_generate: argument --seed: 'x' is no seed, which is a whole number from"),
    ("llm_generate", "--stop '' Hello", "%llm_generate: argument --stop: an empty text was given, write a value"),
    ("llm_generate", "--draft-tokens 4 Hello", "--draft-tokens 4 means nothing without --speculate; add --speculate"),
    ("llm_generate", "--max-new-tokens 300 Hello", "the plan's KV cache holds 256: run %llm_plan --context 30"),
    ("llm_generate", "--expand Hello $nobody", "--expand found $nobody, but no variable nobody; write $$ for a $."),
    ("llm_generate", "--batch Hello", "write it as %%llm_generate --batch with one prompt per line below."),
    ("llm_generate", "--chat Hello", "The model's tokenizer has no chat template: generate without chat."),
    ("llm_place", "layers.3-7.mlp", "%llm_place layers.3-7.mlp: where should it go?"),
    ("llm_place", "cpu", "%llm_place cpu: name the blocks first. Write for example %llm_place layers.0.mlp cpu."),
    ("llm_place", "int4", "%llm_place int4: no block can be int4 under this plan; write blocks and one of cpu, disk,"),
    ("llm_place", "legs", "No block is called 'legs': the model has layers"),
    ("llm_report", "/no/such/folder/page.html", "cannot be written (No such file or directory); name another file."),
]


@pytest.fixture(scope="module")
def shell(module_shell):
    """A shell with the extension; the tests leave no model in it but the one that `demo` loads."""
    return module_shell


@pytest.fixture(scope="module")
def demo(shell):
    """The same shell with the demo model loaded and a plan in force."""
    shell.run_line_magic("llm_load", "demo --inline -q")
    shell.run_line_magic("llm_plan", "--seconds 0.2 --context 256 -q")
    return shell


def check(shell, name, line, sentence):
    """The use raises exactly UsageError (no traceback is printed), in one line that holds `sentence`."""
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic(name, line)
    assert type(caught.value) is UsageError
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name, line, sentence", WITHOUT_A_MODEL)
def test_wrong_uses_without_a_model(shell, name, line, sentence):
    """Each wrong use before a model is loaded gives its sentence."""
    check(shell, name, line, sentence)


@pytest.mark.parametrize("name, line, sentence", WITH_THE_DEMO)
def test_wrong_uses_change_nothing(demo, name, line, sentence):
    """Each wrong use with a model gives its sentence and leaves model and plan as they were."""
    before = demo.user_ns["llm"], demo.user_ns["llm"].plan_result
    check(demo, name, line, sentence)
    assert (demo.user_ns["llm"], demo.user_ns["llm"].plan_result) == before


@pytest.mark.parametrize(
    "line, cell, sentence",
    [
        ("--batch", "One\nTwo\n", "but the plan's KV cache holds 1; run %llm_plan --batch 2 first."),
        ("--batch", "\n \n", "%llm_generate: the prompt is empty; write it after the options."),
        ("--batch --chat", "One", "--batch does not go with --chat; leave one of them out."),
        ("--batch --background", "One", "--batch does not go with --background; leave one of them out."),
        ("--batch --max-new-tokens 0", "One", "0 new tokens were asked: ask for a whole number from 1."),
    ],
)
def test_wrong_batches_give_their_sentence(demo, line, cell, sentence):
    """A batch that cannot run says why in one line and generates nothing."""
    with pytest.raises(UsageError) as caught:
        demo.run_cell_magic("llm_generate", line, cell)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_options_in_the_first_line_of_a_cell_only(demo):
    """A prompt on the first line of %%llm_generate is told to move below."""
    with pytest.raises(UsageError, match="move the prompt below"):
        demo.run_cell_magic("llm_generate", "-q Hello", "there")
