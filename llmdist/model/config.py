"""What a decoder-only model looks like, read from a Hugging Face ``config.json``.

This is the only place that knows Hugging Face's key names, old and new; every other module reads
`ModelConfig`. Nothing here opens a file. What cannot be computed exactly (another family, another
RoPE type, a quantised checkpoint) is refused here, before any weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError
from .blocks import Block, ModelProfile

__all__ = ["FAMILIES", "ROPE_TYPES", "ModelConfig", "block_names", "profile"]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROPE_TYPES = ("default", "linear", "llama3")

# What transformers assumes when config.json leaves a key out, where it is not the common rule.
_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "use_sliding_window": False},
    "qwen3": {
        "num_key_value_heads": 32, "sliding_window": 4096, "use_sliding_window": False, "head_dim": 128,
    },
}  # fmt: skip
_DTYPE_NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of one model.

    `attention_bias` means biases on q, k and v (and on o, see `output_bias`). `rope_scaling` is None
    for plain RoPE, else a mapping with ``rope_type`` and its numbers. `sliding_window` is always
    None: a window caps `max_context` instead, which computes the same.
    """

    family: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_context: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: Mapping[str, Any] | None = field(hash=False)
    tie_embeddings: bool
    attention_bias: bool
    qk_norm: bool
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    torch_dtype: str
    sliding_window: int | None = None

    @property
    def output_bias(self) -> bool:
        """Return whether o has a bias as well (qwen2 has biases on q, k and v only)."""
        return self.attention_bias and self.family != "qwen2"

    @classmethod
    def from_hf(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Return the config that a parsed ``config.json`` describes.

        Raises
        ------
        ModelError : when the model is of a kind that llmdist does not compute, or a number is missing.
        """
        family = _family(data)
        values = {**_FAMILY_DEFAULTS[family], **data}
        heads = _positive(values, "num_attention_heads")
        hidden = _positive(values, "hidden_size")
        if values.get("head_dim") is None and hidden % heads:
            raise ModelError(
                f"config.json gives hidden_size {hidden}, which {heads} attention heads do not divide, "
                "and no head_dim: check the file, or download it again."
            )
        theta, scaling = _rope(values)
        config = cls(
            family=family,
            hidden_size=hidden,
            intermediate_size=_positive(values, "intermediate_size"),
            num_layers=_positive(values, "num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=_positive(values, "num_key_value_heads", heads),
            head_dim=_positive(values, "head_dim", hidden // heads),
            vocab_size=_positive(values, "vocab_size"),
            max_context=_max_context(values, family),
            rms_norm_eps=float(values.get("rms_norm_eps", 1e-6)),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_embeddings=bool(values.get("tie_word_embeddings", False)),
            attention_bias=family == "qwen2"
            or (family in ("llama", "qwen3") and bool(values.get("attention_bias", False))),
            qk_norm=family == "qwen3",
            eos_token_ids=_token_ids(values.get("eos_token_id")),
            bos_token_id=values.get("bos_token_id"),
            torch_dtype=_dtype_name(values),
        )
        _check_heads(config)
        return config


def _family(data: Mapping[str, Any]) -> str:
    """Return the model type, after refusing what would not be computed exactly."""
    family = data.get("model_type")
    if family not in FAMILIES:
        raise ModelError(
            f"The model is of type {family!r} (model_type in config.json), which llmdist does not run: "
            f"choose a model of type {', '.join(FAMILIES)}."
        )
    if data.get("quantization_config"):
        method = dict(data["quantization_config"]).get("quant_method", "unknown")
        raise ModelError(
            f"The checkpoint is quantised (quant_method {method!r} in config.json), which llmdist does not "
            "read: use the fp32, bf16 or fp16 version of the model."
        )
    activation = data.get("hidden_act", "silu")
    if activation != "silu" or data.get("mlp_bias"):
        found = "biases in the MLP" if activation == "silu" else f"hidden_act {activation!r}"
        raise ModelError(
            f"config.json asks for {found}, and llmdist computes SiLU MLPs without biases only: "
            "choose another model."
        )
    return str(family)


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


def _check_heads(config: ModelConfig) -> None:
    if config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise ModelError(
            f"config.json gives {config.num_heads} attention heads, {config.num_kv_heads} key/value heads and "
            f"head_dim {config.head_dim}; the first must be a multiple of the second and head_dim even: "
            "check the file, or download it again."
        )


def _max_context(values: Mapping[str, Any], family: str) -> int:
    """Return the longest context; within a sliding window the full attention is the same."""
    longest = _positive(values, "max_position_embeddings")
    windowed = family == "mistral" or (family != "llama" and values["use_sliding_window"])
    if windowed and values["sliding_window"] is not None:
        return min(longest, _positive(values, "sliding_window"))
    return longest


def _rope(values: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """Return theta and the scaling, from the new ``rope_parameters`` or the two older keys."""
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(given, Mapping):
        raise ModelError(f"config.json gives rope parameters {given!r} where a mapping is needed: check the file.")
    theta = float(given.get("rope_theta") or values.get("rope_theta") or 10000.0)
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in ROPE_TYPES:
        raise ModelError(
            f"config.json asks for RoPE of type {kind!r}, and llmdist computes {', '.join(ROPE_TYPES)}: "
            "choose another model, or remove the scaling from a copy of config.json and stay within the "
            "original context."
        )
    if given.get("partial_rotary_factor", 1.0) != 1.0 or values.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError("config.json rotates only a part of each head, which llmdist does not compute.")
    if kind == "default":
        return theta, None
    needed = ["factor"]
    if kind == "llama3":
        needed += ["low_freq_factor", "high_freq_factor"]
        given = {"original_max_position_embeddings": values.get("max_position_embeddings"), **given}
        needed += ["original_max_position_embeddings"]
    missing = [key for key in needed if not isinstance(given.get(key), (int, float))]
    if missing:
        raise ModelError(
            f"config.json asks for RoPE of type {kind!r} but gives no number for {', '.join(missing)}: "
            "check the file, or download it again."
        )
    return theta, {"rope_type": kind, **{key: float(given[key]) for key in needed}}


def _token_ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)


def _dtype_name(values: Mapping[str, Any]) -> str:
    name = str(values.get("dtype") or values.get("torch_dtype") or "float32").removeprefix("torch.")
    if name not in _DTYPE_NAMES:
        raise ModelError(
            f"config.json gives the weights' type as {name!r}, and llmdist reads "
            f"{', '.join(_DTYPE_NAMES)}: use a version of the model in one of these."
        )
    return _DTYPE_NAMES[name]


def block_names(config: ModelConfig) -> tuple[str, ...]:
    """Return every block's name in the order of computing."""
    middle = [f"layers.{i}.{kind}" for i in range(config.num_layers) for kind in ("attention", "mlp")]
    return ("embed", *middle, "head")


def profile(config: ModelConfig, name: str) -> ModelProfile:
    """Return the sizes of every block of the model called `name`."""
    hidden, rows = config.hidden_size, config.vocab_size * config.hidden_size
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    projections = 2 * hidden * (queries + keys)
    extra = hidden + (queries + 2 * keys) * config.attention_bias + hidden * config.output_bias
    extra += 2 * config.head_dim * config.qk_norm
    mlp = 3 * hidden * config.intermediate_size
    blocks = [Block("embed", "embed", 0 if config.tie_embeddings else rows, hidden, 0.0)]
    for i in range(config.num_layers):
        weights = projections + extra
        blocks.append(
            Block(
                f"layers.{i}.attention",
                "attention",
                weights,
                weights,
                2.0 * projections,
                kv_elements_per_token=2 * keys,
                attention_flops_per_context=4.0 * queries,
            )
        )
        blocks.append(Block(f"layers.{i}.mlp", "mlp", mlp + hidden, mlp + hidden, 2.0 * mlp))
    blocks.append(Block("head", "head", rows + hidden, rows + hidden, 2.0 * rows))
    return ModelProfile(
        name, tuple(blocks), hidden, config.vocab_size, config.max_context, config.torch_dtype
    )
