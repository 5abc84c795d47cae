"""The editor's draft, words, messages and JavaScript rules, without a browser."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmdist.errors import PlanError
from llmdist.hardware import Link
from llmdist.units import format_speed
from llmdist_widgets.editor import PlacementEditor
from llmdist_widgets.editor_commands import obey
from llmdist_widgets.editor_static import static_html
from llmdist_widgets.editor_words import Target, block_indices, block_words, parse_target
from llmdist_widgets.planning import gap_words

sys.path.insert(0, str(Path(__file__).parent))
from editor_node import NODE, run_script
from synthetic import make_plan

NAMES = ("embed", "layers.0.attention", "layers.0.mlp", "layers.1.attention", "layers.1.mlp", "layers.2.attention",
         "layers.2.mlp", "head")  # fmt: skip
needs_node = pytest.mark.skipif(NODE is None, reason="needs node for the editor's JavaScript; none on this machine")


@pytest.fixture
def editor() -> PlacementEditor:
    """An editor over a made-up plan on a GPU, a CPU and a disk, in two precisions."""
    plan, _ = make_plan(3)
    problem = replace(plan.problem, links=(*plan.problem.links, Link("cuda:0", "cpu", 2e10, 1e-5)))
    session: Any = SimpleNamespace(plan_result=replace(plan, problem=problem, trail=()), generating=False)
    return PlacementEditor(session)


@pytest.mark.parametrize(
    "text, indices",
    [
        ("embed", [0]),
        ("head, embed", [0, 7]),
        ("layers.1", [3, 4]),
        ("layers.0-1.mlp", [2, 4]),
        ("layers.*.attention", [1, 3, 5]),
        ("mlp", [2, 4, 6]),
        ("layers.1.mlp..head", [4, 5, 6, 7]),
        ("layers.1..layers.2.attention", [3, 4, 5]),
        ("layers.2,layers.2.mlp", [5, 6]),
        ("all", list(range(8))),
    ],
)
def test_block_ranges_are_read(text, indices):
    """Names, layers, kinds, ranges and lists give the blocks in the model's order."""
    assert list(block_indices(NAMES, text)) == indices


@pytest.mark.parametrize("text", ["layers.3", "layers.2-1", "expert", "layers.0.mpl", ",", "head..embed", "layers.x"])
def test_wrong_ranges_say_what_there_is(text):
    """A range that names no block is refused with the model's blocks and an example."""
    with pytest.raises(PlanError, match=r"layers 0-2 with attention and mlp"):
        block_indices(NAMES, text)


def test_every_completion_word_names_a_block():
    """What Tab offers is what the parser takes."""
    assert all(block_indices(NAMES, word) for word in block_words(NAMES))


def test_targets_are_read(editor):
    """A device that computes takes the whole block, a disk only the weights, an arrow says both."""
    devices = editor.problem.devices
    assert parse_target(devices, ["gpu", "int8"]) == Target("cuda:0", "cuda:0", "int8")
    assert parse_target(devices, ["disk"]) == Target(None, "disk")
    assert parse_target(devices, ["disk>cpu"]) == Target("cpu", "disk")
    for words in (["moon"], ["cpu", "gpu"], ["int8", "bf16"], []):
        with pytest.raises(PlanError):
            parse_target(devices, words)


def test_undo_and_redo_walk_the_same_states(editor):
    """After any steps, undoing all gives the first state and redoing all the last."""
    first = editor.draft.now
    editor.move("mlp", "disk")
    editor.lock("layers.1")
    editor.move("all", "cpu int8")
    last = editor.draft.now
    assert last.choice != first.choice and editor.placement["layers.1.mlp"].home_device == "disk"
    for _ in range(3):
        editor.undo()
    assert editor.draft.now == first and "nothing" in editor.undo()
    for _ in range(3):
        editor.redo()
    assert editor.draft.now == last and "nothing" in editor.redo()


def test_messages_are_obeyed_in_order_and_bad_ones_leave_the_draft(editor):
    """A click changes the draft as the API does; a message with a wrong option or kind changes nothing."""
    editor.move("all", "cpu")
    wanted = editor.draft.now.choice
    editor.undo()
    changes = [[b, k] for b, k in enumerate(wanted)]
    obey(editor, {"do": "set", "changes": changes})
    assert editor.draft.now.choice == wanted
    obey(editor, {"do": "lock", "blocks": [1], "on": True})
    obey(editor, {"do": "set", "changes": [[1, 0], [2, 0]]})
    assert editor.draft.now.choice[1] == wanted[1] and editor.draft.now.choice[2] == 0
    before = editor.draft.now
    for bad in ({"do": "set", "changes": [[0, 99]]}, {"do": "set"}, {"do": "fly"}, {"do": "save", "path": " "}):
        with pytest.raises((PlanError, KeyError)):
            obey(editor, bad)
    assert editor.draft.now == before


def test_static_copy_is_small_and_carries_figures(editor):
    """What a saved notebook keeps has the picture and the figures, below 60 KB, also at 80 layers."""
    big, _ = make_plan(80)
    problem = replace(big.problem, links=(*big.problem.links, Link("cuda:0", "cpu", 2e10, 1e-5)))
    session: Any = SimpleNamespace(plan_result=replace(big, problem=problem, trail=()), generating=False)
    for shown in (editor, PlacementEditor(session)):
        html = static_html(shown, folded=True)
        assert "data:image/svg+xml;base64," in html and "tokens/s" in html and "<script" not in html
        assert len(html) < 60_000


@needs_node
def test_the_joined_module_is_valid_javascript(tmp_path):
    """The widget's one module holds all parts, without imports, and node reads it."""
    from llmdist_widgets.editor_view import bundle

    (tmp_path / "editor.mjs").write_text(bundle())
    assert "\nimport " not in bundle() and bundle().count("export ") == 1 and len(bundle()) < 60_000
    subprocess.run([NODE, "--check", "editor.mjs"], cwd=tmp_path, check=True)


@needs_node
def test_keys_paint_and_locks_in_javascript(tmp_path, editor):
    """Arrows and Shift select, G C D P H move, L locks, U undoes; a painted range skips locked blocks."""
    end = run_script(tmp_path, _KEYS, editor.packed | {"choice": list(editor.draft.now.choice)})
    assert end == {"steps": 4, "labels": ["disk>cpu int8", "disk>cpu int8"]}  # all of the script's own checks passed


_KEYS = """
const t = cost.openTables(data), s = editing.createState(t, data.choice, []);
const press = (key, more = {}) => editing.meaningOf(s, { key, ...more });
const labels = () => s.choice.map((k, b) => t.options[b].label[k]);
const gpu = 0, cpu = 1, disk = 2, first = s.choice.slice();
// arrows move the focus and stop at the edges; Shift keeps the anchor
s.focus = { device: gpu, block: 2 };
editing.moveFocus(s, press("ArrowRight", { shiftKey: true }).move, true);
editing.moveFocus(s, press("ArrowRight", { shiftKey: true }).move, true);
assert.deepEqual(editing.selected(s), [2, 3, 4]);
editing.moveFocus(s, press("ArrowUp").move, false);
assert.deepEqual([s.focus, s.anchor], [{ device: 0, block: 4 }, null]);
editing.moveFocus(s, press("End").move, false);
assert.equal(s.focus.block, t.blocks.length - 1);
editing.moveFocus(s, press("Home").move, false);
assert.equal(s.focus.block, 0);
// letters: devices by kind, a missing kind is said, other keys are left to the notebook
assert.deepEqual(press("g"), { action: "place", device: gpu });
assert.deepEqual(press("C"), { action: "place", device: cpu });
assert.deepEqual(press("d"), { action: "place", device: disk });
assert.equal(press("x"), null);
assert.equal(press("ArrowLeft", { altKey: true }), null);
assert.equal(press("c", { ctrlKey: true }), null);
assert.equal(press("z", { ctrlKey: true, shiftKey: true }).name, "redo");
assert.equal(press("U", { shiftKey: true }).name, "redo");
assert.equal(press("?", { shiftKey: true }).action, "help");
// painting a range backwards, over a locked block
editing.toggleLock(s, [3]);
const found = editing.paint(s, cpu, 5, 1);
assert.deepEqual([[...found.changes.keys()], found.locked, found.impossible], [[1, 2, 4, 5], 1, 0]);
assert.deepEqual(s.choice, first);  // nothing is committed while dragging
const message = editing.commit(s, found.changes);
assert.equal(message.do, "set");
assert.ok([1, 2, 4, 5].every((b) => labels()[b].startsWith("cpu ")) && s.choice[3] === first[3]);
assert.equal(editing.commit(s, found.changes), null);  // nothing left to change
// only the weights: the block computes where it did
s.brush = "home";
editing.commit(s, editing.paint(s, disk, 1, 2).changes);
assert.equal(labels()[1], "disk>cpu bf16");
assert.equal(editing.commit(s, editing.paint(s, gpu, 1, 2).changes), null);  // a CPU cannot stream from a GPU
s.brush = "block";
// precision of the selection
s.focus = { device: cpu, block: 1 }; s.anchor = 2;
editing.commit(s, editing.cycle(s, "precision").changes);
assert.deepEqual(labels().slice(1, 3), ["disk>cpu int8", "disk>cpu int8"]);
assert.equal(editing.cycle(s, "variant").only, "streamed");
// undo all, redo all
const last = s.choice.slice();
let steps = 0;
while (editing.travel(s, "undo")) steps += 1;
assert.deepEqual([s.choice, [...s.locked], steps], [first, [], 4]);
while (editing.travel(s, "redo"));
assert.deepEqual([s.choice, [...s.locked]], [last, [3]]);
// a new step ends what could be redone; a lock of locked blocks unlocks
editing.travel(s, "undo");
assert.equal(editing.toggleLock(s, [3]).on, false);
assert.equal(editing.travel(s, "redo"), null);
answer({ steps, labels: last.map((k, b) => t.options[b].label[k]).slice(1, 3) });
"""


def test_words_and_browser_call_a_draft_over_its_cap_the_same(editor, tmp_path):
    """Faster than the bound only because it does not fit: beyond, faster than all that fit; never near the best."""
    cases = [(0.9, False), (0.9, True), (1.0, True), (1.0, False), (1.0123, True), (float("inf"), True)]
    words = [gap_words(seconds, 1.0, fits) for seconds, fits in cases]
    assert words == [
        "beyond the bound, faster than all that fit", "beyond the bound, faster than the locks of the plan allow",
        "proven optimal", "as fast as the bound", "at most 1.2% from the best possible",
        "impossible, no path for activations",
    ]  # fmt: skip
    tight = replace(editor.problem, caps={"cuda:0": 1024})
    session: Any = SimpleNamespace(plan_result=replace(editor.plan, problem=tight, bound_seconds=1.0), generating=False)
    speed, memory = PlacementEditor(session).figures()
    assert speed.endswith("; beyond the bound, faster than all that fit") and "OVER by" in memory
    if NODE is not None:
        data = [{"objective": s, "fits": fits, "gap": max(0, s - 1)} for s, fits in cases[:-1]]
        script = "const words = await import('./editor_words.js'); answer(data.map((p) => words.gapFigure(p, 1)));"
        assert run_script(tmp_path, script, data) == [
            ["beyond", "faster than all that fit"], ["beyond", "faster than the locks of the plan allow"],
            ["none", "proven optimal"], ["none", "as fast as the bound"], ["1.2 %", "at most, from the best possible"],
        ]  # fmt: skip


@needs_node
def test_the_browser_writes_speeds_as_the_terminal_does(tmp_path):
    """Three digits, all of a number from 1000 on."""
    speeds = [0.0, 0.0444, 0.9996, 30.0, 33.33, 99.97, 586.9, 999.6, 1208.3, 123456.7]
    script = "const words = await import('./editor_words.js'); answer(data.map(words.rateText));"
    assert run_script(tmp_path, script, speeds) == [format_speed(speed) for speed in speeds]
