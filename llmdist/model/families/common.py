"""From a parsed ``config.json`` to the fields of `ModelConfig`: what all families share.

What cannot be computed exactly (another family, another activation) is refused here,
before any weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ModelError
from ..kinds import LayerKind
from .base import Family, Fields
from .registry import FAMILIES
from .rope import longest_context, read_rope

__all__ = ["dtype_name", "is_foreign", "read_fields", "token_ids"]

_DTYPE_NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
#: Models that take pictures too -> the family of their text model.
_WITH_PICTURES = {"gemma3": "gemma3_text", "mistral3": "mistral"}
_OUTER_KEYS = ("eos_token_id", "bos_token_id", "dtype", "torch_dtype", "tie_word_embeddings")
_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}


def read_fields(data: Mapping[str, Any]) -> Fields:
    """Return the fields of `ModelConfig` by name; ModelError for what cannot be computed or a missing number."""
    data = _text_part(data)
    family = _family(data)
    values = {**family.defaults, **{key: value for key, value in data.items() if value is not None}}
    heads, hidden = _positive(values, "num_attention_heads"), _positive(values, "hidden_size")
    if values.get("head_dim") is None and hidden % heads:
        raise ModelError(
            f"config.json gives hidden_size {hidden}, which {heads} attention heads do not divide, "
            "and no head_dim: check the file, or download it again."
        )
    head_dim = _positive(values, "head_dim", hidden // heads)
    layers = _positive(values, "num_hidden_layers")
    biased = bool(values.get("attention_bias", False))
    fields: Fields = {
        "family": family.name,
        "hidden_size": hidden,
        "intermediate_size": _positive(values, "intermediate_size"),
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": _positive(values, "num_key_value_heads", heads),
        "head_dim": head_dim,
        "vocab_size": _positive(values, "vocab_size"),
        "max_context": _positive(values, "max_position_embeddings"),
        "rms_norm_eps": float(values.get("rms_norm_eps", 1e-6)),
        "layers": (LayerKind(),) * layers,
        "tie_embeddings": bool(values.get("tie_word_embeddings", False)),
        "attention_bias": biased,
        "output_bias": biased,
        "qk_norm": None,
        "eos_token_ids": token_ids(values.get("eos_token_id")),
        "bos_token_id": values.get("bos_token_id"),
        "torch_dtype": dtype_name(values),
        "attention_scale": head_dim**-0.5,
        "activation": _activation(values),
    }
    _check(fields, values)
    fields |= family.differences(values, fields)
    if "ropes" not in fields:
        fields["ropes"] = (read_rope(values, head_dim, family.default_theta),)
    fields["max_context"] = longest_context(fields["max_context"], fields["ropes"])
    return fields


def is_foreign(data: Mapping[str, Any]) -> bool:
    """Whether ``config.json`` is of a type that only transformers may know."""
    name = _text_part(data).get("model_type")
    return isinstance(name, str) and name not in FAMILIES


def _text_part(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of the text model inside a model that also takes pictures, where we know that pair."""
    inner = data.get("text_config")
    if data.get("model_type") not in _WITH_PICTURES or not isinstance(inner, Mapping):
        return data
    outer = {key: data[key] for key in _OUTER_KEYS if data.get(key) is not None}
    return {"model_type": _WITH_PICTURES[str(data["model_type"])], **inner, **outer}


def _family(data: Mapping[str, Any]) -> Family:
    """Return the family, after refusing what would not be computed exactly."""
    name = data.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        raise ModelError(
            f"The model is of type {name!r} (model_type in config.json), which llmdist does not run: "
            f"choose a model of type {', '.join(FAMILIES)}."
        )
    return FAMILIES[name]


def _activation(values: Mapping[str, Any]) -> str:
    name = values.get("hidden_activation") or values.get("hidden_act") or "silu"
    if name not in _ACTIVATIONS or values.get("mlp_bias"):
        found = "biases in the MLP" if name in _ACTIVATIONS else f"hidden_act {name!r}"
        raise ModelError(
            f"config.json asks for {found}, and llmdist computes gated MLPs without biases, with "
            f"{', '.join(_ACTIVATIONS)}: choose another model."
        )
    return _ACTIVATIONS[name]


def _positive(values: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """Return a whole number above zero."""
    value = values.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ModelError(
            f"config.json gives {key} = {value!r} where a whole number above 0 is needed: "
            "check the file, or download it again."
        )
    return value


def _check(fields: Fields, values: Mapping[str, Any]) -> None:
    heads, kv_heads, head_dim = fields["num_heads"], fields["num_kv_heads"], fields["head_dim"]
    if heads % kv_heads or head_dim % 2:
        raise ModelError(
            f"config.json gives {heads} attention heads, {kv_heads} key/value heads and head_dim {head_dim}; "
            "the first must be a multiple of the second and head_dim even: check the file, or download it again."
        )
    if values.get("sliding_window") is not None:
        _positive(values, "sliding_window")


def token_ids(value: Any) -> tuple[int, ...]:
    """Return the ids of a key that holds none, one or several."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)


def dtype_name(values: Mapping[str, Any]) -> str:
    """Return our name of the type that the weights are said to have."""
    name = str(values.get("dtype") or values.get("torch_dtype") or "float32").removeprefix("torch.")
    if name not in _DTYPE_NAMES:
        raise ModelError(
            f"config.json gives the weights' type as {name!r}, and llmdist reads "
            f"{', '.join(_DTYPE_NAMES)}: use a version of the model in one of these."
        )
    return _DTYPE_NAMES[name]
