"""The committed suite of planning problems: known model shapes on known machines, all simulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..hardware.catalog import machine
from ..model.shapes import shape
from ..planner.problem import PlanningProblem, Workload

__all__ = ["SUITE", "suite_problem"]

WORKSPACE_BYTES = 256 * 2**20
PLAIN = ("resident", "streamed")
FULL = ("resident", "streamed", "demand", "split")
MIXED, QUANTISED = ("bf16", "int8", "int4"), ("int8", "int4")


def suite_problem(model: str, hardware: str, load: Workload | None = None, **fields: Any) -> PlanningProblem:
    """Return the problem of a known shape on a known machine; `fields` are those of `PlanningProblem`."""
    profile, computer = shape(model), machine(hardware)
    return PlanningProblem(
        profile.blocks, computer.devices, computer.links, profile.hidden_size, load or Workload(1, 512, 128),
        workspace_bytes=WORKSPACE_BYTES, **{"modes": FULL, **fields},
    )  # fmt: skip


def _of(model: str, hardware: str, load: Workload | None = None, **fields: Any) -> Callable[[], PlanningProblem]:
    return lambda: suite_problem(model, hardware, load, **fields)


LONG, SPECULATIVE = Workload(1, 3500, 500), Workload(1, 512, 128, tokens_per_pass=6, accepted_share=0.6)
BATCH, PIPELINE = Workload(16, 512, 128), Workload(1, 512, 128, in_flight=4)

SUITE: dict[str, Callable[[], PlanningProblem]] = {
    "7b-3060-bf16": _of("llama-2-7b", "rtx3060"),
    "7b-t4-bf16-plain": _of("llama-2-7b", "t4", modes=PLAIN),
    "7b-laptop-bf16-plain": _of("llama-2-7b", "laptop8g", modes=PLAIN),
    "8b-laptop-mixed": _of("llama-3-8b", "laptop8g", precisions=MIXED, quality_budget=0.4),
    "8b-laptop-bf16": _of("llama-3-8b", "laptop8g"),
    "8b-cpu-mixed": _of("llama-3-8b", "cpu", precisions=MIXED, quality_budget=0.3),
    "8b-3060-long-finish": _of("qwen3-8b", "rtx3060", LONG, objective="finish"),
    "8b-t4-finish-plain": _of("qwen3-8b", "t4", objective="finish", modes=PLAIN),
    "13b-4090-bf16-plain": _of("llama-2-13b", "rtx4090", modes=PLAIN),
    "13b-4090-bf16": _of("llama-2-13b", "rtx4090"),
    "13b-4090-speculative": _of("llama-2-13b", "rtx4090", SPECULATIVE),
    "13b-3060-mixed": _of("llama-2-13b", "rtx3060", precisions=MIXED, quality_budget=0.3),
    "13b-t4-int8-plain": _of("llama-2-13b", "t4", precisions=("int8",), modes=PLAIN),
    "32b-4090-quantised": _of("qwen2.5-32b", "rtx4090", precisions=QUANTISED, quality_budget=0.6),
    "32b-dual-mixed": _of("qwen2.5-32b", "dual", precisions=MIXED, quality_budget=0.2),
    "32b-3060-int4": _of("qwen2.5-32b", "rtx3060", precisions=("int4",)),
    "70b-4090-mixed": _of("llama-3-70b", "rtx4090", precisions=MIXED, quality_budget=0.85),
    "70b-3060-int4": _of("llama-3-70b", "rtx3060", precisions=("int4",)),
    "70b-dual-quantised": _of("llama-3-70b", "dual", precisions=QUANTISED, quality_budget=0.7),
    "70b-4090-batch-finish": _of(
        "llama-3-70b", "rtx4090", BATCH, precisions=("int4",), objective="finish", modes=PLAIN
    ),
    "70b-h200-mixed": _of("llama-3-70b", "h200", precisions=("bf16", "int8"), quality_budget=0.05),
    "70b-four-1g": _of("llama-3-70b", "four-1g", precisions=QUANTISED, quality_budget=0.8),
    "70b-four-10g-throughput": _of(
        "llama-3-70b", "four-10g", PIPELINE, precisions=QUANTISED, quality_budget=0.8, objective="throughput"
    ),
    "32b-four-10g": _of("qwen2.5-32b", "four-10g", precisions=("bf16", "int8"), quality_budget=0.08),
    "mixtral-4090-quantised": _of("mixtral-8x7b", "rtx4090", precisions=QUANTISED, quality_budget=0.7),
    "mixtral-3060-int4": _of("mixtral-8x7b", "rtx3060", precisions=("int4",)),
    "qwen3-moe-laptop-mixed": _of("qwen3-30b-a3b", "laptop8g", precisions=QUANTISED, quality_budget=0.9),
    "qwen3-moe-3060-batch": _of(
        "qwen3-30b-a3b", "rtx3060", Workload(4, 512, 128), precisions=QUANTISED, quality_budget=0.5
    ),
}
