"""Blocks that a GPU and its CPU share: each view says who computes how much of them."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llmdist.cost.timeline import predicted_timeline
from llmdist.cost.timing import decode_step, host_seconds
from llmdist.events import IterationFinished, PlanStarted
from llmdist.planner import plan_for
from llmdist.planner.placement import Assignment
from llmdist.planner.result import PlanResult
from llmdist.planner.tables import cost_tables
from llmdist_widgets.editor_tables import packed_tables
from llmdist_widgets.planning import option_rows, pheromone_svg, placement_svg
from llmdist_widgets.theme import DEMAND, SHARED

sys.path.insert(0, str(Path(__file__).parent))

BLOCK = "layers.0.mlp"


@pytest.fixture(scope="module")
def plan() -> PlanResult:
    """Return a plan of a 13B on a card of 24 GiB with one MLP split 5 : 3 by hand."""
    found = plan_for("llama-2-13b", "rtx4090", precision="bf16", context=512, seconds=0.3)
    return replace(found, placement=found.placement.moved({BLOCK: Assignment("cuda:0", "cuda:0", "bf16", 3)}))


def test_why_says_who_computes_how_much(plan):
    """Not that a block is split from a device to the same device."""
    words = plan.why(BLOCK)
    assert f"{BLOCK} is split (cuda:0 computes 5/8, cpu 3/8)" in words and "from cuda:0 to cuda:0" not in words


def test_the_timeline_has_the_cpus_part_on_the_cpus_lane(plan):
    """It lasts as long as the cost model keeps the CPU busy, and begins with the GPU's part."""
    spans = [s for s in predicted_timeline(plan.problem, plan.placement).spans if s.block == BLOCK]
    own, other = (next(s for s in spans if s.kind == "compute" and s.lane == lane) for lane in ("cuda:0", "cpu"))
    block = next(b for b in plan.problem.blocks if b.name == BLOCK)
    lasts = host_seconds(plan.problem, block, plan.placement[BLOCK], decode_step(plan.problem))
    assert other.start_seconds == own.start_seconds
    assert other.end_seconds - other.start_seconds == pytest.approx(lasts)


def test_all_shares_are_one_row_of_the_trail():
    """The row shows the strongest of them; the outline stands in it too."""
    labels = ("cuda:0 bf16", "cuda:0 bf16 split:1", "cuda:0 bf16 split:2", "cpu>cuda:0 bf16 split:7")
    started = PlanStarted(("layers.0.mlp",), (labels,), ("cuda:0", "cpu"), "latency")
    assert option_rows(started) == ["cuda:0 bf16", "cuda:0 bf16 split", "cpu>cuda:0 bf16 split"]
    now = IterationFinished(1, 0.1, 1.0, 1.0, 0.5, 0.5, ((0.0, 0.2, 1.0, 0.0),), (2,))
    svg = pheromone_svg(started, now)
    assert svg.count(">cuda:0 bf16 split<") == 1 and "M0 1h1v1h-1z" in svg
    assert '<path stroke="#fee838" d="M0 1h1"/>' in svg


def test_a_long_label_is_made_narrower_not_cut(plan):
    """Four words of an option need more than the margin; the picture squeezes them into it."""
    started = PlanStarted(("layers.0.mlp",), (("machine0/cpu>machine0/cuda:0 bf16 split:1",),), ("cpu",), "latency")
    svg = pheromone_svg(started, IterationFinished(1, 0.1, 1.0, 1.0, 0.5, 0.5, ((1.0,),), (0,)))
    assert re.search(r'textLength="\d+"[^>]*>machine0/cpu&gt;machine0/cuda:0 bf16 split<', svg)


def test_the_legend_counts_split_blocks_and_the_editor_knows_the_host(plan):
    """Purple is split and nothing else; blue of the sky is for experts on demand."""
    svg = placement_svg(plan)
    split = plan.placement.count("split")
    assert f"split ({split}): shared by GPU and CPU" in svg and SHARED in svg and "on demand" not in svg
    assert SHARED != DEMAND
    tables = packed_tables(cost_tables(plan.problem), plan.bound_seconds)
    assert tables["hosts"] == [1, 1, None]
    row = tables["rows"][tables["row_of"][plan.placement.blocks.index(BLOCK)]]
    assert row["eighths"][row["variant"].index("split:3")] == 3


def test_a_share_stands_in_the_row_of_the_cpu_that_computes_it():
    """With several machines each block has its own host; the share is not drawn at another one's."""
    found = plan_for("llama-3-70b", "four-1g", seconds=0.3)
    block = next(b.name for b in found.problem.blocks if b.kind == "mlp")
    rest = {name: Assignment("m0/cuda:0", "m0/cuda:0", "bf16") for name in found.placement.blocks}
    for machine in ("m0", "m3"):
        moved = rest | {block: Assignment(f"{machine}/cuda:0", f"{machine}/cuda:0", "bf16", 4)}
        svg = placement_svg(replace(found, placement=found.placement.moved(moved)))
        shares = re.search(rf'<path fill="{SHARED}" d="([^"]+)"', svg)
        assert shares is not None
        heights = {float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h", shares[1])}
        (row,) = (float(y) for y in re.findall(rf'y="(\d+)" class="ink b" text-anchor="end">{machine}/cpu<', svg)[:1])
        assert any(row - 21 < y < row + 13 for y in heights) and len(heights) == 2
