"""`%llm_place` in a real IPython shell, as text, on the demo model."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.utils.capture import capture_output

from llmdist.planner import ColonyParameters
from llmdist_widgets import editor


@pytest.fixture(scope="module")
def shell(module_shell):
    """A shell with the demo model planned so that it does not fit."""
    with capture_output():
        module_shell.run_line_magic("llm_load", "demo --inline")
        module_shell.run_line_magic("llm_plan", "--ram 7MiB --context 256 --seconds 0.3")
    return module_shell


@pytest.fixture(autouse=True)
def fresh(shell):
    """Every test begins at the plan in force, nothing locked."""
    said(shell, "close")


def said(shell, line: str) -> str:
    """Return what ``%llm_place line`` prints."""
    with capture_output() as shown:
        shell.run_line_magic("llm_place", line)
    return shown.stdout


def homes(shell, blocks: str = "layers.3.mlp") -> str:
    """Return the draft's choice for a block."""
    editor = shell.run_line_magic("llm_place", "-o -q")
    return editor.placement[blocks].label


def test_text_form_moves_locks_undoes_and_applies(shell):
    """A range is moved, taken back and done again, a lock holds, apply puts the draft in force."""
    said(shell, "layers.2-4.mlp cpu")
    assert homes(shell) == "cpu bf16"
    answer = said(shell, "layers.2-4.mlp disk")
    assert "3 blocks (layers.2.mlp .. layers.4.mlp) to disk" in answer and "tokens/s" in answer
    assert homes(shell) == "disk>cpu bf16"
    said(shell, "undo")
    assert homes(shell) == "cpu bf16"
    said(shell, "redo")
    assert homes(shell) == "disk>cpu bf16"
    said(shell, "lock layers.3")
    assert "2 locked" in said(shell, "layers.3 cpu")
    assert homes(shell) == "disk>cpu bf16"
    said(shell, "all disk")
    assert "Applied" in said(shell, "apply")
    assert shell.user_ns["llm"].plan_result.placement["layers.0.mlp"].label == "disk>cpu bf16"


def test_replan_keeps_what_is_locked(shell):
    """The ants move everything but the locked blocks."""
    said(shell, "layers.0-1.mlp disk")
    said(shell, "lock layers.0-1.mlp")
    answer = said(shell, "replan --seconds 0.3")
    assert "2 locked blocks" in answer and "OVER" not in answer
    assert homes(shell, "layers.0.mlp") == homes(shell, "layers.1.mlp") == "disk>cpu bf16"


def test_a_plan_is_saved_loaded_and_compared(shell, tmp_path):
    """A saved draft comes back from its file, and the comparison names what differs."""
    said(shell, "all disk")
    said(shell, "layers.5.mlp cpu")
    assert "Saved" in said(shell, f"save {tmp_path / 'mine.json'}")
    said(shell, "layers.5.mlp disk")
    assert "1 block differs: layers.5.mlp" in said(shell, f"compare {tmp_path / 'mine.json'}")
    said(shell, f"load {tmp_path / 'mine.json'}")
    assert homes(shell, "layers.5.mlp") == "cpu bf16"
    said(shell, "revert")
    assert "0 blocks differ" in said(shell, "compare")


def test_over_the_cap_is_said_and_not_applied(shell):
    """A draft above its cap says OVER with bytes, and apply refuses it with the plan before in force."""
    before = shell.user_ns["llm"].plan_result.placement
    answer = said(shell, "all cpu")
    assert "OVER by" in answer
    with pytest.raises(UsageError, match="cap"):
        shell.run_line_magic("llm_place", "apply")
    assert shell.user_ns["llm"].plan_result.placement == before


def test_why_names_the_block_and_what_a_move_would_change(shell):
    """The answer tells where the block is, and whether its other option fits."""
    said(shell, "all disk")
    answer = said(shell, "why layers.3.mlp")
    assert answer.startswith("layers.3.mlp is streamed from disk to cpu")
    assert "\ncpu bf16: " in answer and "fits" in answer


def test_a_new_plan_under_other_limits_is_not_overwritten(shell):
    """After a plan with another cap the old draft is refused until it is reverted."""
    said(shell, "layers.3.mlp disk")
    with capture_output():
        shell.run_line_magic("llm_plan", "--ram 8MiB --context 256 --seconds 0.2")
    with pytest.raises(UsageError, match="revert"):
        shell.run_line_magic("llm_place", "apply")
    said(shell, "revert")
    said(shell, "apply")


@pytest.mark.parametrize(
    "line, words",
    [
        ("layers.3-7.mpl cpu", "layers.3-7.mpl"),
        ("layers.9 cpu", "layers 0-7"),
        ("layers.3 moon", "devices of this plan"),
        ("layers.3 cpu>disk", "can be"),
        ("layers.3", "where should it go"),
        ("layers.3 fp32", "can be"),
        ("lock", "name blocks"),
        ("save", "name a file"),
        ("undo now", "takes nothing"),
        ("load /no/such/plan.json", "cannot be read"),
        ("save /no/such/folder/plan.json", "cannot be written"),
        ("layers.3 cpu disk", "second time"),
        ("replan --seconds 0", "more than 0"),
    ],
)
def test_mistakes_are_one_sentence(shell, line, words):
    """A mistake names what was wrong and what there is, on one line."""
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic("llm_place", line)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_blocks_devices_and_verbs_complete(shell):
    """Tab completes verbs and blocks first, then devices."""
    assert "layers.3.mlp" in shell.complete("layers.3", "%llm_place layers.3")[1]
    assert "lock" in shell.complete("lo", "%llm_place lo")[1]
    assert "disk>cpu" in shell.complete("di", "%llm_place layers.3 di")[1]
    assert "layers.0-7.mlp" in shell.complete("layers.0-", "%llm_place lock layers.0-")[1]


def test_replan_searches_as_config_says(shell, monkeypatch):
    """%config LLMDist sets the colony of a re-plan, as it sets that of %llm_plan."""
    seen = []
    real = editor.solve
    monkeypatch.setattr(editor, "solve", lambda *given, **more: seen.append(more["params"]) or real(*given, **more))
    shell.run_line_magic("config", "LLMDist.ants = 3")
    try:
        said(shell, "replan --seconds 0.1")
    finally:
        shell.run_line_magic("config", f"LLMDist.ants = {ColonyParameters().ants}")
    said(shell, "replan --seconds 0.1")
    assert [params.ants for params in seen] == [3, ColonyParameters().ants]
