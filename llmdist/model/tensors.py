"""Which tensors a block consists of: our short name, the name in the file, the shape, the rows.

It knows names and shapes, never offsets. What a file stacks by rows (q, k and v in one tensor) is taken apart here,
so the layers see the same names for every family.
"""

from __future__ import annotations

from dataclasses import dataclass

from .config import FAMILIES, ModelConfig

__all__ = ["Expected", "expected_tensors"]


@dataclass(frozen=True, slots=True)
class Expected:
    """One tensor of a block: its `name` in the file, its `shape`, and for a slice the stacked rows.

    `first_row` and `stacked_rows` say which rows of how many are meant; `stacked_rows` is None for a whole tensor.
    """

    name: str
    shape: tuple[int, ...]
    first_row: int = 0
    stacked_rows: int | None = None


def expected_tensors(config: ModelConfig, block_name: str) -> dict[str, Expected]:
    """Return what a block consists of: local name -> tensor in the file."""
    hidden, rows = config.hidden_size, (config.vocab_size, config.hidden_size)
    if block_name == "embed":
        return {"weight": Expected("model.embed_tokens.weight", rows)}
    if block_name == "head":
        table = "model.embed_tokens.weight" if config.tie_embeddings else "lm_head.weight"
        return {"norm": Expected("model.norm.weight", (hidden,)), "lm_head": Expected(table, rows)}
    _, layer, kind, *group = block_name.split(".")
    prefix = f"model.layers.{layer}."
    if kind == "attention":
        return _norms(config, prefix, "attention") | _attention(config, prefix)
    if kind == "router":
        return _norms(config, prefix, "mlp") | _router(config, prefix)
    if kind == "experts":
        return _experts(config, prefix, config.expert_groups[int(group[0])])
    return _norms(config, prefix, "mlp") | _mlp(config, prefix)


def _norms(config: ModelConfig, prefix: str, kind: str) -> dict[str, Expected]:
    """Return the norms around the attention or the MLP of a layer."""
    return {
        ours.split(".")[1]: Expected(f"{prefix}{name}.weight", (config.hidden_size,))
        for ours, name in FAMILIES[config.family].norms.items()
        if ours.startswith(f"{kind}.")
    }


def _attention(config: ModelConfig, prefix: str) -> dict[str, Expected]:
    hidden, queries = config.hidden_size, config.num_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    outputs = {"q": queries, "k": keys, "v": keys}
    result = _projections(config, prefix, outputs, "self_attn")
    result["o"] = Expected(f"{prefix}self_attn.o_proj.weight", (hidden, queries))
    biased = {**(outputs if config.attention_bias else {}), **({"o": hidden} if config.output_bias else {})}
    for part, size in biased.items():
        result[f"{part}_bias"] = Expected(f"{prefix}self_attn.{part}_proj.bias", (size,))
    if config.qk_norm:
        for part, size in (("q", queries), ("k", keys)):
            length = size if config.qk_norm == "all" else config.head_dim
            result[f"{part}_norm"] = Expected(f"{prefix}self_attn.{part}_norm.weight", (length,))
    return result


def _mlp(config: ModelConfig, prefix: str) -> dict[str, Expected]:
    inner, hidden = config.intermediate_size, config.hidden_size
    result = _projections(config, prefix, {"gate": inner, "up": inner}, "mlp")
    return {**result, "down": Expected(f"{prefix}mlp.down_proj.weight", (hidden, inner))}


def _router(config: ModelConfig, prefix: str) -> dict[str, Expected]:
    names = FAMILIES[config.family].experts
    assert names is not None, f"{config.family} has no experts"
    return {"gate": Expected(f"{prefix}{names.router}.weight", (config.num_experts, config.hidden_size))}


def _experts(config: ModelConfig, prefix: str, group: range) -> dict[str, Expected]:
    """Return the three matrices of every expert of a group, as ``gate.5``, ``up.5``, ``down.5``."""
    names, inner, hidden = FAMILIES[config.family].experts, config.expert_size, config.hidden_size
    assert names is not None, f"{config.family} has no experts"
    matrices = {
        "gate": (names.gate, (inner, hidden)),
        "up": (names.up, (inner, hidden)),
        "down": (names.down, (hidden, inner)),
    }
    return {
        f"{ours}.{i}": Expected(f"{prefix}{names.experts}.{i}.{name}.weight", shape)
        for i in group
        for ours, (name, shape) in matrices.items()
    }


def _projections(config: ModelConfig, prefix: str, outputs: dict[str, int], module: str) -> dict[str, Expected]:
    """Return matrices that read the residual stream, as slices where the family's file stacks them."""
    stacked = FAMILIES[config.family].fused.get(tuple(outputs))
    result, first, total = {}, 0, sum(outputs.values())
    for part, size in outputs.items():
        shape = (size, config.hidden_size)
        if stacked is None:
            result[part] = Expected(f"{prefix}{module}.{part}_proj.weight", shape)
        else:
            result[part] = Expected(f"{prefix}{stacked}.weight", shape, first, total)
        first += size
    return result
