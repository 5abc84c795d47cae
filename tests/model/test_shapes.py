"""Shapes of known models: their sizes are those that their makers state."""

from __future__ import annotations

import pytest

from llmdist.errors import ModelError
from llmdist.model.shapes import shape, shapes

#: Billions of parameters as the model cards and index files state them.
STATED = {
    "llama-2-7b": 6.74, "llama-3-8b": 8.03, "llama-2-13b": 13.02, "qwen3-8b": 8.19, "qwen2.5-32b": 32.76,
    "llama-3-70b": 70.55, "mixtral-8x7b": 46.70, "qwen3-30b-a3b": 30.53, "gpt-oss-20b": 20.91,
}  # fmt: skip


@pytest.mark.parametrize("name", shapes())
def test_a_shape_has_the_stated_number_of_weights(name: str) -> None:
    """The blocks' parameters add up to the published count within 0.2 %."""
    assert shape(name).parameters / 1e9 == pytest.approx(STATED[name], rel=2e-3)


def test_an_unknown_shape_is_named_with_the_known_ones() -> None:
    """The error lists what can be chosen."""
    with pytest.raises(ModelError, match=r"gpt-9.*llama-3-70b"):
        shape("gpt-9")


@pytest.mark.parametrize(("name", "active"), [("mixtral-8x7b", 12.9), ("qwen3-30b-a3b", 3.35), ("gpt-oss-20b", 3.6)])
def test_a_mixture_reads_its_stated_active_weights_per_token(name: str, active: float) -> None:
    """The weights that one token reads are the published active parameters (embedding and head counted once)."""
    blocks = shape(name).blocks
    read = sum(block.parameters_read(1) for block in blocks) / 1e9
    embedding = next(block.parameters for block in blocks if block.kind == "embed") / 1e9
    assert read <= active * 1.02 and read + embedding >= active * 0.98
    assert len([block for block in blocks if block.name.startswith("layers.1.experts.")]) == 8
    assert sum(block.experts for block in blocks if block.name.startswith("layers.1.")) in (8, 32, 128)
