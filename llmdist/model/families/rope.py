"""The rotary embedding of a ``config.json``: new ``rope_parameters`` or the two older keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ModelError
from ..kinds import RopeKind

__all__ = ["ROPE_TYPES", "longest_context", "read_rope", "rope_kind"]

ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")
_NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
    "longrope": ("factor", "original_max_position_embeddings"),
}
_OPTIONAL = ("attention_factor", "mscale", "mscale_all_dim", "truncate", "short_factor")


def read_rope(values: Mapping[str, Any], head_dim: int, default_theta: float) -> RopeKind:
    """Return the rotary embedding that the whole model shares."""
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    return rope_kind(given, values, head_dim, float(values.get("rope_theta") or default_theta))


def rope_kind(given: Any, values: Mapping[str, Any], head_dim: int, theta: float) -> RopeKind:
    """Return the rotary embedding that the mapping `given` describes; `theta` is used where it gives none."""
    if not isinstance(given, Mapping):
        raise ModelError(f"config.json gives rope parameters {given!r} where a mapping is needed: check the file.")
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in ROPE_TYPES:
        raise ModelError(
            f"config.json asks for RoPE of type {kind!r}, and llmdist computes {', '.join(ROPE_TYPES)}: "
            "choose another model, or remove the scaling from a copy of config.json and stay within the "
            "original context."
        )
    share = given.get("partial_rotary_factor") or values.get("partial_rotary_factor") or 1.0
    dims = int(head_dim * float(share))
    if not 2 <= dims <= head_dim or dims % 2:
        raise ModelError(
            f"config.json rotates {share} of each head of {head_dim}, which is no even number of elements: "
            "check the file, or download it again."
        )
    return RopeKind(float(given.get("rope_theta") or theta), dims, kind, _numbers(kind, given, values, dims))


def _numbers(kind: str, given: Mapping[str, Any], values: Mapping[str, Any], dims: int) -> dict[str, Any]:
    """Return the parameters of a stretched RoPE, after checking that they are there."""
    if kind == "default":
        return {}
    longest = values.get("max_position_embeddings")
    original = values.get("original_max_position_embeddings") or given.get("original_max_position_embeddings")
    given = {"beta_fast": 32.0, "beta_slow": 1.0, **given, "original_max_position_embeddings": original or longest}
    if given.get("factor") is None and kind in ("yarn", "longrope") and original and longest:
        given["factor"] = longest / original
    missing = [key for key in _NEEDED[kind] if not isinstance(given.get(key), (int, float))]
    if kind == "longrope":
        factors = given.get("short_factor")
        if not isinstance(factors, Sequence) or len(factors) != dims // 2:
            missing.append(f"short_factor ({dims // 2} of them)")
    if missing:
        raise ModelError(
            f"config.json asks for RoPE of type {kind!r} but gives no number for {', '.join(missing)}: "
            "check the file, or download it again."
        )
    optional = {key: given[key] for key in _OPTIONAL if given.get(key) is not None}
    return {"truncate": True} | {key: float(given[key]) for key in _NEEDED[kind]} | optional


def longest_context(trained: int, ropes: tuple[RopeKind, ...]) -> int:
    """Return the longest context that is computed exactly.

    YaRN reaches factor x the original context, whether config.json says so or not. LongRoPE changes all its keys
    when a text crosses the original context, so it ends there.
    """
    for rope in ropes:
        original = int(rope.numbers.get("original_max_position_embeddings", trained))
        if rope.type == "longrope":
            trained = min(trained, original)
        elif rope.type == "yarn":
            trained = max(trained, int(original * rope.numbers["factor"]))
    return trained
