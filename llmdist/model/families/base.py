"""What a family is: defaults, differences from Llama, and spellings in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..kinds import LayerKind

__all__ = [
    "NORMS_AFTER", "NORMS_BEFORE", "NORMS_BOTH", "ExpertNames", "Family", "Fields", "layer_windows",
    "number_or_none",
]  # fmt: skip

Fields = dict[str, Any]

#: Our name of a layer's norm -> its name in the file.
NORMS_BEFORE = {"attention.input_norm": "input_layernorm", "mlp.post_norm": "post_attention_layernorm"}
NORMS_AFTER = {"attention.output_norm": "post_attention_layernorm", "mlp.output_norm": "post_feedforward_layernorm"}
NORMS_BOTH = {
    "attention.input_norm": "input_layernorm",
    "attention.output_norm": "post_attention_layernorm",
    "mlp.post_norm": "pre_feedforward_layernorm",
    "mlp.output_norm": "post_feedforward_layernorm",
}


@dataclass(frozen=True, slots=True)
class ExpertNames:
    """How the file spells a layer's router, its experts, and the three matrices of one expert."""

    router: str
    experts: str
    gate: str
    up: str
    down: str


def _nothing(values: Mapping[str, Any], fields: Fields) -> Fields:
    return {}


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    `defaults` are the keys of ``config.json`` that transformers fills in other than for Llama. `differences` gets
    those values and the fields of `ModelConfig` read so far, and returns the fields that differ. `norms` are the
    norms of a layer. `fused` names the tensors that the file holds stacked by rows: our names -> the file's name.
    `experts` are the spellings of a mixture of experts.
    """

    name: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    differences: Callable[[Mapping[str, Any], Fields], Fields] = _nothing
    norms: Mapping[str, str] = field(default_factory=lambda: NORMS_BEFORE)
    fused: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    default_theta: float = 10000.0
    experts: ExpertNames | None = None

    @property
    def norms_before_only(self) -> bool:
        """Whether a layer has one norm before the attention and one before the MLP, as Llama has."""
        return self.norms == NORMS_BEFORE


def layer_windows(values: Mapping[str, Any], windowed: Callable[[int], bool]) -> tuple[LayerKind, ...]:
    """Return the layers' kinds: `sliding_window` where ``layer_types`` says so, else where `windowed(i)` does."""
    count, window = int(values["num_hidden_layers"]), values.get("sliding_window")
    types = values.get("layer_types")
    if isinstance(types, list) and len(types) >= count:
        slides = [kind == "sliding_attention" for kind in types]
    else:
        slides = [windowed(i) for i in range(count)]
    return tuple(LayerKind(window if slides[i] else None) for i in range(count))


def number_or_none(value: Any) -> float | None:
    """Return a number, or None where the key is absent or null."""
    return None if value is None else float(value)
