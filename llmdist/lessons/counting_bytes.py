"""Lesson 2: what a model weighs. Weights follow from the shape, the KV cache from the shape and the context.

The truth of every check is computed by the planner's own accounting, not typed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..cost.memory import kv_bytes
from ..hardware.profile import Device
from ..model.blocks import BYTES_PER_PARAMETER, ModelProfile
from ..model.config import ModelConfig
from ..model.profile import profile
from ..planner.problem import PlanningProblem, Workload
from .verdict import Verdict, number, shown, within

__all__ = ["SHAPES", "check_kv_bytes", "check_largest_context", "kv_cache_bytes", "weight_bytes"]

#: Three models with fewer key/value heads than query heads: layers, kv_heads, head_dim as their config.json says.
SHAPES: dict[str, dict[str, int]] = {
    "Llama 3 8B": {"layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "hidden": 4096},
    "Qwen2.5 32B": {"layers": 64, "heads": 40, "kv_heads": 8, "head_dim": 128, "hidden": 5120},
    "Qwen3 0.6B": {"layers": 28, "heads": 16, "kv_heads": 8, "head_dim": 128, "hidden": 1024},
}
_TOLERANCE = 0.02
_ARGUMENTS = ("layers", "kv_heads", "head_dim", "tokens", "bytes_per_element")


def weight_bytes(model: ModelProfile, precision: str) -> int:
    """Return the bytes of all weights at `precision`."""
    return sum(block.weight_bytes(precision) for block in model.blocks)


def kv_cache_bytes(model: ModelProfile, tokens: int, precision: str = "bf16") -> int:
    """Return the bytes of keys and values that the planner counts for `tokens` of one sequence."""
    device = Device("cpu", "cpu", 1, 1, bandwidth=1.0, flops=1.0)
    workload = Workload(1, tokens - 1, 1, kv_precision=precision)
    problem = PlanningProblem(model.blocks, (device,), (), model.hidden_size, workload)
    return round(sum(kv_bytes(problem, block) for block in model.blocks))


def _model(name: str) -> ModelProfile:
    shape = SHAPES[name]
    config = ModelConfig.from_hf(
        {"model_type": "llama", "hidden_size": shape["hidden"], "num_attention_heads": shape["heads"],
         "num_key_value_heads": shape["kv_heads"], "head_dim": shape["head_dim"], "intermediate_size": 1024,
         "num_hidden_layers": shape["layers"], "vocab_size": 1024, "max_position_embeddings": 131072}
    )  # fmt: skip
    return profile(config, name)


def check_kv_bytes(function: Any) -> Verdict:
    """Check `function(layers, kv_heads, head_dim, tokens, bytes_per_element)` on three shapes, within 2 %."""
    if not callable(function):
        return Verdict(False, f"{shown(function)} is no function: give kv_bytes itself, without arguments.")
    for name, shape in SHAPES.items():
        for tokens, precision in ((1, "bf16"), (4096, "bf16"), (4096, "fp32")):
            truth = kv_cache_bytes(_model(name), max(2, tokens), precision) * tokens / max(2, tokens)
            element = int(BYTES_PER_PARAMETER[precision])
            given = (shape["layers"], shape["kv_heads"], shape["head_dim"], tokens, element)
            try:
                answer = function(*given)
                if not within(answer, truth, _TOLERANCE):
                    where = f"for {name} with {tokens} token{'s' * (tokens > 1)} in {precision}"
                    return Verdict(False, _hint(function, given, answer, truth, where))
            except Exception as error:
                return Verdict(False, f"kv_bytes raised {type(error).__name__}: {' '.join(str(error).split())}.")
    return Verdict(True, "kv_bytes agrees with the planner on three shapes, two contexts and two precisions.")


def _hint(function: Callable[..., Any], given: tuple[int, ...], answer: Any, truth: float, where: str) -> str:
    value = number(answer)
    if value is None:
        return f"kv_bytes returned {shown(answer)} {where}, which is no number."
    if value == 0:
        return f"kv_bytes returned 0 {where}: is the formula still to be written?"
    for index, name in enumerate(_ARGUMENTS):
        doubled = function(*given[:index], 2 * given[index], *given[index + 1 :])
        if not within(doubled, 2 * value, 0.01):
            return f"twice the {name} must take twice the bytes, and do not {where}."
    times = value / truth
    if abs(times - 0.5) < 0.01:
        return f"half of what is kept {where}: keys and values are both kept."
    return f"{times:.3g} times what is kept {where}: which factor is too many, or missing?"


def check_largest_context(answer: Any, memory_bytes: int, name: str = "Llama 3 8B", precision: str = "bf16") -> Verdict:
    """Check the most tokens whose KV cache fits into `memory_bytes`, within 2 %."""
    per_token = kv_cache_bytes(_model(name), 1000, precision) / 1000
    truth = int(memory_bytes // per_token)
    value = number(answer)
    if value is None:
        return Verdict(False, f"{shown(answer)} is no number of tokens.")
    if within(value, truth, _TOLERANCE):
        return Verdict(True, f"one token of {name} keeps {per_token / 1024:.0f} KiB.")
    queries = SHAPES[name]["heads"] / SHAPES[name]["kv_heads"]
    slips = {2.0: "keys and values are both kept.", 1 / queries: "are query heads counted?",
             10**9 / 2**30: "GiB or GB?"}  # fmt: skip
    side = "more than fit" if value > truth else "fewer than fit"
    hint = next((words for times, words in slips.items() if within(value, times * truth, _TOLERANCE)), "")
    return Verdict(False, f"{answer} tokens are {side}: {hint or 'divide the memory by the bytes of one token.'}")
