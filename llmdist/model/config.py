"""What a decoder-only model looks like, in numbers and words of the field; nothing here opens a file.

`ModelConfig.from_hf` is the door to Hugging Face's ``config.json``, old and new: the folder `families` behind
it is the only place that knows its key names, and every other module reads `ModelConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .families import FAMILIES, ROPE_TYPES, is_foreign, read_fields
from .kinds import LayerKind, RopeKind

__all__ = ["FAMILIES", "ROPE_TYPES", "LayerKind", "ModelConfig", "RopeKind", "is_foreign"]

#: More blocks would make the search larger without placing better: experts of a layer are alike.
MAX_EXPERT_GROUPS = 8


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of one model.

    `layers` says per layer what may differ (window, rotary embedding); `ropes` are the rotary embeddings that they
    name. `attention_bias` means biases on q, k and v, `output_bias` on o. `qk_norm` is None, ``head`` (one norm for
    every head) or ``all`` (one over all heads together). `norm_offset` is added to the weights of norms. `activation`
    is ``silu``, ``gelu`` or ``gelu_tanh``. A soft cap of c bounds x to c tanh(x / c). Routed layers have `num_experts`
    experts of inner size `expert_size`, of which `experts_per_token` compute for each token. A `foreign` model is
    computed by transformers' own modules.
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
    ropes: tuple[RopeKind, ...]
    layers: tuple[LayerKind, ...]
    tie_embeddings: bool
    attention_bias: bool
    output_bias: bool
    qk_norm: str | None
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    torch_dtype: str
    attention_scale: float
    activation: str = "silu"
    norm_offset: float = 0.0
    embedding_scale: float = 1.0
    attention_soft_cap: float | None = None
    logit_soft_cap: float | None = None
    num_experts: int = 0
    experts_per_token: int = 0
    expert_size: int = 0
    normalise_routing: bool = True
    foreign: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether every layer is that of Llama (biases and norms of single heads allowed).

        Norms before, SiLU, the usual attention scale, no windows, no soft caps, one RoPE over whole heads.
        """
        return (
            not self.foreign
            and FAMILIES[self.family].norms_before_only
            and self.activation == "silu"
            and self.qk_norm != "all"
            and self.norm_offset == 0.0
            and self.embedding_scale == 1.0
            and self.attention_soft_cap is None
            and self.logit_soft_cap is None
            and self.attention_scale == self.head_dim**-0.5
            and len(self.ropes) == 1
            and self.ropes[0].dims == self.head_dim
            and set(self.layers) == {LayerKind()}
        )

    def layer(self, block_name: str) -> LayerKind:
        """Return the kind of the layer that `block_name` (``layers.3.attention``) belongs to."""
        return self.layers[int(block_name.split(".")[1])]

    @property
    def expert_groups(self) -> tuple[range, ...]:
        """Return the consecutive experts of each block of a routed layer: at most `MAX_EXPERT_GROUPS` groups."""
        count = min(MAX_EXPERT_GROUPS, self.num_experts)
        ends = [self.num_experts * (i + 1) // count for i in range(count)]
        return tuple(range(first, end) for first, end in zip([0, *ends], ends, strict=False))

    @classmethod
    def from_hf(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Return the config that a parsed ``config.json`` describes.

        Raises
        ------
        ModelError : when the model is of a kind that llmdist does not compute, or a number is missing.
        """
        return cls(**read_fields(data))
