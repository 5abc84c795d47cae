"""Shapes of known models: their sizes are those that their makers state."""

from __future__ import annotations

import pytest

from llmdist.errors import ModelError
from llmdist.model.shapes import shape, shapes

#: Billions of parameters as the model cards and index files state them.
STATED = {
    "llama-2-7b": 6.74, "llama-3-8b": 8.03, "llama-2-13b": 13.02, "qwen3-8b": 8.19, "qwen2.5-32b": 32.76,
    "llama-3-70b": 70.55,
}  # fmt: skip


@pytest.mark.parametrize("name", shapes())
def test_a_shape_has_the_stated_number_of_weights(name: str) -> None:
    """The blocks' parameters add up to the published count within 0.2 %."""
    assert shape(name).parameters / 1e9 == pytest.approx(STATED[name], rel=2e-3)


def test_an_unknown_shape_is_named_with_the_known_ones() -> None:
    """The error lists what can be chosen."""
    with pytest.raises(ModelError, match=r"gpt-9.*llama-3-70b"):
        shape("gpt-9")
