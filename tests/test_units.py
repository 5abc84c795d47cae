"""Numbers as people read them."""

from __future__ import annotations

import pytest

from llmdist.units import format_speed


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (0.0, "0"), (1.234e-7, "0.000000123"), (0.0444, "0.0444"), (0.9996, "1.00"), (30.0, "30.0"), (33.33, "33.3"),
        (99.97, "100"), (586.9, "587"), (999.6, "1000"), (1208.3, "1208"), (123456.7, "123457"),
    ],
)  # fmt: skip
def test_a_speed_has_three_digits_and_never_an_exponent(speed: float, words: str) -> None:
    """From 1000 on all of it is written."""
    assert format_speed(speed) == words
